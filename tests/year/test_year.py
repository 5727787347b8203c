"""A year of a school, generated: whatever people and banks do, the books agree and each standing is what the facts say.

`YEARS=200 make year` plays more of them than the tests do.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from tests.checkout.conftest import loaded
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import Service
from tests.databases import migrated
from tests.year.acts import (
    Act,
    Buy,
    ChangeSchedule,
    CloseDispute,
    Dispute,
    FailNext,
    Manual,
    Membership,
    PassDays,
    Pay,
    PayRest,
    Refund,
    SettleDebits,
    years,
)
from tests.year.school import Listener, School

import checkout
import enrollment
from contracts.envelope import Event
from contracts.payments import PaymentEvent
from contracts.registry import EVENT_TYPES
from ledger.enrollments_tmp import enrollments
from ledger.facts import fold
from ledger.purchase import Standing
from testkit.postgres_server import Database, PostgresServer

YEARS = int(os.environ.get("YEARS") or "3")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[StripeSandbox]:
    """Stripe of its own: its clock is moved by months."""
    with StripeSandbox() as running:
        yield running


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer) -> tuple[Database, Database]:
    bought = migrated(postgres_server, "year_checkout", checkout.__file__)
    loaded(bought)
    return bought, migrated(postgres_server, "year_enrollment", enrollment.__file__)


@pytest_asyncio.fixture
async def service(databases: tuple[Database, Database], sandbox: StripeSandbox) -> AsyncIterator[Service]:
    running = Service(databases[0], sandbox)
    yield running
    await running.close()


MISSED: list[Act] = [
    Buy(0, "enroll", 0),
    Pay(0, "card"),
    FailNext(0, 12),
    PassDays(45),
    Manual(0, "cash", twice=True),
    ChangeSchedule(0, "pause", 1),
    PassDays(30),
    ChangeSchedule(0, "resume", 1),
    PassDays(60),
    PayRest(0),
    Pay(0, "card"),
]
"""An installment is missed for good and paid at the desk; the rest at once."""
BROKEN_OFF: list[Act] = [
    Buy(0, "plan", 0),
    Pay(0, "card"),
    FailNext(0, 20),
    PassDays(90),
    PayRest(0),
    Pay(0, "card"),
    Refund(0, 50, "request"),
    Refund(0, 100, "stripe"),
    PassDays(30),
]
DISPUTED: list[Act] = [
    Buy(0, "track", 0),
    Pay(0, "card"),
    Buy(1, "course", 0),
    Pay(0, "debit"),
    SettleDebits(settles=True),
    Dispute(0, "chargeback"),
    Refund(0, 100, "admin"),
    CloseDispute(0, "won"),
    Refund(1, 100, "request"),
    Dispute(0, "chargeback"),
    CloseDispute(0, "lost"),
    Buy(0, "track", 0),
    Pay(0, "card"),
]
MEMBER: list[Act] = [
    Buy(0, "membership", 0),
    Pay(0, "card"),
    PassDays(40),
    Membership(0, "upgrade"),
    PassDays(40),
    Membership(0, "pause"),
    PassDays(45),
    Membership(0, "resume"),
    Membership(0, "yearly"),
    PassDays(20),
    Refund(0, 33, "admin"),
    Membership(0, "cancel_later"),
    PassDays(45),
    FailNext(0, 9),
    PassDays(45),
]


@settings(
    max_examples=YEARS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(acts=MISSED, seed=1)
@example(acts=BROKEN_OFF, seed=2)
@example(acts=DISPUTED, seed=3)
@example(acts=MEMBER, seed=4)
@given(acts=years(least=15, most=50), seed=st.integers(0, 2**32 - 1))
async def test_a_year_of_a_school(
    databases: tuple[Database, Database], service: Service, sandbox: StripeSandbox, acts: list[Act], seed: int
) -> None:
    school = School.open(service, sandbox, databases[1], random.Random(seed))
    try:
        people = [uuid4() for _ in range(4)]
        before, held_before = await school.balance(), await school.held()
        for act in (*acts, SettleDebits(settles=True), PassDays(1)):
            await act.play(school, people)
            await school.pump()
        note(str(Counter(school.answers)))
        assert minus(await school.balance(), before) == minus(await school.held(), held_before), "the books agree"
        await every_standing_is_what_the_facts_say(school, people)
        await every_purchase_is_what_the_facts_say(school, people)
        await no_money_without_a_enrollment_and_no_enrollment_without_money(school, people)
        await nothing_is_charged_beyond_the_price(school, people)
        await every_payment_has_its_receipt(school, people)
        await nothing_was_given_up(school)
    finally:
        await school.close()


def minus(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    changed = {currency: after.get(currency, 0) - before.get(currency, 0) for currency in after.keys() | before.keys()}
    return {currency: amount for currency, amount in changed.items() if amount}


async def facts_of(listener: Listener) -> dict[str, PaymentEvent]:
    rows = await listener.rows("SELECT event_id, type, body FROM facts ORDER BY event_id")
    found: dict[str, Event] = {row["event_id"]: EVENT_TYPES[row["type"]].model_validate(row["body"]) for row in rows}
    return {id: event for id, event in found.items() if isinstance(event, PaymentEvent)}


async def mine(listener: Listener, people: list[UUID], table: str) -> list[dict[str, Any]]:
    return await listener.rows(f"SELECT * FROM {table} WHERE student_id = ANY(:people)", people=people)


async def every_standing_is_what_the_facts_say(school: School, people: list[UUID]) -> None:
    known = await facts_of(school.enrollment)
    expected = {}
    for each in enrollments(known):
        _, standing, _ = each.decisive()
        if each.student_id in people and standing is not Standing.NONE:
            expected[each.student_id, each.program.slug] = standing.value
    rows = await mine(school.enrollment, people, "enrollments")
    assert {(row["student_id"], row["program_slug"]): row["status"] for row in rows} == expected
    there = await mine(school.checkout, people, "enrollments")
    assert {(row["student_id"], row["program_slug"]): row["status"] for row in there} == expected, "checkout knows it"
    assert known.keys() == (await facts_of(school.checkout)).keys(), "both have heard the same"


async def every_purchase_is_what_the_facts_say(school: School, people: list[UUID]) -> None:
    bought = {purchase.id: purchase for purchase in fold(await facts_of(school.checkout))}
    by_purchase: dict[UUID, list[dict[str, Any]]] = {}
    for row in await mine(school.checkout, people, "payments"):
        by_purchase.setdefault(row["purchase_id"], []).append(row)
    for row in await mine(school.checkout, people, "purchases"):
        if (purchase := bought.get(row["id"])) is None:
            assert row["state"] in ("created", "session_open", "awaiting_payment", "expired"), row["state"]
            continue
        payments = [each for each in by_purchase.get(row["id"], []) if each["status"] == "succeeded"]
        assert sum(each["amount"] for each in payments) == sum(purchase.paid.values())
        assert sum(each["refunded"] for each in payments) == sum(purchase.refunded.values())
        standing, _ = purchase.standing()
        if standing in (Standing.ACTIVE, Standing.PAUSED):
            assert row["state"] == "paid"
        if standing is Standing.WITHDRAWN and purchase.settled_payments:
            assert row["state"] in ("withdrawn", "canceled")


async def no_money_without_a_enrollment_and_no_enrollment_without_money(school: School, people: list[UUID]) -> None:
    open_enrollments = {
        (row["student_id"], row["program_slug"])
        for row in await mine(school.enrollment, people, "enrollments")
        if row["status"] in ("active", "paused", "completed")
    }
    covered = set()
    for row in await mine(school.checkout, people, "purchases"):
        if row["state"] == "paid":
            covered |= {(row["student_id"], slug) for slug in row["covers"]}
    assert open_enrollments == covered


async def nothing_is_charged_beyond_the_price(school: School, people: list[UUID]) -> None:
    """However often it was tried, by whatever means: a plan's payments together are the price at the most."""
    for row in await mine(school.checkout, people, "purchases"):
        if row["how"] == "membership":
            continue
        (paid,) = await school.checkout.rows(
            "SELECT coalesce(sum(amount - tax), 0) AS sum FROM payments "
            "WHERE purchase_id = :id AND status = 'succeeded'",
            id=row["id"],
        )
        assert paid["sum"] <= row["amount"], row["program_slug"]


async def every_payment_has_its_receipt(school: School, people: list[UUID]) -> None:
    paid = [
        row
        for row in await mine(school.checkout, people, "payments")
        if row["status"] == "succeeded"
        and row["amount"] > 0
        and row["method"] != "waiver"
        and row["payer"] == "student"
    ]
    documents = await mine(school.checkout, people, "documents")
    assert sorted(str(row["id"]) for row in paid) == sorted(str(row["payment_id"]) for row in documents)
    for series in await school.checkout.rows("SELECT series, count(*), max(serial) FROM documents GROUP BY series"):
        assert series["count"] == series["max"], "numbers without gaps"


async def nothing_was_given_up(school: School) -> None:
    assert await school.checkout.rows("SELECT kind, key, last_error FROM jobs WHERE failed_at IS NOT NULL") == []
