"""What is compared: the facts with the inbox, and notifications with what was published about them.

A message is sent at most once, so its row is what keeps it from being sent again. What has become of it is in the
outbox for as long as that is kept: a row that says something else was changed by hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.checkout import StudentUpdated
from contracts.payments import PaymentFailed
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.fact_verification import FactComparison
from kit.messaging.verification import Comparison, Difference
from notifications.db import FACT_RULES, JOB_KIND
from notifications.message import notification_id
from notifications.tables import notifications
from notifications.topology import ERASURES, QUEUES, SERVICE

NOT_ENQUEUED = "no job will send it; resend it as an admin"
ROWS = 2_000
_FIRST = UUID(int=0)
_difference = partial(Difference.of_row, notifications.name)


def comparisons() -> Sequence[Comparison]:
    facts = FactComparison(
        service=SERVICE,
        queues=[queue for queue in QUEUES if queue is not ERASURES],
        rules=FACT_RULES,
        superseded=frozenset({PaymentFailed.type, StudentUpdated.type}),  # a contact is no fact
    )
    return facts, NotificationComparison()


# `sent`: what was published is that it was sent. `pending`: a job will send it.
_ROW = """
    SELECT id, key, status, round, EXISTS (
        SELECT FROM outbox_messages WHERE message_key = notifications.id || '/notification.sent.v1' OFFSET 0
    ) AS sent, EXISTS (
        SELECT FROM jobs WHERE kind = :kind AND key = notifications.id || '/' || notifications.round
            AND done_at IS NULL AND failed_at IS NULL
    ) AS pending
    FROM notifications WHERE {condition} ORDER BY id LIMIT :limit
"""
_AFTER = text(_ROW.format(condition="id > :id"))
_ONE = text(_ROW.format(condition="id = :id"))
_DELETED = """
    SELECT split_part(message_key, '/', 1) AS id, convert_from(body, 'UTF8')::jsonb AS event, created_at
    FROM outbox_messages WHERE routing_key = 'notification.sent.v1' {condition}
        AND NOT EXISTS (SELECT FROM notifications WHERE notifications.id::text = split_part(message_key, '/', 1))
"""
_ALL_DELETED = text(_DELETED.format(condition=""))
_ONE_DELETED = text(_DELETED.format(condition="AND message_key = :id || '/notification.sent.v1'"))
_MARK_SENT = text(
    "UPDATE notifications SET status = 'sent', code = NULL, updated_at = :now,"
    " sent_at = coalesce(sent_at, (SELECT min(created_at) FROM outbox_messages"
    " WHERE message_key = notifications.id || '/notification.sent.v1')) WHERE id = :id"
)
_REMOVE = text(
    "DELETE FROM notifications WHERE id = :id AND NOT EXISTS (SELECT FROM topics WHERE notification_id = :id)"
)


class NotificationComparison:
    """The unit of a repair is a notification. Nothing is sent because of it."""

    name = notifications.name

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        after = _FIRST
        while rows := (await db.execute(_AFTER, {"id": after, "kind": JOB_KIND, "limit": ROWS})).all():
            after = rows[-1].id
            yield [found for row in rows if (found := _of(row)) is not None]
        yield [_deleted(row) for row in await db.execute(_ALL_DELETED)]

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        rows = await db.execute(_ONE, {"id": UUID(unit), "kind": JOB_KIND, "limit": 1})
        found = [each for row in rows if (each := _of(row)) is not None]
        return [*found, *(_deleted(row) for row in await db.execute(_ONE_DELETED, {"id": unit}))]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        for each in differences:
            if each.expected == "sent":
                await uow.db.execute(_MARK_SENT, {"id": UUID(each.row), "now": uow.now})
            elif each.expected is None:
                await uow.db.execute(_REMOVE, {"id": UUID(each.row)})


# Any: rows of text statements
def _of(row: Row[Any]) -> Difference | None:
    if row.id != notification_id(row.key):
        return _difference(row.id, None, row.status, None)
    if row.sent and row.status != "sent" and row.round == 1:  # else an admin has asked for it again
        return _difference(row.id, "status", row.status, "sent")
    if row.status in ("waiting", "handed_over") and not row.pending:
        return _difference(row.id, "status", row.status, "a job that is not done", NOT_ENQUEUED)
    return None


def _deleted(row: Row[Any]) -> Difference:
    """Only named: its address and its topics are gone, and with them what keeps it from being sent again."""
    event = row.event
    expected = {name: event.get(name) for name in ("template", "channel", "recipient", "purchase_id")}
    return _difference(row.id, None, None, expected, "it was sent; restore it from a backup")
