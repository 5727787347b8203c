"""Facts, messages and contacts in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope, Event
from contracts.people import Contact
from contracts.registry import EVENT_TYPES
from kit.db.unit_of_work import UnitOfWork, fact_of
from kit.jobs import jobs
from kit.messaging import fact_store
from kit.runtime.trace import Cause
from notifications.known import Heard, Known, keys_of
from notifications.message import Message
from notifications.tables import contacts, marks, notifications

KIND = "notification"
"""The kind of our jobs; each is one round of one message."""
SUPERSEDED = "superseded"
"""Why a message was skipped that may be wanted again: it was not true any more when it was due."""

# --- facts ------------------------------------------------------------------------------------------------------------


async def merge(uow: UnitOfWork, heard: Envelope[Event]) -> Known:
    """Adds the event to what is known, and returns all that belongs together with it, locked."""
    return _known(await fact_store.merge(uow.db, fact_of(heard), keys_of(heard.data)))


async def load(db: AsyncConnection, about: str) -> Known:
    """What is known under this key."""
    return _known(await fact_store.known(db, about))


async def lock_facts(db: AsyncConnection, about: str) -> None:
    """Nothing is added to what is known under this key until the transaction ends."""
    await db.execute(select(fact_store.fact_keys).where(fact_store.fact_keys.c.key == about).with_for_update())


def _known(group: Sequence[fact_store.Fact]) -> Known:
    return Known(
        tuple(
            Heard(id=fact.event_id, time=fact.time, data=EVENT_TYPES[fact.type].model_validate(fact.body))
            for fact in group
        )
    )


# --- messages ---------------------------------------------------------------------------------------------------------


async def read(db: AsyncConnection, notification_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    row = select(notifications).where(notifications.c.id == notification_id)
    return (await db.execute(row.with_for_update() if lock else row)).one_or_none()


async def told(db: AsyncConnection, of: Collection[str]) -> dict[str, UUID]:
    """Which of these marks have gone out, and on which message."""
    rows = await db.execute(select(marks).where(marks.c.mark.in_(of)))
    return {row.mark: row.notification_id for row in rows}


async def want(uow: UnitOfWork, messages: Sequence[Message], *, due: dict[UUID, datetime]) -> None:
    """Each message once: a new one waits until it is due, one that was skipped waits again, one that waits for words
    which have come meanwhile is hastened, and every other one stays as it is."""
    by_id = {message.id: message for message in messages}
    if not by_id:
        return
    added = insert(notifications).values([_row(message, uow) for message in by_id.values()])
    new = set(await uow.db.scalars(added.on_conflict_do_nothing().returning(notifications.c.id)))
    for id in by_id.keys() & new:
        await _queue(uow.db, id, round=1, cause=uow.cause, due=due[id])
    known = select(notifications).where(notifications.c.id.in_(by_id.keys() - new))
    for row in (await uow.db.execute(known)).all():
        if row.status == "skipped" and row.code == SUPERSEDED:
            await again(uow.db, row.id, before=("skipped",), now=uow.now, due=due[row.id])
        elif row.status == "waiting":
            await jobs.expedite(uow.db, kind=KIND, key=_effect_key(row.id, row.round), due=due[row.id])


async def again(
    db: AsyncConnection,
    notification_id: UUID,
    *,
    before: Collection[str],
    now: datetime,
    due: datetime | None = None,
) -> bool:
    """Another round for a message that stands at one of `before`. False: it stands elsewhere."""
    waiting = {"status": "waiting", "code": None, "handed_over_at": None, "sent_at": None, "updated_at": now}
    row = (
        await db.execute(
            update(notifications)
            .where(notifications.c.id == notification_id, notifications.c.status.in_(before))
            .values(round=notifications.c.round + 1, **waiting)
            .returning(notifications.c.round, notifications.c.cause)
        )
    ).one_or_none()
    if row is None:
        return False
    cause = Cause(**row.cause) if row.cause else None
    await _queue(db, notification_id, round=row.round, cause=cause, due=due)
    return True


async def _queue(
    db: AsyncConnection, notification_id: UUID, *, round: int, cause: Cause | None, due: datetime | None
) -> None:
    payload = {"notification_id": str(notification_id), "round": round}
    key = _effect_key(notification_id, round)
    await jobs.put(db, kind=KIND, key=key, payload=payload, cause=cause, available_at=due)


def _effect_key(notification_id: UUID, round: int) -> str:
    return f"{notification_id}/{round}"


def _row(message: Message, uow: UnitOfWork) -> dict[str, Any]:
    return {
        "id": message.id,
        "key": message.key,
        "template": message.template,
        "channel": message.channel,
        "recipient": message.recipient,
        "student_id": None if message.recipient == "admin" else message.student_id,
        "about_student_id": message.student_id,
        "purchase_id": message.purchase_id,
        "about": message.about,
        "told": None if message.about else dict(message.told),
        "status": "waiting",
        "cause": asdict(uow.cause) if uow.cause else None,
        "created_at": uow.now,
        "updated_at": uow.now,
    }


# --- going out --------------------------------------------------------------------------------------------------------


async def hand_over(
    db: AsyncConnection, notification_id: UUID, *, round: int, now: datetime, attachment: str | None
) -> bool:
    """Writes down that from now on the other side may have the message. False: this round is over already."""
    at_rest = (notifications.c.status == "waiting", notifications.c.round == round)
    changed = await db.execute(
        update(notifications)
        .where(notifications.c.id == notification_id, *at_rest)
        .values(status="handed_over", handed_over_at=now, updated_at=now, attachment=attachment)
    )
    return changed.rowcount == 1


async def carry(db: AsyncConnection, message: Message) -> bool:
    """Puts its marks on the message. False: another message carries one that only one may have."""
    names = sorted(message.once | message.tells)
    if names:
        values = [{"mark": name, "notification_id": message.id} for name in names]
        await db.execute(insert(marks).values(values).on_conflict_do_nothing())
    carried = await told(db, message.once | message.unless | message.yields)
    return all(carrier == message.id for carrier in carried.values())


async def take_back(db: AsyncConnection, notification_id: UUID, *, now: datetime) -> None:
    """The other side has said that it does not have the message."""
    await db.execute(marks.delete().where(marks.c.notification_id == notification_id))
    await settle(db, notification_id, status="waiting", now=now, handed_over_at=None)


async def settle(db: AsyncConnection, notification_id: UUID, *, status: str, now: datetime, **more: Any) -> None:
    await db.execute(
        update(notifications).where(notifications.c.id == notification_id).values(status=status, updated_at=now, **more)
    )


async def accepted(db: AsyncConnection, notification_id: UUID, *, now: datetime) -> None:
    """The other side has said that it has the message."""
    await db.execute(update(notifications).where(notifications.c.id == notification_id).values(sent_at=now))


# --- contacts ---------------------------------------------------------------------------------------------------------


async def contact_of(db: AsyncConnection, student_id: UUID) -> Contact | None:
    row = (await db.execute(select(contacts).where(contacts.c.student_id == student_id))).one_or_none()
    return Contact(email=row.email, name=row.name) if row else None


async def keep_contact(db: AsyncConnection, student_id: UUID, contact: Contact, *, at: datetime, event_id: str) -> None:
    """The latest word stays; of two at the same moment always the same one."""
    said = {"email": contact.email, "name": contact.name, "said_at": at, "event_id": event_id}
    statement = insert(contacts).values(student_id=student_id, **said)
    later = tuple_(contacts.c.said_at, contacts.c.event_id) < tuple_(
        statement.excluded.said_at, statement.excluded.event_id
    )
    await db.execute(statement.on_conflict_do_update(index_elements=["student_id"], set_=said, where=later))


async def lock_contact(db: AsyncConnection, student_id: UUID) -> None:
    """Between "nobody knows an address" and "an address has come" there is no gap for a message to fall into."""
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"contact:{student_id}", 0))))


async def wake_waiting(uow: UnitOfWork, student_ids: Collection[UUID]) -> None:
    """Another round for everything that waits for an address of these students, or of who pays for them."""
    waiting = select(notifications.c.id).where(
        notifications.c.status == "no_contact", notifications.c.about_student_id.in_(student_ids)
    )
    for id in (await uow.db.scalars(waiting.order_by(notifications.c.id))).all():
        await again(uow.db, id, before=("no_contact",), now=uow.now)
