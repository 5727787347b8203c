"""Purchases, and what is known about them, in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Row, Text, case, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog import promotion_repository
from checkout.purchases.domain import OPEN, Enrollment, Purchase, State, Wish, funding_status_of
from checkout.purchases.tables import contacts, customers, enrollments, funding_payments, purchases
from checkout.schema import overlaps
from contracts.enrollment import EnrollmentEvent
from contracts.money import Money
from contracts.people import Contact, Program
from kit.jobs.jobs import jobs

if TYPE_CHECKING:
    from checkout.purchases.context import Terms

PLAN_CANCEL = "plan_cancel"
"""The kind of effect that ends a plan before its time. That it is done is read back here: no other place knows."""
_CANCEL = "/cancel"


def plan_cancel_key(purchase_id: UUID) -> str:
    return f"{purchase_id}{_CANCEL}"


async def act_as(db: AsyncConnection, actor: str) -> None:
    """Names who is acting, for the trail of changes that this transaction leaves."""
    await db.execute(select(func.set_config("app.actor", actor, True)))


async def lock_student(db: AsyncConnection, student_id: UUID) -> None:
    """Until this transaction ends, nobody else starts a purchase for the student."""
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(student_id), 0))))


async def read_enrollments(db: AsyncConnection, student_id: UUID, slugs: Collection[str]) -> list[Enrollment]:
    wanted = select(enrollments).where(enrollments.c.student_id == student_id, enrollments.c.program_slug.in_(slugs))
    return [
        Enrollment(slug=row.program_slug, status=row.status, purchase_id=row.purchase_id)
        for row in await db.execute(wanted)
    ]


async def write_enrollment(db: AsyncConnection, event: EnrollmentEvent, *, status: str, at: datetime) -> None:
    """Keeps the latest word: one with a lower revision than what is known changes nothing."""
    values = {
        "enrollment_id": event.enrollment_id,
        "status": status,
        "purchase_id": event.purchase_id,
        "revision": event.revision,
        "updated_at": at,
    }
    statement = insert(enrollments).values(student_id=event.student_id, program_slug=event.program.slug, **values)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["student_id", "program_slug"],
            set_=values,
            where=enrollments.c.revision < statement.excluded.revision,
        )
    )


async def read_purchases(db: AsyncConnection, student_id: UUID, slugs: Collection[str]) -> list[Purchase]:
    """The student's purchases that give any of these enrollments, newest first."""
    done = (
        jobs.c.kind == PLAN_CANCEL,
        jobs.c.key == cast(purchases.c.id, Text) + _CANCEL,
        jobs.c.done_at.is_not(None),
    )
    canceled = select(jobs.c.id).where(*done).exists()
    wanted = (
        select(purchases, canceled.label("plan_canceled"))
        .where(purchases.c.student_id == student_id, overlaps(purchases.c.covers, slugs))
        .order_by(purchases.c.created_at.desc(), purchases.c.id)
    )
    return [purchase_of(row) for row in await db.execute(wanted)]


async def insert_purchase(
    db: AsyncConnection,
    purchase_id: UUID,
    wish: Wish,
    *,
    params: Mapping[str, Any],
    terms: Terms | None = None,
    payment_plan: Mapping[str, Any] | None = None,
    at: datetime,
) -> bool:
    """False when another request has opened one for the same student and program meanwhile."""
    added = await db.execute(
        insert(purchases)
        .values(
            id=purchase_id,
            student_id=wish.student_id,
            program_id=wish.program.id,
            program_slug=wish.program.slug,
            program_name=wish.program.title,
            provider=wish.program.provider,
            item_id=wish.item_id,
            item_kind=wish.program.kind or "program",
            owner_id=wish.owner_id,
            includes=[part.model_dump(mode="json") for part in wish.program.includes],
            covers=list(wish.covers),
            how=wish.how,
            list_price=(wish.list_price or wish.amount).amount,
            promotion_code=wish.promotion_code,
            tier=wish.tier,
            interval=wish.interval,
            payment_plan=None if payment_plan is None else dict(payment_plan),
            terms_version=terms.version if terms else None,
            terms_accepted_at=terms.accepted_at if terms else None,
            amount=wish.amount.amount,
            currency=wish.amount.currency,
            payer=wish.payer,
            funding_source=wish.funding_source,
            payment_type=wish.payment_type,
            installments=wish.installments,
            state=State.CREATED.value,
            session_params=dict(params),
            created_at=at,
            updated_at=at,
        )
        .on_conflict_do_nothing()
    )
    return added.rowcount == 1


async def note_terms(db: AsyncConnection, purchase_id: UUID, terms: Terms, *, at: datetime) -> None:
    """Keeps what was accepted last; the same again keeps its time."""
    values = {"terms_version": terms.version, "terms_accepted_at": terms.accepted_at, "updated_at": at}
    others = purchases.c.terms_version.is_distinct_from(terms.version)
    await db.execute(update(purchases).where(purchases.c.id == purchase_id, others).values(**values))


async def params_of(db: AsyncConnection, purchase_id: UUID) -> dict[str, Any]:
    found = await db.execute(select(purchases.c.session_params).where(purchases.c.id == purchase_id))
    params: dict[str, Any] = found.scalar_one() or {}
    return params


async def read_row(db: AsyncConnection, purchase_id: UUID) -> Row[Any] | None:
    return (await db.execute(select(purchases).where(purchases.c.id == purchase_id))).one_or_none()


async def write_session(
    db: AsyncConnection, purchase_id: UUID, *, session_id: str, url: str, expires_at: datetime, at: datetime
) -> State:
    """Keeps Stripe's answer, and tells the state: events of the payment may have been here before it."""
    values = {"stripe_checkout_session_id": session_id, "checkout_url": url, "expires_at": expires_at}
    return await _write_answer(db, purchase_id, State.SESSION_OPEN, values, at)


async def write_intent(
    db: AsyncConnection, purchase_id: UUID, *, intent_id: str, client_secret: str | None, at: datetime
) -> State:
    """Keeps Stripe's answer, and tells the state: events of the payment may have been here before it."""
    values = {"stripe_payment_intent_id": intent_id, "client_secret": client_secret}
    return await _write_answer(db, purchase_id, State.AWAITING_PAYMENT, values, at)


async def write_awaiting(db: AsyncConnection, purchase_id: UUID, *, at: datetime) -> State:
    """What is due is known now, and how it can be paid."""
    return await _write_answer(db, purchase_id, State.AWAITING_PAYMENT, {}, at)


async def _write_answer(
    db: AsyncConnection, purchase_id: UUID, opened: State, values: Mapping[str, Any], at: datetime
) -> State:
    state = case((purchases.c.state == "created", literal(opened.value)), else_=purchases.c.state)
    answered = await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(**values, state=state, updated_at=at)
        .returning(purchases.c.state)
    )
    return State(answered.scalar_one())


async def close_purchase(db: AsyncConnection, purchase_id: UUID, *, state: State, at: datetime) -> None:
    """Ends a purchase that is not paid; one that has moved on meanwhile stays as it is."""
    closed = await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id, purchases.c.state.in_([each.value for each in OPEN]))
        .values(state=state.value, updated_at=at)
    )
    if closed.rowcount:
        await promotion_repository.release(db, purchase_id, at=at)
        await db.execute(
            update(funding_payments)
            .where(funding_payments.c.id == purchase_id)
            .values(status=funding_status_of(state), updated_at=at)
        )


async def lock_purchase(db: AsyncConnection, purchase_id: UUID) -> Row[Any] | None:
    return (await db.execute(select(purchases).where(purchases.c.id == purchase_id).with_for_update())).one_or_none()


async def settle_purchase(
    db: AsyncConnection, purchase_id: UUID, *, state: State, subscription_id: str | None, at: datetime
) -> None:
    await db.execute(
        update(purchases)
        .where(purchases.c.id == purchase_id)
        .values(
            state=state.value,
            stripe_subscription_id=func.coalesce(purchases.c.stripe_subscription_id, subscription_id),
            updated_at=at,
        )
    )
    if state in (State.PAID, State.WITHDRAWN, State.CANCELED):
        await promotion_repository.redeem(db, purchase_id, at=at)
    elif state in (State.FAILED, State.EXPIRED):
        await promotion_repository.release(db, purchase_id, at=at)


async def write_schedule(db: AsyncConnection, purchase_id: UUID, schedule_id: str | None, *, at: datetime) -> None:
    values = {"stripe_schedule_id": schedule_id, "updated_at": at}
    await db.execute(update(purchases).where(purchases.c.id == purchase_id).values(**values))


async def insert_funding(db: AsyncConnection, purchase_id: UUID, wish: Wish, *, at: datetime) -> None:
    await db.execute(
        insert(funding_payments).values(
            id=purchase_id,
            student_id=wish.student_id,
            program_id=wish.program.id,
            funding_source=wish.funding_source,
            amount=wish.amount.to_decimal(),
            created_at=at,
            updated_at=at,
        )
    )


async def write_funding_session(db: AsyncConnection, purchase_id: UUID, session_id: str, *, at: datetime) -> None:
    fresh = funding_payments.c.stripe_checkout_session_id.is_distinct_from(session_id)
    await db.execute(
        update(funding_payments)
        .where(funding_payments.c.id == purchase_id, fresh)
        .values(stripe_checkout_session_id=session_id, updated_at=at)
    )


async def settle_funding(
    db: AsyncConnection,
    purchase_id: UUID,
    *,
    state: State,
    payment_intent_id: str | None,
    session_id: str | None,
    paid_at: datetime | None,
    at: datetime,
) -> None:
    """Follows the purchase; writes nothing (and leaves no trail) when nothing is new.

    `paid_at` is when a success that was just heard happened: the earliest one counts, in whatever order they come.
    """
    row = (await db.execute(select(funding_payments).where(funding_payments.c.id == purchase_id))).one_or_none()
    if row is None:
        return
    status = funding_status_of(state)
    times = [time for time in (row.paid_at, paid_at) if time is not None]
    values = {
        "status": status,
        "stripe_payment_intent_id": row.stripe_payment_intent_id or payment_intent_id,
        "stripe_checkout_session_id": row.stripe_checkout_session_id or session_id,
        "paid_at": min(times, default=at) if status == "paid" else row.paid_at,
    }
    if any(getattr(row, name) != value for name, value in values.items()):
        await db.execute(
            update(funding_payments).where(funding_payments.c.id == purchase_id).values(**values, updated_at=at)
        )


async def note_contact(db: AsyncConnection, student_id: UUID, contact: Contact, *, at: datetime) -> int | None:
    """Keeps how a student is reached. The number of the change; None when it was known."""
    values = {"email": contact.email, "name": contact.name, "updated_at": at}
    statement = insert(contacts).values(student_id=student_id, revision=1, **values)
    name = func.coalesce(statement.excluded.name, contacts.c.name)
    statement = statement.on_conflict_do_update(
        index_elements=["student_id"],
        set_={**values, "name": name, "revision": contacts.c.revision + 1},
        where=(contacts.c.email != statement.excluded.email) | contacts.c.name.is_distinct_from(name),
    )
    revision: int | None = (await db.execute(statement.returning(contacts.c.revision))).scalar_one_or_none()
    return revision


async def read_customer(db: AsyncConnection, student_id: UUID) -> Row[Any] | None:
    return (await db.execute(select(customers).where(customers.c.student_id == student_id))).one_or_none()


async def keep_customer(
    db: AsyncConnection, student_id: UUID, customer_id: str, contact: Contact | None, *, at: datetime
) -> str:
    """Keeps the student's customer; the one that was there before stays."""
    await lock_student(db, student_id)  # two unique keys: ON CONFLICT waits for one of them only
    told = {"email": contact.email, "name": contact.name} if contact else {}
    statement = insert(customers).values(
        student_id=student_id, stripe_customer_id=customer_id, **told, created_at=at, updated_at=at
    )
    kept = await db.execute(
        statement.on_conflict_do_update(index_elements=["student_id"], set_={**told, "updated_at": at}).returning(
            customers.c.stripe_customer_id
        )
    )
    return str(kept.scalar_one())


async def replace_customer(db: AsyncConnection, student_id: UUID, gone: str, customer_id: str, *, at: datetime) -> str:
    """The student's customer, which is this one where it was the one that is gone. (It has not been told anything.)"""
    values = {"stripe_customer_id": customer_id, "email": None, "name": None, "updated_at": at}
    mine = customers.c.student_id == student_id
    await db.execute(update(customers).where(mine, customers.c.stripe_customer_id == gone).values(**values))
    return str((await db.execute(select(customers.c.stripe_customer_id).where(mine))).scalar_one())


def purchase_of(row: Row[Any]) -> Purchase:
    return Purchase(
        id=row.id,
        wish=wish_of(row),
        state=State(row.state),
        session_id=row.stripe_checkout_session_id,
        created_at=row.created_at,
        intent_id=row.stripe_payment_intent_id,
        client_secret=row.client_secret,
        plan_canceled=row.plan_canceled,
    )


def program_of(row: Row[Any]) -> Program:
    """What the purchase is of, as events speak of it."""
    return Program(
        slug=row.program_slug,
        id=row.program_id,
        name=row.program_name,
        provider=row.provider,
        kind=row.item_kind,
        includes=row.includes,
    )


def wish_of(row: Row[Any]) -> Wish:
    return Wish(
        student_id=row.student_id,
        program=program_of(row),
        amount=Money(amount=row.amount, currency=row.currency),
        item_id=row.item_id,
        owner_id=row.owner_id,
        payer=row.payer,
        funding_source=row.funding_source,
        payment_type=row.payment_type,
        installments=row.installments,
        how=row.how,
        list_price=Money(amount=row.list_price or row.amount, currency=row.currency),
        promotion_code=row.promotion_code,
        tier=row.tier,
        interval=row.interval,
    )
