"""Books for payments that were not started here: they become purchases.

A payment whose events name a student and an item of the catalog is recorded at once, with the catalog's price for its
payer, and published as `purchase.recorded.v1`; until then it opens nothing anywhere. Later events may correct it. What
names nobody or nothing that checkout has is listed instead (unmatched.py), and an admin's decision records it.

Whether and how a purchase is recorded follows from all of its events, so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog import repository as catalog
from checkout.catalog.item import Item
from checkout.purchases import external_purchase, funding_repository, repository
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.event_fields import purchase_fields
from checkout.purchases.external_purchase import Named, UnmatchedCode
from checkout.purchases.repository import PurchaseRow
from checkout.topology import SERVICE
from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import PurchaseRecorded
from contracts.people import MEMBERSHIP, Program
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from ledger.facts import fold, keys, superseded
from ledger.purchase import Purchase

log = structlog.get_logger(__name__)

FACT_RULES = FactRules(keys=keys, superseded=superseded)
Found = tuple[Purchase, PurchaseRow | None, UnmatchedCode | None]
"""A purchase with our record of it, its row, and why it could not be matched."""
AUTOMATIC = "system"
"""Who has recorded what no admin had to decide."""


def find(purchase: Purchase, rows: Mapping[UUID, PurchaseRow]) -> Found | None:
    """What `find_or_record` returns, if it follows from the rows, locked by the caller, and nothing has to be written:
    for the purchases that were started here, and for payments that name nothing. Otherwise None."""
    row = rows.get(purchase.id) if purchase.id is not None else None
    if row is not None and not purchase.is_external and row.recorded_by is None and _has_its_price(purchase, row):
        return purchase, row, None
    if purchase.id is not None:
        return None
    if not external_purchase.is_received(purchase):
        return purchase, None, None
    named = external_purchase.named_by(purchase)
    return None if named.program is not None or named.code is None else (purchase, None, named.code)


async def find_or_record(uow: UnitOfWork, purchase: Purchase) -> Found:
    """The purchase's row, locked. Of one that was not started here, it is brought in line with the events first, or
    added if they name a student and an item.

    Also returns the purchase with our record of it, and why it could not be matched.
    """
    row = await _lock(uow, purchase)
    if row is not None and row.recorded_by is None:
        return await _correct_price(uow, purchase, row), row, None
    if not external_purchase.is_received(purchase):
        return purchase, row, None
    named = external_purchase.named_by(purchase)
    if row is not None and row.recorded_by != AUTOMATIC:  # an admin has decided
        named = replace(named, student_id=row.student_id, code=None)
        item = await catalog.find_any_item(uow.db, str(row.item_id))
    else:
        item = await _item(uow.db, named)
    code = named.code or (None if item else "unknown_item")
    if code is not None or item is None or named.student_id is None:
        return purchase, row, code  # one that was recorded before keeps its row until an admin decides
    request = external_purchase.request_of(
        purchase,
        item,
        named.student_id,
        sponsor=await _sponsor(uow.db, named.sponsor),
        list_price=_price_of(row, item, named),
    )
    id = row.id if row is not None else external_purchase.id_of(purchase)
    if row is None:
        await insert(uow, id, request, by=AUTOMATIC)
    elif _differs(row, request):
        await _correct(uow, row, request)
    recorded = external_purchase.record_of(request, id, external_purchase.refs_of(purchase), at=uow.now)
    if not external_purchase.is_the_same_record(purchase.recorded, recorded):
        purchase = await _publish(uow, purchase, id, recorded)
    return purchase, await repository.lock_purchase(uow.db, id), None


async def _correct_price(uow: UnitOfWork, purchase: Purchase, row: PurchaseRow) -> Purchase:
    """A payment that names our purchase may have been made by another system, with metadata of its own: what our
    purchase costs is in its row. (Every payment of a membership of ours is one of its subscription's.)"""
    if _has_its_price(purchase, row):
        return purchase
    is_membership = row.payment_flow == "membership"
    log.warning("metadata of a payment contradicts its purchase", purchase=str(row.id))
    fields = purchase_fields(row)
    if is_membership:
        fields["due"] = row.price
    recorded = PurchaseRecorded(**fields, refs=external_purchase.refs_of(purchase), as_of=uow.now)
    return await _publish(uow, purchase, row.id, recorded)


def _has_its_price(purchase: Purchase, row: PurchaseRow) -> bool:
    is_ours = bool(purchase.subscriptions) if row.payment_flow == "membership" else purchase.price == row.price
    return is_ours or purchase.recorded is not None or not purchase.settled_payments


async def _lock(uow: UnitOfWork, purchase: Purchase) -> PurchaseRow | None:
    """By any of its ids (`external_purchase.id_of`). If two were recorded before they proved to be one, one stays."""
    if purchase.id is None:
        return None
    if not purchase.is_external:
        return await repository.lock_purchase(uow.db, purchase.id)
    rows = await repository.lock_purchases(uow.db, {fact.purchase_id for fact in purchase.facts if fact.purchase_id})
    if not rows:
        return None
    row, *others = sorted(rows, key=lambda each: (each.id != purchase.id, each.id))
    for other in others:
        if other.recorded_by is not None and other.canceled_at is None:
            reason = f"The same payment as purchase {row.id}."
            await repository.cancel_purchase(uow.db, other.id, reason=reason, at=uow.now)
    return row


async def insert(uow: UnitOfWork, id: UUID, request: PurchaseRequest, *, by: str) -> None:
    """Adds the purchase, and what a sponsor pays for it."""
    await repository.insert_external(uow.db, id, request, by=by, at=uow.now)
    if request.payer == "sponsor":
        await funding_repository.insert_funding(uow.db, id, request, at=uow.now)
    log.info("payment recorded as a purchase", purchase=str(id), by=by, payer=request.payer)


async def _correct(uow: UnitOfWork, row: PurchaseRow, request: PurchaseRequest) -> None:
    await repository.write_external(uow.db, row.id, request, by=None, at=uow.now)
    if request.payer == "sponsor":
        await funding_repository.correct_funding(uow.db, row.id, request, at=uow.now)
    log.info("purchase corrected by a later event", purchase=str(row.id))


def _differs(row: PurchaseRow, request: PurchaseRequest) -> bool:
    """Apart from what the catalog says of the item by now."""
    if (row.program_slug, row.covers) != (request.program.slug, request.covers):
        return True
    return replace(row.request, program=request.program, owner_id=request.owner_id, tier=request.tier) != request


async def _publish(uow: UnitOfWork, purchase: Purchase, id: UUID, recorded: PurchaseRecorded) -> Purchase:
    """Publishes the record, and counts it among the facts at once. The purchase with it."""
    count = sum(isinstance(fact, PurchaseRecorded) for fact in purchase.facts)
    if purchase.recorded is not None and purchase.recorded.as_of is not None:
        after = max(uow.now, purchase.recorded.as_of + external_purchase.MOMENT)
        recorded = recorded.model_copy(update={"as_of": after})
    event_id = f"{id}/{count}/{recorded.type}"
    await uow.publish(recorded, id=event_id, subject=str(id))
    envelope = Envelope(id=event_id, source=SERVICE, subject=str(id), time=uow.now, data=recorded)
    group = await uow.merge(envelope, FACT_RULES)
    return next(each for each in fold(group.facts) if recorded in each.facts)


async def _item(db: AsyncConnection, named: Named) -> Item | None:
    """The catalog's item, on sale or not: it was paid for. A slug comes before an id."""
    program = named.program
    if program is None:
        return None
    if program.slug == MEMBERSHIP or (program.kind == "membership" and named.tier):
        if (item := await _by_reference(db, program.id, program)) is not None and item.kind == "membership":
            return item
        of_tier = await catalog.items_of_tier(db, named.tier) if named.tier else []
        return of_tier[0] if len(of_tier) == 1 else None
    references = [program.id] if program.id_only else [program.slug, program.id]
    for reference in references:
        if (item := await _by_reference(db, reference, program)) is not None:
            return item
    return None


async def _by_reference(db: AsyncConnection, reference: str, program: Program) -> Item | None:
    kinds = None if program.kind is None else (program.kind,)
    for each in dict.fromkeys((reference, reference.lower())):
        if (item := await catalog.find_any_item(db, each, kinds)) is not None:
            return item
    return await catalog.find_any_item(db, reference) if kinds else None


async def _sponsor(db: AsyncConnection, funding_source: str | None) -> str | None:
    """The sponsor's code as the catalog writes it; as the event does, if the catalog has no such sponsor."""
    if funding_source is None:
        return None
    sponsor = await catalog.find_sponsor(db, funding_source, inactive=True)
    return sponsor.code if sponsor else funding_source


def _price_of(row: PurchaseRow | None, item: Item, named: Named) -> Money | None:
    """The price that was recorded, for the same item and payer: the catalog's may have changed since."""
    payer = "sponsor" if named.sponsor else "student"
    if row is None or row.list_price is None or (row.item_id, row.payer) != (item.id, payer) or item.annual:
        return None
    return Money(amount=row.list_price, currency=row.currency)
