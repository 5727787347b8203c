"""Generated purchases by every route, mixed: one payable object each, no charge beyond what is owed, one booking each.

`PURCHASES=10000 make purchases` runs as many.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from math import ceil
from uuid import UUID, uuid4

import pytest
from tests.checkout.conftest import loaded
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import Service
from tests.databases import migrated
from tests.year import test_year as year
from tests.year.actions import (
    AdvanceDays,
    Appeal,
    Buy,
    CancelEnrollment,
    CloseDispute,
    Dispute,
    FailNextCharges,
    Pay,
    PayElsewhere,
    PayInvoice,
    PayRemaining,
    Product,
    RecordPayment,
    Refund,
    ReturnDebit,
    Settle,
    SettleDebits,
    Spelling,
    Sponsor,
)
from tests.year.generated_years import Action
from tests.year.harness import Harness

import checkout
import enrollment
from testkit.postgres_server import Database, PostgresServer

PURCHASES = int(os.environ.get("PURCHASES") or "60")
CHUNK = 60
"""Purchases of one test: one clock, one account at Stripe, one count of the books."""


@pytest.fixture
def databases(postgres_server: PostgresServer) -> Iterator[tuple[Database, Database]]:
    """Empty ones for each test, because its sandbox knows only what was bought there."""
    checkout_database = migrated(postgres_server, "purchases_checkout", checkout.__file__)
    loaded(checkout_database)
    yield checkout_database, migrated(postgres_server, "purchases_enrollment", enrollment.__file__)
    for name in ("purchases_checkout", "purchases_enrollment"):
        postgres_server.drop_database(name)


SPELLINGS: tuple[Spelling, ...] = ("slug", "slug", "course", "track", "nobody")
PRODUCTS: tuple[Product, ...] = ("program", "plan", "plan", "track", "course", "enroll", "enroll", "membership")

FAILED_JOBS = """
    SELECT jobs.kind, jobs.last_error FROM jobs LEFT JOIN refunds ON refunds.id::text = jobs.key
    WHERE jobs.failed_at IS NOT NULL AND NOT (jobs.kind = 'refund' AND (
        jobs.last_error LIKE '%charge_disputed'
        OR (jobs.last_error ~ '(Error:amount|charge_already_refunded)$' AND EXISTS (
            SELECT FROM refunds AS made WHERE made.payment_id = refunds.payment_id AND made.origin = 'stripe'
        ))
    ))
"""
"""Except refunds of what was meanwhile disputed, or refunded in Stripe's dashboard: Stripe refuses both."""


def purchase(rng: random.Random) -> Action:
    student, number = rng.randrange(100), rng.randrange(12)
    match rng.randrange(10):
        case 0:
            return Sponsor(student, number, rng.choice(("funding", "enroll")))
        case 1 | 2:
            return PayElsewhere(student, number, rng.choice(SPELLINGS), rng.random() < 0.2)
        case _:
            return Buy(student, rng.choice(PRODUCTS), number)


def what_follows(rng: random.Random) -> Action:
    number = rng.randrange(30)
    pays = Pay(number, rng.choice(("card", "card", "card", "declined_card", "bank_debit", "failing_bank_debit")))
    others: list[Action] = [
        PayInvoice(number),
        Refund(number, rng.choice((1, 50, 100, 100)), rng.choice(("admin", "student", "stripe", "request"))),
        Dispute(number, rng.choice(("chargeback", "inquiry"))),
        CloseDispute(number, rng.choice(("won", "lost"))),
        Appeal(number, rng.choice(("won", "lost"))),
        ReturnDebit(number, "insufficient_funds"),
        RecordPayment(number, rng.choice(("cash", "check", "waiver")), twice=rng.random() < 0.3),
        Settle(number, rng.choice(("assign", "refund", "accept"))),
        CancelEnrollment(number),
        PayRemaining(number),
        FailNextCharges(number, rng.randrange(1, 4)),
    ]
    return pays if rng.random() < 0.7 else rng.choice(others)


@pytest.mark.parametrize("seed", range(ceil(PURCHASES / CHUNK)))
async def test_every_purchase_is_paid_and_booked_once(databases: tuple[Database, Database], seed: int) -> None:
    with StripeSandbox() as sandbox:
        service = Service(databases[0], sandbox)
        harness = Harness.open(service, sandbox, databases[1], random.Random(seed))
        try:
            await play(harness, [uuid4() for _ in range(CHUNK // 2)])
        finally:
            await harness.close()
            await service.close()


async def play(harness: Harness, students: list[UUID]) -> None:
    rng = harness.rng
    before = await harness.recorded_balance()
    for _ in range(CHUNK):
        await purchase(rng).run(harness, students)
        for _ in range(rng.randrange(1, 3)):
            await what_follows(rng).run(harness, students)
        if rng.random() < 0.4:
            await harness.run_until_idle()
    for action in (SettleDebits(settles=True), AdvanceDays(35), AdvanceDays(35), SettleDebits(settles=True)):
        await action.run(harness, students)
        await harness.run_until_idle()
    assert await harness.balance() == year.minus(await harness.recorded_balance(), before)
    await year.assert_enrollments_match_facts(harness, students)
    await year.assert_purchases_match_facts(harness, students)
    await year.assert_enrollments_match_paid_purchases(harness, students)
    await year.assert_no_overcharge(harness, students)
    await year.assert_at_most_one_payable(harness, students)
    await year.assert_each_charge_is_booked_once(harness)
    await year.assert_every_payment_has_a_receipt(harness, students)
    assert not await harness.checkout.rows(FAILED_JOBS)
