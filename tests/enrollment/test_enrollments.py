"""Payment events become enrollments: the same rows and the same last word, whatever the order and however often."""

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


async def said(database: Database) -> list[tuple[str, dict[str, Any]]]:
    async with database.transaction() as db:
        found = await db.execute(text("SELECT routing_key, body FROM outbox ORDER BY id"))
        return [(row.routing_key, json.loads(row.body)) for row in found]


async def empty(database: Database) -> None:
    async with database.transaction() as db:
        await db.execute(text("DELETE FROM enrollments"))
        await db.execute(text("DELETE FROM outbox"))
        await db.execute(text("DELETE FROM inbox"))
        await db.execute(text("DELETE FROM facts"))
        await db.execute(text("DELETE FROM fact_keys"))


MEANS_ACTIVE = ("enrollment.activated.v1", "enrollment.resumed.v1")


def last_word(events: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """What the other services end up knowing of each enrollment. (One never published as paused is not `resumed`.)"""
    words: dict[str, tuple[int, str]] = {}
    for type, body in events:
        words[body["enrollment_id"]] = max(words.get(body["enrollment_id"], (0, "")), (body["revision"], type))
    return {enrollment: "active" if type in MEANS_ACTIVE else type for enrollment, (_, type) in words.items()}


@settings(
    max_examples=settings().max_examples * 3 // 10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(facts=histories(), data=st.data())
async def test_any_order_and_any_duplication_ends_alike(
    database: Database, facts: dict[str, PaymentEvent], data: st.DataObject
) -> None:
    in_order = sorted(facts, key=lambda event_id: int(event_id[4:].split("/")[0]))
    repeats = data.draw(st.lists(st.sampled_from(in_order), max_size=6))
    shuffled = data.draw(st.permutations(in_order + repeats))
    await empty(database)
    await play(database, facts, in_order)
    expected_rows, expected_word = await rows(database), last_word(await said(database))
    await empty(database)
    await play(database, facts, shuffled)
    assert await rows(database) == expected_rows
    assert last_word(await said(database)) == expected_word


async def test_a_session_and_its_intent_in_either_order_say_exactly_the_same(database: Database) -> None:
    facts = numbered(*paid_by_card(1))
    outcomes = []
    for order in (list(facts), list(facts)[::-1], list(facts) * 3):
        await empty(database)
        await play(database, facts, order)
        outcomes.append((await rows(database), await said(database)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert [type for type, _ in outcomes[0][1]] == ["enrollment.activated.v1"]


async def story(database: Database, *events: PaymentEvent) -> tuple[list[str], str | None]:
    """What was said, and how the enrollment stands."""
    facts = numbered(*events)
    await play(database, facts, list(facts))
    found = await rows(database)
    return [type.split(".")[1] for type, _ in await said(database)], found[0]["status"] if found else None


async def test_a_bank_debit_is_pending_until_it_settles(database: Database) -> None:
    assert await story(database, *bank_debit(1, settles=True)) == (["pending", "activated"], "active")


async def test_a_bank_debit_that_is_returned_leaves_no_enrollment(database: Database) -> None:
    assert await story(database, *bank_debit(1, settles=False)) == (["pending", "withdrawn"], "withdrawn")


async def test_what_never_was_paid_makes_no_row(database: Database) -> None:
    assert await story(database, *declined(1), *expired(1)) == ([], None)


async def test_a_plan_pauses_resumes_and_keeps_its_enrollment(database: Database) -> None:
    told = await story(database, *plan(1, 2, missed=True, caught_up=True), *plan(1, 4, ended=True))
    assert told == (["activated", "paused", "resumed"], "active")


async def test_a_refund_withdraws_and_a_new_purchase_enrollments_again(database: Database) -> None:
    told = await story(database, *paid_by_card(1), *refunded(1, PRICE.amount), *paid_by_card(2))
    assert told == (["activated", "withdrawn", "activated"], "active")


async def test_a_refund_that_comes_first_leaves_no_enrollment_to_welcome(database: Database) -> None:
    """Not even for a moment: nobody is told of an enrollment that is already lost."""
    told = await story(database, *refunded(1, PRICE.amount), *paid_by_card(1))
    assert told == (["withdrawn"], "withdrawn")


async def test_an_open_dispute_is_only_shown_and_a_lost_one_withdraws(database: Database) -> None:
    assert await story(database, *paid_by_card(1), *disputed(1, None)) == (["activated"], "active")
    await empty(database)
    assert await story(database, *paid_by_card(1), *disputed(1, "lost")) == (["activated", "withdrawn"], "withdrawn")


async def test_twenty_purchases_of_one_enrollment_at_once_are_one_enrollment(database: Database) -> None:
    events = numbered(*(event for n in range(1, 21) for event in paid_by_card(n)))

    async def one(event_id: str) -> None:
        await deliver(database, CONSUMER, "enrollment", envelope(event_id, events[event_id]))

    await asyncio.gather(*(one(event_id) for event_id in events))
    assert len(await rows(database)) == 1
    assert [type for type, _ in await said(database)] == ["enrollment.activated.v1"]


async def test_money_without_a_student_makes_no_enrollment_until_somebody_names_one(database: Database) -> None:
    (refund,), (intent, session) = refunded(1, 100), paid_by_card(1)
    await play(database, {"evt_r": refund}, ["evt_r"])
    assert await rows(database) == []
    await play(database, {"evt_i": intent, "evt_s": session}, ["evt_i", "evt_s"])
    (row,) = await rows(database)
    assert row["student_id"] == UUID("00000000-0000-4000-8000-000000000001")
    assert row["status"] == "active"
