"""`python -m notifications verify`: a message is told once, so its row says what has become of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.notifications.harness import CONTACT, LINKS, Harness, assigned, paid, step

from contracts.audit import Actor
from contracts.enrollment import EnrollmentActivated
from kit.messaging.verification import Repair, Report, verify
from notifications.verification import comparisons


@pytest.fixture
async def delivered(harness: Harness) -> Harness:
    """A receipt and a welcome were sent."""
    await by_hand(harness, "DELETE FROM repairs")
    await harness.receive(CONTACT, paid(), step(EnrollmentActivated, 1), assigned(), LINKS)
    assert len(await harness.deliver_due()) == 2
    assert not (await verified(harness)).differences
    return harness


async def verified(harness: Harness, *, repair: bool = False) -> Report:
    asked = Repair(verification_id=uuid4(), actor=Actor(id="ada", role="operator")) if repair else None
    return await verify(harness.database, comparisons(), service="notifications", repair=asked)


async def by_hand(harness: Harness, sql: str) -> None:
    async with harness.database.transaction() as db:
        await db.execute(text(sql))


def named(report: Report) -> list[tuple[str, str | None, Any, Any, str]]:
    return [(each.table, each.column, each.stored, each.expected, each.outcome) for each in report.differences]


async def test_a_message_that_was_sent_is_marked_as_sent_again_and_not_sent_again(delivered: Harness) -> None:
    await by_hand(delivered, "UPDATE notifications SET status = 'skipped' WHERE template = 'welcome'")
    found = named(await verified(delivered, repair=True))
    assert found == [("notifications", "status", "skipped", "sent", "repaired")]
    assert not (await verified(delivered)).differences
    assert len(await delivered.deliver_due()) == 2


async def test_a_message_that_nothing_will_send_is_named(delivered: Harness) -> None:
    """Only an admin knows whether it still should go out."""
    await by_hand(delivered, "DELETE FROM outbox_messages WHERE routing_key = 'notification.sent.v1'")
    await by_hand(delivered, "UPDATE notifications SET status = 'waiting' WHERE template = 'welcome'")
    (found,) = (await verified(delivered, repair=True)).differences
    assert (found.column, found.outcome, found.reason) == (
        "status",
        "not_repairable",
        "no job will send it; resend it as an admin",
    )


async def test_a_doubled_message_is_removed_and_a_deleted_one_is_named(delivered: Harness) -> None:
    await by_hand(
        delivered,
        "INSERT INTO notifications (id, key, template, channel, recipient, status, facts_key, context)"
        " SELECT gen_random_uuid(), key || '-2', template, channel, recipient, status, facts_key, context"
        " FROM notifications"
        " WHERE template = 'welcome'",
    )
    assert named(await verified(delivered, repair=True)) == [("notifications", None, "sent", None, "repaired")]
    await by_hand(delivered, "DELETE FROM topics")
    await by_hand(delivered, "DELETE FROM notifications WHERE template = 'welcome'")
    (found,) = (await verified(delivered, repair=True)).differences
    assert (found.expected["template"], found.outcome) == ("welcome", "not_repairable")
    assert len(await delivered.deliver_due()) == 2, "nothing is sent because of it"
