"""Purchases in the database. Only `change_state` and `write_standings` write a purchase's state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog import promotion_repository
from checkout.purchases import funding_repository
from checkout.purchases.domain import (
    OPEN,
    Change,
    Purchase,
    PurchaseRequest,
    State,
    Terms,
    next_state,
)

# re-exported: callers that read purchases import only this module
from checkout.purchases.row import PurchaseRow as PurchaseRow
from checkout.purchases.row import row_of as row_of
from checkout.purchases.tables import enrollments, purchases
from checkout.schema import one_of, overlaps, update_rows
from contracts.people import enrollment_uuid
from kit.jobs.jobs import jobs

SUBSCRIPTION_CANCEL = "subscription_cancel"
"""The kind of job that cancels a subscription at Stripe. That it is done is read back here, from the job itself."""
_CANCEL = "/cancel"


def subscription_cancel_key(purchase_id: UUID) -> str:
    return f"{purchase_id}{_CANCEL}"


async def set_actor(db: AsyncConnection, actor: str) -> None:
    """Names who is acting, for the audit trail of this transaction."""
    await db.execute(select(func.set_config("app.actor", actor, True)))


async def set_pay_link(db: AsyncConnection, id: UUID) -> None:
    """Row-level security shows what a link names: a purchase, or an installment."""
    await db.execute(select(func.set_config("app.pay_link", str(id), True)))


async def set_checkout_session(db: AsyncConnection, session_id: str) -> None:
    """Row-level security shows the purchase of this checkout session."""
    await db.execute(select(func.set_config("app.checkout_session", session_id, True)))


async def lock_student(db: AsyncConnection, student_id: UUID) -> None:
    """Until this transaction ends, nobody else starts a purchase for the student."""
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(student_id), 0))))


async def read_purchases(db: AsyncConnection, student_id: UUID, slugs: Collection[str]) -> list[Purchase]:
    """The student's purchases that give any of these enrollments, newest first."""
    done = (
        jobs.c.kind == SUBSCRIPTION_CANCEL,
        jobs.c.key == cast(purchases.c.id, Text) + _CANCEL,
        jobs.c.done_at.is_not(None),
    )
    canceled = select(jobs.c.id).where(*done).exists()
    wanted = (
        select(purchases, canceled.label("subscription_canceled"))
        .where(purchases.c.student_id == student_id, overlaps(purchases.c.covers, slugs))
        .order_by(purchases.c.created_at.desc(), purchases.c.id)
    )
    return [_purchase(row_of(row), subscription_canceled=row.subscription_canceled) for row in await db.execute(wanted)]


async def sponsored(db: AsyncConnection, request: PurchaseRequest) -> int:
    """What the sponsor owes or has paid for other items of the student under the same authorization number."""
    of_sponsor = (
        purchases.c.student_id == request.student_id,
        purchases.c.payer == "sponsor",
        purchases.c.funding_source == request.funding_source,
        purchases.c.authorization_number == request.authorization_number,
        purchases.c.state.in_((*OPEN, State.PROCESSING, State.PAID)),
        purchases.c.program_slug != request.program.slug,
    )
    share = purchases.c.amount - func.coalesce(purchases.c.co_pay, 0)
    return int(await db.scalar(select(func.coalesce(func.sum(share), 0)).where(*of_sponsor)) or 0)


async def insert_purchase(
    db: AsyncConnection,
    purchase_id: UUID,
    request: PurchaseRequest,
    *,
    params: Mapping[str, object],
    terms: Terms | None = None,
    at: datetime,
) -> bool:
    """Inserts it as `created`. False when another request has opened one for the same student and program meanwhile."""
    values = {
        **_columns(request),
        "terms_version": terms.version if terms else None,
        "terms_accepted_at": terms.accepted_at if terms else None,
        "session_params": dict(params),
    }
    added = await db.execute(
        insert(purchases).values(id=purchase_id, **values, created_at=at, updated_at=at).on_conflict_do_nothing()
    )
    return added.rowcount == 1


async def insert_external(
    db: AsyncConnection, purchase_id: UUID, request: PurchaseRequest, *, by: str, at: datetime
) -> None:
    """Inserts a purchase that was not started here. Its payments decide its state."""
    values = {**_columns(request), "state": State.PROCESSING.value, "recorded_by": by}
    await db.execute(
        insert(purchases).values(id=purchase_id, **values, created_at=at, updated_at=at).on_conflict_do_nothing()
    )


async def write_external(
    db: AsyncConnection, purchase_id: UUID, request: PurchaseRequest, *, by: str | None, at: datetime
) -> None:
    """Corrects it: a later event, or an admin, names another student or item. `by` None: who recorded it stays."""
    values = _columns(request) if by is None else {**_columns(request), "recorded_by": by}
    await db.execute(update(purchases).where(purchases.c.id == purchase_id).values(**values, updated_at=at))


def _columns(request: PurchaseRequest) -> dict[str, Any]:  # Any: the values of columns
    return {
        "student_id": request.student_id,
        "program_id": request.program.id,
        "program_slug": request.program.slug,
        "program_name": request.program.title,
        "provider": request.program.provider,
        "untaught": request.program.untaught is True,
        "item_id": request.item_id,
        "item_kind": request.program.kind or "program",
        "owner_id": request.owner_id,
        "includes": [part.model_dump(mode="json") for part in request.program.includes],
        "covers": list(request.covers),
        "payment_flow": request.payment_flow,
        "list_price": (request.list_price or request.amount).amount,
        "promotion_code": request.promotion_code,
        "tier": request.tier,
        "interval": request.interval,
        "payment_plan": None if request.plan is None else request.plan.model_dump(mode="json", exclude_none=True),
        "amount": request.amount.amount,
        "currency": request.amount.currency,
        "payer": request.payer,
        "funding_source": request.funding_source,
        "payment_type": request.payment_type,
        "installments": request.installments,
        "authorization_number": request.authorization_number,
        "period_start": request.period.start if request.period else None,
        "period_end": request.period.end if request.period else None,
        "co_pay": request.co_pay.amount if request.co_pay else None,
    }


async def change_state(db: AsyncConnection, purchase_id: UUID, change: Change, *, at: datetime) -> State:
    """Applies the change, and returns the state that the purchase is in then.

    A change that is not in TRANSITIONS is refused: nothing is written. The purchase's use of a promotion code follows:
    redeemed when it is paid, released when it cannot be paid any more.
    """
    mine = purchases.c.id == purchase_id
    columns = select(purchases.c.state, purchases.c.promotion_code)
    row = (await db.execute(columns.where(mine).with_for_update())).one()
    state, promotion_code = State(row.state), row.promotion_code
    after = next_state(state, change)
    if after is None or after is state:
        return state
    await db.execute(update(purchases).where(mine).values(state=after.value, updated_at=at))
    await follow_state(db, purchase_id, change, before=state, after=after, promotion_code=promotion_code, at=at)
    return after


async def follow_state(
    db: AsyncConnection,
    purchase_id: UUID,
    change: Change,
    *,
    before: State,
    after: State,
    promotion_code: str | None,
    at: datetime,
) -> None:
    """Brings in line with a purchase's new state what a sponsor pays for it, and its use of a promotion code."""
    ended_unpaid = before in OPEN and change in (Change.EXPIRED, Change.REJECTED, Change.CANCELED_BY_SCHOOL)
    if ended_unpaid:
        await funding_repository.end_funding(db, purchase_id, state=after, at=at)
    if promotion_code is None:
        return
    if ended_unpaid or after in (State.FAILED, State.EXPIRED):
        await promotion_repository.release(db, purchase_id, at=at)
    elif after in (State.PAID, State.WITHDRAWN) or change is Change.PURCHASE_CANCELED:
        await promotion_repository.redeem(db, purchase_id, at=at)


async def cancel_purchase(db: AsyncConnection, purchase_id: UUID, *, reason: str, at: datetime) -> None:
    """The school cancels the purchase, in any state."""
    await change_state(db, purchase_id, Change.CANCELED_BY_SCHOOL, at=at)
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(canceled_at=at, cancel_reason=reason, updated_at=at)
    )


async def write_session(
    db: AsyncConnection, purchase_id: UUID, *, session_id: str, url: str, expires_at: datetime, at: datetime
) -> State:
    """Stores Stripe's answer, and returns the state: payment events may have arrived before it."""
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(stripe_checkout_session_id=session_id, checkout_url=url, expires_at=expires_at, updated_at=at)
    )
    return await change_state(db, purchase_id, Change.PAGE_OPENED, at=at)


async def write_intent(
    db: AsyncConnection, purchase_id: UUID, *, intent_id: str, client_secret: str | None, at: datetime
) -> State:
    """Stores Stripe's answer, and returns the state: payment events may have arrived before it."""
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(stripe_payment_intent_id=intent_id, client_secret=client_secret, updated_at=at)
    )
    return await change_state(db, purchase_id, Change.PAYMENT_REQUESTED, at=at)


async def write_standings(db: AsyncConnection, rows: Sequence[PurchaseRow], *, at: datetime) -> None:
    """What follows from their payments, of purchases that the caller has locked: see the columns' description. The
    caller has asked `next_state` for their states, and calls `follow_state`."""
    await update_rows(
        db,
        purchases,
        [
            {
                "id": row.id,
                "state": row.state.value,
                "state_reason": row.state_reason,
                "shortfall": row.shortfall,
                "accepted": row.accepted,
                "subscription_status": row.subscription_status,
                "next_charge_at": row.next_charge_at,
                "stripe_subscription_id": row.stripe_subscription_id,
                "updated_at": at,
            }
            for row in rows
        ],
    )


async def write_acceptance(db: AsyncConnection, purchase_id: UUID, *, by: str, reason: str, at: datetime) -> None:
    """Who has accepted less than the price, and why."""
    values = {"accepted_by": by, "acceptance_reason": reason, "updated_at": at}
    await db.execute(update(purchases).where(purchases.c.id == purchase_id).values(values))


async def record_terms(db: AsyncConnection, purchase_id: UUID, terms: Terms, *, at: datetime) -> None:
    """Stores what was accepted last; the same version again keeps its time."""
    changed = purchases.c.terms_version.is_distinct_from(terms.version)
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id, changed)
        .values(terms_version=terms.version, terms_accepted_at=terms.accepted_at, updated_at=at)
    )


async def params_of(db: AsyncConnection, purchase_id: UUID) -> dict[str, object]:
    """The body that Stripe is asked with."""
    found = await db.execute(select(purchases.c.session_params).where(purchases.c.id == purchase_id))
    params: dict[str, object] = found.scalar_one() or {}
    return params


async def read_row(db: AsyncConnection, purchase_id: UUID) -> PurchaseRow | None:
    row = (await db.execute(select(purchases).where(purchases.c.id == purchase_id))).one_or_none()
    return None if row is None else row_of(row)


async def read_rows(db: AsyncConnection, ids: Collection[UUID]) -> list[PurchaseRow]:
    return [row_of(row) for row in await db.execute(select(purchases).where(one_of(purchases.c.id, ids)))]


async def lock_purchase(db: AsyncConnection, purchase_id: UUID) -> PurchaseRow | None:
    row = (await db.execute(select(purchases).where(purchases.c.id == purchase_id).with_for_update())).one_or_none()
    return None if row is None else row_of(row)


async def lock_purchases(db: AsyncConnection, ids: Collection[UUID]) -> list[PurchaseRow]:
    wanted = select(purchases).where(one_of(purchases.c.id, ids)).order_by(purchases.c.id)
    return [row_of(row) for row in await db.execute(wanted.with_for_update())]


async def find_purchase(db: AsyncConnection, id: UUID) -> PurchaseRow | None:
    """The purchase with this id, or the newest one of the enrollment with this id, if the caller may see it."""
    own = select(purchases).where(purchases.c.id == id)
    of_enrollment = select(purchases).where(purchases.c.enrollment_id == id)
    current = (
        select(purchases)
        .join(enrollments, enrollments.c.purchase_id == purchases.c.id)
        .where(enrollments.c.enrollment_id == id)
    )
    for wanted in (own, of_enrollment, current):
        newest = wanted.order_by(purchases.c.created_at.desc(), purchases.c.id).limit(1)
        if (row := (await db.execute(newest)).one_or_none()) is not None:
            return row_of(row)
    return None


async def prepare_enrollment(
    db: AsyncConnection, purchase_id: UUID, request: PurchaseRequest, *, checkout_url: str, expires_at: datetime | None
) -> None:
    """Stores where a purchase in installments can be paid, and until when its first installment can."""
    enrollment_id = enrollment_uuid(request.student_id, request.covers[0])
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(checkout_url=checkout_url, expires_at=expires_at, enrollment_id=enrollment_id)
    )


async def extend_expiry(db: AsyncConnection, purchase_id: UUID, *, until: datetime) -> None:
    """An enrollment that was not paid yet expires no sooner."""
    sooner = (purchases.c.id == purchase_id, purchases.c.expires_at < until)
    await db.execute(update(purchases).where(*sooner).values(expires_at=until))


async def write_expiry(db: AsyncConnection, purchase_id: UUID, *, at: datetime) -> None:
    await db.execute(update(purchases).where(purchases.c.id == purchase_id).values(expires_at=at))


async def write_collection_stop(
    db: AsyncConnection, purchase_id: UUID, code: str | None, *, stops: int, at: datetime
) -> None:
    """`code` None: it is collected again."""
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(collection_stopped=code, collection_stops=stops, updated_at=at)
    )


async def write_received(db: AsyncConnection, purchase_id: UUID, *, received: int, charges: int, at: datetime) -> None:
    await db.execute(
        update(purchases).where(purchases.c.id == purchase_id).values(received=received, charges=charges, updated_at=at)
    )


async def unpaid_of_items(db: AsyncConnection, item_ids: Collection[UUID]) -> list[UUID]:
    """What students have started to buy of these items, and not paid."""
    of_items = (purchases.c.item_id.in_(item_ids), purchases.c.payer == "student", purchases.c.state.in_(OPEN))
    return list((await db.execute(select(purchases.c.id).where(*of_items).order_by(purchases.c.id))).scalars())


async def take_expired(db: AsyncConnection, *, now: datetime, limit: int) -> list[UUID]:
    """The unpaid purchases in installments whose time is up. Each is returned once: its `expires_at` is cleared."""
    expired = (
        select(purchases.c.id)
        .where(
            purchases.c.payment_flow == "installments",
            purchases.c.state.in_((State.CREATED, State.AWAITING_PAYMENT, State.EXPIRED)),
            purchases.c.expires_at <= now,
        )
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list((await db.execute(expired)).scalars())
    if ids:
        await db.execute(update(purchases).where(purchases.c.id.in_(ids)).values(expires_at=None))
    return ids


def _purchase(row: PurchaseRow, *, subscription_canceled: bool) -> Purchase:
    return Purchase(
        id=row.id,
        request=row.request,
        state=row.state,
        session_id=row.stripe_checkout_session_id,
        created_at=row.created_at,
        intent_id=row.stripe_payment_intent_id,
        subscription_canceled=subscription_canceled,
        underpaid=row.shortfall is not None,
    )
