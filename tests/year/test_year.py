"""Generated years of a school: the balances agree, and purchases and enrollments match the payment facts.

`YEARS=200 make year` runs more examples.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from math import ceil
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
from tests.year.actions import (
    AdvanceDays,
    Buy,
    ChangeInstallment,
    ChangeMembership,
    CloseDispute,
    Dispute,
    FailNextCharges,
    Pay,
    PayRemaining,
    RecordPayment,
    Refund,
    SettleDebits,
)
from tests.year.generated_years import Action, years
from tests.year.harness import Harness, ServiceUnderTest

import checkout
import enrollment
from checkout.main import comparisons as checkout_comparisons
from contracts.envelope import Event
from contracts.payments import PaymentEvent
from contracts.registry import EVENT_TYPES
from enrollment.verification import comparisons as enrollment_comparisons
from kit.messaging.verification import verify
from ledger.facts import fold
from ledger.policy import DEFAULT_POLICY
from ledger.standing import Standing
from ledger.verdict import verdicts
from testkit.postgres_server import Database, PostgresServer

YEARS = int(os.environ.get("YEARS") or "3")
CHUNK = 20
"""Years of one test, which share databases and a clock: each year makes the next one slower."""


@pytest.fixture
def sandbox() -> Iterator[StripeSandbox]:
    """A sandbox of its own, because its clock is advanced by months."""
    with StripeSandbox() as running:
        yield running


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[tuple[Database, Database]]:
    checkout_database = migrated(postgres_server, "year_checkout", checkout.__file__)
    loaded(checkout_database)
    yield checkout_database, migrated(postgres_server, "year_enrollment", enrollment.__file__)
    for name in ("year_checkout", "year_enrollment"):
        postgres_server.drop_database(name)


@pytest_asyncio.fixture
async def service(databases: tuple[Database, Database], sandbox: StripeSandbox) -> AsyncIterator[Service]:
    service = Service(databases[0], sandbox)
    yield service
    await service.close()


MISSED_INSTALLMENT: list[Action] = [
    Buy(0, "enroll", 0),
    Pay(0, "card"),
    FailNextCharges(0, 12),
    AdvanceDays(45),
    RecordPayment(0, "cash", twice=True),
    ChangeInstallment(0, "pause", 1),
    AdvanceDays(30),
    ChangeInstallment(0, "resume", 1),
    AdvanceDays(60),
    PayRemaining(0),
    Pay(0, "card"),
]
"""A missed installment is paid in cash, and the remaining balance at once."""
REFUNDED_PLAN: list[Action] = [
    Buy(0, "plan", 0),
    Pay(0, "card"),
    FailNextCharges(0, 20),
    AdvanceDays(90),
    PayRemaining(0),
    Pay(0, "card"),
    Refund(0, 50, "request"),
    Refund(0, 100, "stripe"),
    AdvanceDays(30),
]
DISPUTED_PAYMENTS: list[Action] = [
    Buy(0, "track", 0),
    Pay(0, "card"),
    Buy(1, "course", 0),
    Pay(0, "bank_debit"),
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
MEMBERSHIP: list[Action] = [
    Buy(0, "membership", 0),
    Pay(0, "card"),
    AdvanceDays(40),
    ChangeMembership(0, "upgrade"),
    AdvanceDays(40),
    ChangeMembership(0, "pause"),
    AdvanceDays(45),
    ChangeMembership(0, "resume"),
    ChangeMembership(0, "yearly"),
    AdvanceDays(20),
    Refund(0, 33, "admin"),
    ChangeMembership(0, "cancel_later"),
    AdvanceDays(45),
    FailNextCharges(0, 9),
    AdvanceDays(45),
]


@pytest.mark.parametrize("chunk", range(ceil(YEARS / CHUNK)))
@settings(
    max_examples=min(YEARS, CHUNK),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(actions=MISSED_INSTALLMENT, seed=1)
@example(actions=REFUNDED_PLAN, seed=2)
@example(actions=DISPUTED_PAYMENTS, seed=3)
@example(actions=MEMBERSHIP, seed=4)
@given(actions=years(min_size=15, max_size=50), seed=st.integers(0, 2**32 - 1))
async def test_a_year_of_a_school(
    databases: tuple[Database, Database],
    service: Service,
    sandbox: StripeSandbox,
    chunk: int,
    actions: list[Action],
    seed: int,
) -> None:
    harness = Harness.open(service, sandbox, databases[1], random.Random(seed))
    try:
        students = [uuid4() for _ in range(4)]
        stripe_before, recorded_before = await harness.balance(), await harness.recorded_balance()
        for action in (*actions, SettleDebits(settles=True), AdvanceDays(1)):
            await action.run(harness, students)
            await harness.run_until_idle()
        note(str(Counter(harness.statuses)))
        stripe_change = minus(await harness.balance(), stripe_before)
        assert stripe_change == minus(await harness.recorded_balance(), recorded_before)
        await assert_enrollments_match_facts(harness, students)
        await assert_purchases_match_facts(harness, students)
        await assert_enrollments_match_paid_purchases(harness, students)
        await assert_no_overcharge(harness, students)
        await assert_at_most_one_payable(harness, students)
        await assert_each_charge_is_booked_once(harness)
        await assert_every_payment_has_a_receipt(harness, students)
        await assert_no_failed_jobs(harness)
        await assert_rows_are_those_of_their_facts(harness)
    finally:
        await harness.close()


def minus(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """The change of each currency that changed."""
    changed = {currency: after.get(currency, 0) - before.get(currency, 0) for currency in after.keys() | before.keys()}
    return {currency: amount for currency, amount in changed.items() if amount}


async def facts_of(service: ServiceUnderTest) -> dict[str, PaymentEvent]:
    rows = await service.rows("SELECT event_id, type, body FROM facts ORDER BY event_id")
    events: dict[str, Event] = {row["event_id"]: EVENT_TYPES[row["type"]].model_validate(row["body"]) for row in rows}
    return {id: event for id, event in events.items() if isinstance(event, PaymentEvent)}


async def rows_of(service: ServiceUnderTest, students: list[UUID], table: str) -> list[dict[str, Any]]:
    return await service.rows(f"SELECT * FROM {table} WHERE student_id = ANY(:students)", students=students)


async def assert_enrollments_match_facts(harness: Harness, students: list[UUID]) -> None:
    facts = await facts_of(harness.enrollment)
    expected = {}
    for (student_id, slug), verdict in verdicts(facts).items():
        if student_id in students and verdict.standing is not Standing.NONE:
            expected[student_id, slug] = verdict.standing.value
    rows = await rows_of(harness.enrollment, students, "enrollments")
    assert {(row["student_id"], row["program_slug"]): row["status"] for row in rows} == expected
    copied = await rows_of(harness.checkout, students, "enrollments")
    copies = {(row["student_id"], row["program_slug"]): row["status"] for row in copied}
    never_announced = {key for key, status in expected.items() if status == "withdrawn"} - copies.keys()
    assert copies == {key: status for key, status in expected.items() if key not in never_announced}, "checkout's copy"
    assert facts.keys() == (await facts_of(harness.checkout)).keys(), "both services have the same facts"


async def assert_purchases_match_facts(harness: Harness, students: list[UUID]) -> None:
    purchases = {purchase.id: purchase for purchase in fold(await facts_of(harness.checkout))}
    by_purchase: dict[UUID, list[dict[str, Any]]] = {}
    for row in await rows_of(harness.checkout, students, "payments"):
        by_purchase.setdefault(row["purchase_id"], []).append(row)
    for row in await rows_of(harness.checkout, students, "purchases"):
        if (purchase := purchases.get(row["id"])) is None:
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


async def assert_enrollments_match_paid_purchases(harness: Harness, students: list[UUID]) -> None:
    open_enrollments = {
        (row["student_id"], row["program_slug"])
        for row in await rows_of(harness.enrollment, students, "enrollments")
        if row["status"] in ("active", "paused", "completed")
    }
    paid_for = set()
    for row in await rows_of(harness.checkout, students, "purchases"):
        if row["state"] == "paid":
            paid_for |= {(row["student_id"], slug) for slug in row["covers"]}
    assert open_enrollments == paid_for


async def assert_no_overcharge(harness: Harness, students: list[UUID]) -> None:
    """The payments of a purchase add up to its price at most, unless another system has charged them."""
    for row in await rows_of(harness.checkout, students, "purchases"):
        if row["payment_flow"] in ("membership", "external"):
            continue
        (paid,) = await harness.checkout.rows(
            "SELECT coalesce(sum(amount - tax), 0) AS sum FROM payments "
            "WHERE purchase_id = :id AND status = 'succeeded'",
            id=row["id"],
        )
        assert paid["sum"] <= row["amount"], row["program_slug"]


async def assert_at_most_one_payable(harness: Harness, students: list[UUID]) -> None:
    """An installment, and a purchase that has none, can be paid by one page, intent or invoice at most."""
    payable: Counter[tuple[str, str]] = Counter()
    ids = {str(student) for student in students}
    for path, statuses in (
        ("checkout/sessions", ("open",)),
        ("payment_intents", ("requires_payment_method", "requires_confirmation", "requires_action")),
        ("invoices", ("open",)),
    ):
        for found in await harness.list_at_stripe(path):
            metadata = found["metadata"] or {}
            if metadata.get("purchase_id") and metadata.get("student_id") in ids and found["status"] in statuses:
                payable[metadata["purchase_id"], metadata.get("installment", "").split(":")[0]] += 1
    assert [key for key, count in payable.items() if count > 1] == []


async def assert_each_charge_is_booked_once(harness: Harness) -> None:
    """A charge that succeeded is in one payment, or in one unmatched payment."""
    booked = Counter(
        reference
        for row in await harness.checkout.rows(
            "SELECT refs FROM payments UNION ALL SELECT refs FROM unmatched_payments "
            "WHERE status IN ('pending', 'open', 'refunding', 'refunded')"
        )
        for reference in row["refs"]
    )
    for charge in await harness.list_at_stripe("charges"):
        if charge["status"] == "succeeded" and charge["paid"]:
            assert booked[charge["id"]] == 1, charge["metadata"]


async def assert_every_payment_has_a_receipt(harness: Harness, students: list[UUID]) -> None:
    paid = [
        row
        for row in await rows_of(harness.checkout, students, "payments")
        if row["status"] == "succeeded" and row["amount"] > 0 and row["method"] != "waiver"
    ]
    documents = await rows_of(harness.checkout, students, "documents")
    assert sorted(str(row["id"]) for row in paid) == sorted(str(row["payment_id"]) for row in documents)
    for series in await harness.checkout.rows("SELECT series, count(*), max(serial) FROM documents GROUP BY series"):
        assert series["count"] == series["max"], "document numbers have gaps"


async def assert_rows_are_those_of_their_facts(harness: Harness) -> None:
    for name, database, comparisons in (
        ("checkout", harness.service.database, checkout_comparisons(DEFAULT_POLICY)),
        ("enrollment", harness.enrollment.database, enrollment_comparisons(DEFAULT_POLICY)),
    ):
        report = await verify(database, comparisons, service=name)
        assert not report.differences, [
            (each.table, each.row, each.column, each.stored, each.expected) for each in report.differences
        ]


async def assert_no_failed_jobs(harness: Harness) -> None:
    assert await harness.checkout.rows("SELECT kind, key, last_error FROM jobs WHERE failed_at IS NOT NULL") == []
