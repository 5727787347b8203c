"""Payment events become enrollments: the same rows and the same final events, in any order and with duplicates."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.deliveries import deliver, envelope
from tests.ledger.payment_histories import (
    PRICE,
    bank_debit,
    declined,
    disputed,
    expired,
    histories,
    paid_by_card,
    plan,
    refunded,
)

from contracts.payments import PaymentEvent
from enrollment import consumers
from kit.db.database import Database

CONSUMER = consumers.payments()
_ROW = "student_id, program_slug, status, reason, payment_status, source, purchase_id, funding_source"


def numbered(*events: PaymentEvent) -> dict[str, PaymentEvent]:
    return {f"evt_{n}/{event.type}": event for n, event in enumerate(events)}


async def play(database: Database, facts: dict[str, PaymentEvent], order: list[str]) -> None:
    for event_id in order:
        await deliver(database, CONSUMER, "enrollment", envelope(event_id, facts[event_id]))


async def rows(database: Database) -> list[dict[str, Any]]:
    async with database.transaction() as db:
        return [dict(r._mapping) for r in await db.execute(text(f"SELECT {_ROW} FROM enrollments ORDER BY id"))]


async def published(database: Database) -> list[tuple[str, dict[str, Any]]]:
    async with database.transaction() as db:
        found = await db.execute(text("SELECT routing_key, body FROM outbox_messages ORDER BY id"))
        return [(row.routing_key, json.loads(row.body)) for row in found]


async def empty(database: Database) -> None:
    async with database.transaction() as db:
        await db.execute(text("DELETE FROM enrollments"))
        await db.execute(text("DELETE FROM outbox_messages"))
        await db.execute(text("DELETE FROM inbox"))
        await db.execute(text("DELETE FROM facts"))
        await db.execute(text("DELETE FROM fact_keys"))


ACTIVE_EVENTS = ("enrollment.activated.v1", "enrollment.resumed.v1")


def latest_events(events: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """The latest event of each enrollment. (One that was never published as paused is not `resumed`, and a failed debit
    that was never published as pending is not `withdrawn`.)"""
    latest: dict[str, tuple[int, str]] = {}
    for type, body in events:
        if body.get("reason") == "payment_failed":
            latest.pop(body["enrollment_id"], None)
            continue
        latest[body["enrollment_id"]] = max(latest.get(body["enrollment_id"], (0, "")), (body["revision"], type))
    return {enrollment: "active" if type in ACTIVE_EVENTS else type for enrollment, (_, type) in latest.items()}


@settings(
    max_examples=settings().max_examples * 3 // 10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(facts=histories(), data=st.data())
async def test_any_order_and_duplication_ends_in_the_same_rows(
    database: Database, facts: dict[str, PaymentEvent], data: st.DataObject
) -> None:
    in_order = sorted(facts, key=lambda event_id: int(event_id[4:].split("/")[0]))
    repeats = data.draw(st.lists(st.sampled_from(in_order), max_size=6))
    shuffled = data.draw(st.permutations(in_order + repeats))
    await empty(database)
    await play(database, facts, in_order)
    expected_rows, expected_events = await rows(database), latest_events(await published(database))
    await empty(database)
    await play(database, facts, shuffled)
    assert await rows(database) == expected_rows
    assert latest_events(await published(database)) == expected_events


async def test_a_session_and_its_intent_publish_the_same_in_either_order(database: Database) -> None:
    facts = numbered(*paid_by_card(1))
    outcomes = []
    for order in (list(facts), list(facts)[::-1], list(facts) * 3):
        await empty(database)
        await play(database, facts, order)
        outcomes.append((await rows(database), await published(database)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert [type for type, _ in outcomes[0][1]] == ["enrollment.activated.v1"]


async def published_and_status(database: Database, *events: PaymentEvent) -> tuple[list[str], str | None]:
    """Returns the published events, and the enrollment's status."""
    facts = numbered(*events)
    await play(database, facts, list(facts))
    found = await rows(database)
    return [type.split(".")[1] for type, _ in await published(database)], found[0]["status"] if found else None


async def test_a_bank_debit_is_pending_until_it_settles(database: Database) -> None:
    assert await published_and_status(database, *bank_debit(1, settles=True)) == (["pending", "activated"], "active")


async def test_a_returned_bank_debit_withdraws(database: Database) -> None:
    assert await published_and_status(database, *bank_debit(1, settles=False)) == (
        ["pending", "withdrawn"],
        "withdrawn",
    )


async def test_unpaid_purchases_write_no_row(database: Database) -> None:
    assert await published_and_status(database, *declined(1), *expired(1)) == ([], None)


async def test_a_plan_pauses_resumes_and_stays_active_when_finished(database: Database) -> None:
    fields = await published_and_status(database, *plan(1, 2, missed=True, caught_up=True), *plan(1, 4, ended=True))
    assert fields == (["activated", "paused", "resumed"], "active")


async def test_a_refund_withdraws_and_a_new_purchase_activates_again(database: Database) -> None:
    fields = await published_and_status(database, *paid_by_card(1), *refunded(1, PRICE.amount), *paid_by_card(2))
    assert fields == (["activated", "withdrawn", "activated"], "active")


async def test_a_refund_before_its_payment_activates_nothing(database: Database) -> None:
    """Not even for a moment: no activation is published for an enrollment that is already withdrawn."""
    fields = await published_and_status(database, *refunded(1, PRICE.amount), *paid_by_card(1))
    assert fields == (["withdrawn"], "withdrawn")


async def test_an_open_dispute_changes_nothing_and_a_lost_one_withdraws(database: Database) -> None:
    assert await published_and_status(database, *paid_by_card(1), *disputed(1, None)) == (["activated"], "active")
    await empty(database)
    assert await published_and_status(database, *paid_by_card(1), *disputed(1, "lost")) == (
        ["activated", "withdrawn"],
        "withdrawn",
    )


async def test_twenty_concurrent_purchases_are_one_enrollment(database: Database) -> None:
    events = numbered(*(event for n in range(1, 21) for event in paid_by_card(n)))

    async def one(event_id: str) -> None:
        await deliver(database, CONSUMER, "enrollment", envelope(event_id, events[event_id]))

    await asyncio.gather(*(one(event_id) for event_id in events))
    assert len(await rows(database)) == 1
    assert [type for type, _ in await published(database)] == ["enrollment.activated.v1"]


async def test_a_payment_without_a_student_is_no_enrollment_until_an_event_names_one(database: Database) -> None:
    (refund,), (intent, session) = refunded(1, 100), paid_by_card(1)
    await play(database, {"evt_r": refund}, ["evt_r"])
    assert await rows(database) == []
    await play(database, {"evt_i": intent, "evt_s": session}, ["evt_i", "evt_s"])
    (row,) = await rows(database)
    assert row["student_id"] == UUID("00000000-0000-4000-8000-000000000001")
    assert row["status"] == "active"
