"""Changing a membership: Stripe is asked, and what it says is answered.

The row is not written from that answer: it follows what is heard, and a look at the subscription that is wanted along
with the change (so a webhook that is late or lost is not waited for).

A change is sent under a key of the purchase, the row's revision and what is asked for. Until Stripe has answered, a
retry has the same key, and Stripe does it once; an answer, a refusal too, counts the revision up, so that the next
request is another one. (A card that was declined may have been mended.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from checkout.catalog.repository import Item
from checkout.memberships import domain, repository
from checkout.memberships.domain import AsItIs, At, Change, Decision, End, RefusalCode, Refuse, Restart, Stands
from checkout.memberships.event_handlers import SYNC
from checkout.memberships.prices import price_for
from checkout.purchases.context import Buyer, Desk, in_our_words, refused_by_stripe
from checkout.purchases.domain import Interval
from checkout.stripe_client import StripeRefuses
from checkout.stripe_client.memberships import PaymentDeclined, StripeMembership
from contracts.money import Money
from kit.http.errors import Problem

log = structlog.get_logger(__name__)

_DETAILS: dict[RefusalCode, str] = {
    "membership_ended": "This membership has ended; buy a new one: POST /api/memberships.",
    "membership_paused": "This membership is paused; resume it first.",
    "nothing_to_change": "This is the membership, by the interval, that there is already.",
    "payment_due": "A payment for this membership is due; pay that first, or change the card that is charged.",
    "currency_mismatch": "A membership goes on in its own currency: cancel this one, and buy the other.",
}


class Managing:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stripe = desk.stripe

    async def cancel(self, id: UUID, buyer: Buyer, *, at: At) -> StripeMembership:
        row = await self._row(id, buyer)
        return await self._act(row, buyer, f"cancel_{at}", lambda stands: domain.cancel(stands, at=at))

    async def pause(self, id: UUID, buyer: Buyer) -> StripeMembership:
        return await self._act(await self._row(id, buyer), buyer, "pause", domain.pause)

    async def resume(self, id: UUID, buyer: Buyer) -> StripeMembership:
        return await self._act(await self._row(id, buyer), buyer, "resume", domain.resume)

    async def change(self, id: UUID, buyer: Buyer, *, reference: str, interval: Interval | None) -> StripeMembership:
        row = await self._row(id, buyer)
        wanted = interval or row.interval
        async with self._desk.uow(buyer) as uow:
            item = await membership_of(uow.db, reference)
        price = price_of(item, wanted)
        if (row.tier, row.interval) == (item.tier, wanted):
            raise _refusal("nothing_to_change")
        seen = await self._look(row)
        stands = _stands(seen)
        match domain.may_change(stands, tier=_tier(item), interval=wanted, price=price):
            case Refuse(code=code):
                raise _refusal(code)
            case AsItIs():
                return seen
        price_id = await price_for(self._stripe, tier=_tier(item), interval=wanted, amount=price, name=item.name)
        decision = domain.change(
            stands,
            item_id=seen.item_id,
            price_id=price_id,
            price=price,
            interval=wanted,
            metadata={"tier": _tier(item), "program_id": str(item.id), "program_name": item.name},
        )
        return await self._ask(row, buyer, "change", decision)

    async def _row(self, id: UUID, buyer: Buyer) -> Row[Any]:
        async with self._desk.uow(buyer) as uow:
            row = await repository.read(uow.db, id)
        if row is None:
            raise Problem(404, "unknown_membership", "There is no such membership of yours.")
        if row.student_id != buyer.id and buyer.role != "admin":
            raise Problem(403, "forbidden", "A membership is changed by its student, or by an admin.")
        if row.status in repository.ENDED:
            raise _refusal("membership_ended")
        return row

    async def _act(
        self, row: Row[Any], buyer: Buyer, action: str, decide: Callable[[Stands], Decision]
    ) -> StripeMembership:
        seen = await self._look(row)
        match decide(_stands(seen)):
            case Refuse(code=code):
                raise _refusal(code)
            case AsItIs():
                return seen
            case asked:
                return await self._ask(row, buyer, action, asked)

    async def _look(self, row: Row[Any]) -> StripeMembership:
        try:
            with in_our_words():
                return await self._stripe.membership(row.stripe_subscription_id)
        except StripeRefuses:
            raise refused_by_stripe() from None

    async def _ask(self, row: Row[Any], buyer: Buyer, action: str, asked: Change | End | Restart) -> StripeMembership:
        params = asked.params if isinstance(asked, Change) else {}
        key = f"{row.id}/{row.revision}/{action}"
        sent = f"{key}/{hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]}"
        try:
            with in_our_words():
                answer = await self._send(row.stripe_subscription_id, asked, key=sent)
        except StripeRefuses as refused:
            await self._answered(row, buyer, key)
            if isinstance(refused, PaymentDeclined):
                detail = "The payment was declined, and nothing has changed. Change the card, and send it again."
                raise Problem(402, "payment_declined", detail, reason=refused.code) from None
            raise refused_by_stripe() from None
        await self._answered(row, buyer, key)
        log.info("membership changed", membership=str(row.id), action=action, by=buyer.role)
        return answer

    async def _send(self, id: str, asked: Change | End | Restart, *, key: str) -> StripeMembership:
        match asked:
            case End():
                return await self._stripe.end_membership(id, key=key)
            case Restart():
                return await self._stripe.restart_membership(id, key=key)
            case Change(params=params):
                return await self._stripe.change_membership(id, params, key=key)

    async def _answered(self, row: Row[Any], buyer: Buyer, key: str) -> None:
        async with self._desk.uow(buyer) as uow:
            await repository.write(uow.db, row.id, {}, at=uow.now)
            await uow.enqueue(SYNC, key=key, payload={"purchase_id": str(row.id)})


async def membership_of(db: Any, reference: str) -> Item:
    """The membership on sale by this slug, id or tier. Raises Problem 404."""
    if (item := await repository.find_membership(db, reference)) is None:
        raise Problem(404, "unknown_membership", "There is no such membership on sale; GET /api/catalog lists them.")
    return item


def price_of(item: Item, interval: Interval) -> Money:
    """What it costs each time. Raises Problem 422 where it is not sold by that interval."""
    price = item.money if interval == "month" else item.annual
    if price is None or not price.amount:
        raise Problem(422, "interval_not_offered", f"This membership is not sold by the {interval}.")
    return price


def _tier(item: Item) -> str:
    return item.tier or item.slug


def _stands(seen: StripeMembership) -> Stands:
    return Stands(**{each.name: getattr(seen, each.name) for each in fields(Stands)})


def _refusal(code: RefusalCode) -> Problem:
    return Problem(409, code, _DETAILS[code])
