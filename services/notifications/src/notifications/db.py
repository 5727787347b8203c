"""Facts, notifications and contacts in the database."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Integer, Text, Uuid, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import StudentUpdated
from contracts.envelope import Envelope, Event
from contracts.people import Contact
from kit.db.unit_of_work import UnitOfWork
from kit.jobs import jobs
from kit.jobs.jobs import NewJob
from kit.messaging import fact_store
from kit.messaging.event_facts import EventGroup, FactRules, StoredEvent, events_of
from kit.runtime.trace import Cause
from ledger.facts import superseded
from ledger.policy import Policy
from notifications.message import Channel, Message, Recipient
from notifications.student_facts import EventRecord, StudentFacts, implied_keys_of, keys_of
from notifications.tables import contacts, notifications, topics

JOB_KIND = "notification"
"""One job is one round: one attempt, with its retries, to deliver one notification."""
FACT_RULES = FactRules(keys=keys_of, implied_keys=implied_keys_of, superseded=superseded)
SUPERSEDED = "superseded"
"""The code of a notification that was skipped because it was out of date; it may become due again."""

Status = Literal["waiting", "no_contact", "handed_over", "sent", "skipped", "failed", "unknown"]


@dataclass(frozen=True, kw_only=True)
class NotificationRow:
    """A row of `notifications`, without its timestamps of creation and change."""

    id: UUID
    key: str
    template: str
    channel: Channel
    recipient: Recipient
    student_id: UUID | None
    about_student_id: UUID | None
    purchase_id: UUID | None
    facts_key: str | None
    context: Mapping[str, Any] | None  # JSON
    cause: Mapping[str, Any] | None  # JSON
    status: Status
    code: str | None
    round: int
    attempts: int
    sent_at: datetime | None


# --- facts ------------------------------------------------------------------------------------------------------------


async def merge_all(
    uow: UnitOfWork, events: Sequence[Envelope[Event]], policy: Policy
) -> list[tuple[EventGroup, StudentFacts]]:
    """Adds the events to the stored facts. Returns every group that one of them belongs to, locked."""
    return [(group, _student_facts(group.events, policy)) for group in await uow.merge_all(events, FACT_RULES)]


async def load(db: AsyncConnection, facts_key: str, policy: Policy) -> StudentFacts:
    return _student_facts(events_of(await fact_store.group_of(db, facts_key)), policy)


async def lock_facts(db: AsyncConnection, facts_key: str) -> None:
    """Until the transaction ends, nothing is added to the facts under this key."""
    await db.execute(select(fact_store.fact_keys).where(fact_store.fact_keys.c.key == facts_key).with_for_update())


def _student_facts(group: Sequence[StoredEvent], policy: Policy) -> StudentFacts:
    return StudentFacts(tuple(EventRecord(id=each.id, time=each.time, data=each.data) for each in group), policy)


# --- notifications ----------------------------------------------------------------------------------------------------


async def read(db: AsyncConnection, notification_id: UUID, *, lock: bool = False) -> NotificationRow | None:
    columns = [notifications.c[field.name] for field in fields(NotificationRow)]
    statement = select(*columns).where(notifications.c.id == notification_id)
    row = (await db.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return NotificationRow(**row._mapping) if row else None


_COVERED = text("SELECT topic, notification_id FROM topics WHERE topic = ANY (CAST(:names AS text[]))").columns(
    topic=Text, notification_id=Uuid
)


async def covered_topics(db: AsyncConnection, names: Collection[str]) -> dict[str, UUID]:
    """topic -> the notification that covers it and has gone out, for those of `names` that one covers."""
    if not names:
        return {}
    rows = await db.execute(_COVERED, {"names": list(names)})
    return {row.topic: row.notification_id for row in rows}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A message that is to go out at `due`, because of `cause`."""

    message: Message
    due: datetime
    cause: Cause | None


# In the order of their keys, so that two transactions that schedule the same messages do not wait for each other.
_ADD = text(
    """
    INSERT INTO notifications (
        id, key, template, channel, recipient, student_id, about_student_id, purchase_id, facts_key, context, status,
        cause, created_at, updated_at
    )
    SELECT id, key, template, channel, recipient, CASE WHEN recipient <> 'admin' THEN student_id END, student_id,
        purchase_id, facts_key, CAST(context AS jsonb), 'waiting', CAST(cause AS jsonb), :now, :now
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:keys AS text[]), CAST(:templates AS text[]), CAST(:channels AS text[]),
        CAST(:recipients AS text[]), CAST(:students AS uuid[]), CAST(:purchases AS uuid[]), CAST(:facts_keys AS text[]),
        CAST(:contexts AS text[]), CAST(:causes AS text[])
    ) AS new (id, key, template, channel, recipient, student_id, purchase_id, facts_key, context, cause)
    ORDER BY key
    ON CONFLICT DO NOTHING
    RETURNING id
    """
).columns(id=Uuid)
_EXISTING = text(
    "SELECT id, status, code, round FROM notifications WHERE id = ANY (CAST(:ids AS uuid[])) ORDER BY id"
).columns(id=Uuid, status=Text, code=Text, round=Integer)


async def schedule(uow: UnitOfWork, planned: Sequence[Planned]) -> None:
    """Schedules each message once. A new one is due at its time; one that was skipped as out of date is scheduled
    again; one that now has to wait less long is expedited; all others stay as they are."""
    by_id = {each.message.id: each for each in planned}
    if not by_id:
        return
    new = set(await uow.db.scalars(_ADD, _values(by_id, uow.now)))
    await jobs.put_all(uow.db, [_job(id, 1, cause=by_id[id].cause, due=by_id[id].due) for id in by_id if id in new])
    if by_id.keys() <= new:
        return
    expedited = {}
    for id, status, code, round in (await uow.db.execute(_EXISTING, {"ids": list(by_id.keys() - new)})).all():
        if status == "skipped" and code == SUPERSEDED:
            await requeue(uow.db, id, from_statuses=["skipped"], now=uow.now, due=by_id[id].due)
        elif status == "waiting":
            expedited[_job_key(id, round)] = by_id[id].due
    await jobs.expedite_all(uow.db, kind=JOB_KIND, due=expedited)


async def requeue(
    db: AsyncConnection,
    notification_id: UUID,
    *,
    from_statuses: Collection[Status],
    now: datetime,
    due: datetime | None = None,
) -> bool:
    """Starts another round. Returns False if the notification has none of `from_statuses`."""
    waiting = {"status": "waiting", "code": None, "handed_over_at": None, "sent_at": None, "updated_at": now}
    row = (
        await db.execute(
            update(notifications)
            .where(notifications.c.id == notification_id, notifications.c.status.in_(from_statuses))
            .values(round=notifications.c.round + 1, **waiting)
            .returning(notifications.c.round, notifications.c.cause)
        )
    ).one_or_none()
    if row is None:
        return False
    cause = Cause(**row.cause) if row.cause else None
    await jobs.put_all(db, [_job(notification_id, row.round, cause=cause, due=due)])
    return True


def _job(notification_id: UUID, round: int, *, cause: Cause | None, due: datetime | None) -> NewJob:
    payload = {"notification_id": str(notification_id), "round": round}
    key = _job_key(notification_id, round)
    return NewJob(kind=JOB_KIND, key=key, payload=payload, cause=cause, available_at=due)


def _job_key(notification_id: UUID, round: int) -> str:
    return f"{notification_id}/{round}"


def _values(planned: Mapping[UUID, Planned], now: datetime) -> dict[str, Any]:
    messages = [each.message for each in planned.values()]
    contexts = [None if message.facts_key else message.context for message in messages]
    return {
        "ids": list(planned),
        "keys": [message.key for message in messages],
        "templates": [message.template for message in messages],
        "channels": [message.channel for message in messages],
        "recipients": [message.recipient for message in messages],
        "students": [message.student_id for message in messages],
        "purchases": [message.purchase_id for message in messages],
        "facts_keys": [message.facts_key for message in messages],
        "contexts": [None if context is None else json.dumps(dict(context)) for context in contexts],
        "causes": [json.dumps(asdict(each.cause)) if each.cause else None for each in planned.values()],
        "now": now,
    }


# --- delivery ---------------------------------------------------------------------------------------------------------


async def mark_handed_over(
    db: AsyncConnection, notification_id: UUID, *, round: int, now: datetime, attachment: str | None
) -> bool:
    """Records that from now on the server may have the message. Returns False if this round is over already."""
    waiting = (notifications.c.status == "waiting", notifications.c.round == round)
    changed = await db.execute(
        update(notifications)
        .where(notifications.c.id == notification_id, *waiting)
        .values(status="handed_over", handed_over_at=now, updated_at=now, attachment=attachment)
    )
    return changed.rowcount == 1


async def claim_topics(db: AsyncConnection, message: Message) -> bool:
    """Records that the message covers its topics. Returns False if another one covers an exclusive one."""
    if names := sorted(message.covers):
        values = [{"topic": name, "notification_id": message.id} for name in names]
        await db.execute(insert(topics).values(values).on_conflict_do_nothing())
    covered = await covered_topics(db, message.topics | message.suppressed_by | message.yields_to)
    return all(notification_id == message.id for notification_id in covered.values())


async def release(db: AsyncConnection, notification_id: UUID, *, now: datetime) -> None:
    """Undoes `mark_handed_over` and `claim_topics`: the server has said that it does not have the message."""
    await db.execute(topics.delete().where(topics.c.notification_id == notification_id))
    await db.execute(
        update(notifications)
        .where(notifications.c.id == notification_id)
        .values(status="waiting", handed_over_at=None, updated_at=now)
    )


async def mark_accepted(db: AsyncConnection, notification_id: UUID, *, now: datetime) -> None:
    """Records that the server has accepted the message."""
    await db.execute(update(notifications).where(notifications.c.id == notification_id).values(sent_at=now))


async def set_status(
    db: AsyncConnection, notification_id: UUID, *, status: Status, code: str | None, attempts: int, now: datetime
) -> None:
    await db.execute(
        update(notifications)
        .where(notifications.c.id == notification_id)
        .values(status=status, code=code, attempts=attempts, updated_at=now)
    )


# --- contacts ---------------------------------------------------------------------------------------------------------


async def contact_of(db: AsyncConnection, student_id: UUID) -> Contact | None:
    row = (await db.execute(select(contacts).where(contacts.c.student_id == student_id))).one_or_none()
    return Contact(email=row.email, name=row.name) if row else None


# In one order, so that two transactions that save the same contacts do not wait for each other.
_SAVE_CONTACTS = text(
    """
    INSERT INTO contacts (student_id, email, name, changed_at, event_id)
    SELECT student_id, email, name, changed_at, event_id
    FROM unnest(
        CAST(:students AS uuid[]), CAST(:emails AS text[]), CAST(:names AS text[]), CAST(:times AS timestamptz[]),
        CAST(:events AS text[])
    ) AS new (student_id, email, name, changed_at, event_id)
    ORDER BY student_id
    ON CONFLICT (student_id) DO UPDATE SET
        email = excluded.email, name = excluded.name, changed_at = excluded.changed_at, event_id = excluded.event_id
    WHERE (contacts.changed_at, contacts.event_id) < (excluded.changed_at, excluded.event_id)
    """
)
_LOCK_CONTACTS = text(
    """
    SELECT pg_advisory_xact_lock(key) FROM (
        SELECT hashtextextended('contact:' || student_id, 0) AS key
        FROM unnest(CAST(:students AS uuid[])) AS student_id ORDER BY key
    ) AS keys
    """
)


async def save_contacts(db: AsyncConnection, events: Sequence[Envelope[StudentUpdated]]) -> None:
    """Keeps the latest of each student; of two with the same time always the same one."""
    in_order = sorted(events, key=lambda event: (event.time, event.id))
    latest = {event.data.student_id: event for event in in_order}.values()
    values = {
        "students": [event.data.student_id for event in latest],
        "emails": [event.data.contact.email for event in latest],
        "names": [event.data.contact.name for event in latest],
        "times": [event.time for event in latest],
        "events": [event.id for event in latest],
    }
    await db.execute(_SAVE_CONTACTS, values)


async def lock_contacts(db: AsyncConnection, student_ids: Collection[UUID]) -> None:
    """Without these locks, an address could arrive between the check for one and setting `no_contact`."""
    await db.execute(_LOCK_CONTACTS, {"students": list(student_ids)})


_WITHOUT_CONTACT = text(
    "SELECT id FROM notifications WHERE status = 'no_contact'"
    " AND about_student_id = ANY (CAST(:student_ids AS uuid[])) ORDER BY id"
).columns(id=Uuid)


async def requeue_without_contact(uow: UnitOfWork, student_ids: Collection[UUID]) -> None:
    """Another round for all notifications about these students that have no address."""
    if not student_ids:
        return
    waiting = await uow.db.scalars(_WITHOUT_CONTACT, {"student_ids": list(student_ids)})
    for id in waiting.all():
        await requeue(uow.db, id, from_statuses=["no_contact"], now=uow.now)
