"""The figures of one month, each computed by hand.

| purchase | item | created | paid (UTC) | method | received | what followed |
| --- | --- | --- | --- | --- | --- | --- |
| A | dsp | 2 Nov | Mon 2 Nov 12:00 | card | 100.00 usd | 25.00 refunded; active after 10 s; an instructor |
| B | dsp | 2 Nov | Mon 9 Nov 12:00 | us_bank_account | 200.00 usd (WIOA) | active after 20 s; completed |
| C | barber | 2 Nov | Mon 9 Nov 12:00 | card | 50.00 usd | disputed and lost |
| D | barber | 2 Nov | declined | | | |
| E | barber | 2 Nov | a bank debit is pending | | | |
| F | barber | | Sat 31 Oct 23:30 | card | 30.00 eur | |
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.plans import recorded, scans_of
from tests.reporting.harness import Service

from contracts.checkout import CatalogItemChanged, PurchaseCreated
from contracts.enrollment import EnrollmentActivated, EnrollmentCompleted
from contracts.envelope import Envelope
from contracts.instructor_assignment import Instructor, InstructorAssigned
from contracts.money import Money
from contracts.notifications import NotificationFailed
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)
from contracts.people import Contact, Program, enrollment_uuid
from kit.db.unit_of_work import utc_now
from kit.http.figures import Period
from reporting.figures import queries
from reporting.figures.domain import payment_id
from reporting.figures.stored_events import rebuild

A, B, C, D, E, F = (UUID(int=number) for number in range(10, 16))
SPECIALIST = UUID(int=99)
DSP, BARBER = Program(slug="dsp", id="p-dsp", name="DSP"), Program(slug="barber", id="p-barber", name="Barber")
NOVEMBER = {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}
SECOND, NINTH = datetime(2026, 11, 2, 12, tzinfo=UTC), datetime(2026, 11, 9, 12, tzinfo=UTC)
FIGURES = "/api/admin/figures"


def student(purchase: UUID) -> UUID:
    return UUID(int=purchase.int + 1000)


def money(amount: int, currency: str = "usd") -> Money:
    return Money(amount=amount, currency=currency)


def created(purchase: UUID, program: Program) -> PurchaseCreated:
    return PurchaseCreated(
        purchase_id=purchase,
        student_id=student(purchase),
        program=program,
        amount=money(10_000),
        payer="student",
        payment_type="full",
        checkout_url="https://pay.example/x",
    )


def paid(purchase: UUID, program: Program, amount: Money, at: datetime, **more: Any) -> PaymentSucceeded:
    return PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{purchase.int}", charge=f"ch_{purchase.int}"),
        purchase_id=purchase,
        student_id=student(purchase),
        program=program,
        amount=amount,
        as_of=at,
        contact=Contact(email="ann.figures@example.com"),
        **{"method": "card", **more},
    )


def refs(purchase: UUID) -> PaymentRefs:
    return PaymentRefs(payment_intent=f"pi_{purchase.int}", charge=f"ch_{purchase.int}")


def enrolled(purchase: UUID, program: Program) -> dict[str, Any]:
    id = enrollment_uuid(student(purchase), program.slug)
    return {"enrollment_id": id, "student_id": student(purchase), "program": program, "purchase_id": purchase}


@pytest.fixture
async def school(service: Service) -> AsyncIterator[Service]:
    def at(time: datetime, event: Any, **more: Any) -> Envelope[Any]:
        return replace(service.envelope(event), time=time, **more)

    ten, twenty = timedelta(seconds=10), timedelta(seconds=20)
    events = [
        at(SECOND, CatalogItemChanged(item=BARBER, price=money(1), active=True, revision=1, category="trade")),
        at(
            SECOND,
            CatalogItemChanged(item=DSP, price=money(1), active=True, revision=2, category="care", owner_id=SPECIALIST),
        ),
        at(SECOND, CatalogItemChanged(item=DSP, price=money(1), active=True, revision=1, category="old")),
        *(at(SECOND, created(each, DSP if each in (A, B) else BARBER)) for each in (A, B, C, D, E)),
        at(SECOND, paid(A, DSP, money(10_000), SECOND), id="evt_a"),
        at(NINTH, paid(B, DSP, money(20_000), NINTH, method="us_bank_account", funding_source="WIOA"), id="evt_b"),
        at(NINTH, paid(C, BARBER, money(5_000), NINTH), id="evt_c"),
        at(SECOND, paid(F, BARBER, money(3_000, "eur"), datetime(2026, 10, 31, 23, 30, tzinfo=UTC))),
        at(NINTH, PaymentRefunded(refs=refs(A), total=money(2_500), as_of=NINTH)),
        at(
            NINTH,
            PaymentDisputeClosed(
                refs=refs(C), dispute_id="dp_1", status="lost", amount=money(5_000), reason="fraudulent", as_of=NINTH
            ),
        ),
        at(NINTH, PaymentFailed(refs=refs(D), purchase_id=D, code="card_declined", as_of=NINTH)),
        at(NINTH, PaymentPending(refs=refs(E), purchase_id=E, method="us_bank_account", as_of=NINTH)),
        at(SECOND + ten, EnrollmentActivated(**enrolled(A, DSP), revision=1), id="en_a", causation_id="evt_a"),
        at(NINTH + twenty, EnrollmentActivated(**enrolled(B, DSP), revision=1), id="en_b", causation_id="evt_b"),
        at(NINTH + twenty, EnrollmentCompleted(**enrolled(B, DSP), revision=2)),
        at(
            SECOND,
            InstructorAssigned(
                student_id=student(A),
                program=DSP,
                revision=1,
                assignment_id=uuid4(),
                instructor=Instructor(id=uuid4(), name="Ada"),
            ),
        ),
        at(
            utc_now(),
            NotificationFailed(
                notification_id=uuid4(), template="welcome", channel="email", recipient="student", code="x", attempts=1
            ),
        ),
    ]
    await service.receive(*events)
    await service.as_owner(
        "UPDATE events SET received_at = '2026-11-02 12:00:00Z' WHERE event_id IN ('evt_a', 'evt_b')",
        "UPDATE events SET received_at = '2026-11-02 12:00:01Z' WHERE event_id = 'en_a'",
        "UPDATE events SET received_at = '2026-11-02 12:00:03Z' WHERE event_id = 'en_b'",
    )
    yield service


async def get(school: Service, path: str, **query: Any) -> Any:
    answer = await school.get(f"{FIGURES}{path}", **{**NOVEMBER, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def revenue(school: Service, by: str) -> list[tuple[str | None, int, int, int, int]]:
    """key, gross, refunded, lost, net; in usd."""
    items = (await get(school, "/revenue", by=by))["items"]
    assert {each["currency"] for each in items} == {"usd"}
    return [tuple(each[name] for name in ("key", "gross", "refunded", "lost", "net")) for each in items]


async def test_rates_and_durations(school: Service) -> None:
    found = {each["name"]: each for each in (await get(school, ""))["items"]}
    ratios = {
        name: (each["numerator"], each["denominator"]) for name, each in found.items() if each["unit"] == "basis_points"
    }
    assert ratios == {
        "payment_success_rate": (3, 4),  # A, B, C of A, B, C, D
        "paid_rate": (3, 5),  # A, B, C of A to E
        "enrolled_rate": (2, 3),  # A, B of A, B, C
        "instructor_assignment_rate": (1, 2),  # A of A, B
        "refund_rate": (1, 3),  # A of A, B, C
        "dispute_rate": (1, 3),  # C
    }
    assert found["payment_success_rate"]["value"] == 7_500
    milliseconds = {name: each["value"] for name, each in found.items() if each["unit"] == "milliseconds"}
    assert milliseconds == {
        "processing_average": 2_000,  # 1 s and 3 s
        "processing_p50": 1_000,
        "processing_p95": 3_000,
        "processing_p99": 3_000,
        "paid_to_enrolled_average": 15_000,  # 10 s and 20 s
        "paid_to_enrolled_p50": 10_000,
        "paid_to_enrolled_p95": 20_000,
        "paid_to_enrolled_p99": 20_000,
    }
    assert found["pending_payments"]["value"] == 1
    assert found["failures_last_day"]["value"] == 1
    targets = {name: (each["target"], each["meets_target"]) for name, each in found.items() if each["target"]}
    assert targets == {
        "payment_success_rate": (9_800, False),
        "refund_rate": (200, False),
        "processing_average": (2_000, True),
        "paid_to_enrolled_average": (30_000, True),
    }


@pytest.mark.parametrize(
    ("by", "lines"),
    [
        ("total", [("total", 35_000, 2_500, 5_000, 27_500)]),
        ("day", [("2026-11-02", 10_000, 2_500, 0, 7_500), ("2026-11-09", 25_000, 0, 5_000, 20_000)]),
        ("week", [("2026-11-02", 10_000, 2_500, 0, 7_500), ("2026-11-09", 25_000, 0, 5_000, 20_000)]),
        ("month", [("2026-11-01", 35_000, 2_500, 5_000, 27_500)]),
        ("year", [("2026-01-01", 35_000, 2_500, 5_000, 27_500)]),
        ("program", [("barber", 5_000, 0, 5_000, 0), ("dsp", 30_000, 2_500, 0, 27_500)]),
        ("kind", [("program", 35_000, 2_500, 5_000, 27_500)]),
        ("category", [("care", 30_000, 2_500, 0, 27_500), ("trade", 5_000, 0, 5_000, 0)]),
        ("specialist", [(str(SPECIALIST), 30_000, 2_500, 0, 27_500), (None, 5_000, 0, 5_000, 0)]),
        ("sponsor", [("WIOA", 20_000, 0, 0, 20_000), (None, 15_000, 2_500, 5_000, 7_500)]),
        ("method", [("card", 15_000, 2_500, 5_000, 7_500), ("us_bank_account", 20_000, 0, 0, 20_000)]),
    ],
)
async def test_revenue(school: Service, by: str, lines: list[tuple[str | None, int, int, int, int]]) -> None:
    assert await revenue(school, by) == lines


async def test_currencies_are_never_added_up(school: Service) -> None:
    items = (await get(school, "/revenue", by="total", since="2026-10-01T00:00:00Z"))["items"]
    totals = {each["currency"]: (each["gross"], each["payments"], each["average"]) for each in items}
    assert totals == {"eur": (3_000, 1, 3_000), "usd": (35_000, 3, 11_666)}


async def test_failures_by_code(school: Service) -> None:
    items = (await get(school, "/failures"))["items"]
    assert items == [{"code": "card_declined", "payments": 1, "attempts": 1, "paid_later": 0}]


async def test_outcomes(school: Service) -> None:
    items = (await get(school, "/outcomes"))["items"]
    counts = {"paused": 0, "withdrawals": 0, "enrolled": 1, "program": "dsp"}
    assert items == [
        {**counts, "funding_source": None, "active": 1, "completed": 0},
        {**counts, "funding_source": "WIOA", "active": 0, "completed": 1},
    ]


@pytest.mark.parametrize(("path", "query"), [("/revenue", {"by": "sponsor"}), ("/outcomes", {})])
async def test_the_csv_has_the_same_lines(school: Service, path: str, query: dict[str, str]) -> None:
    items = (await get(school, path, **query))["items"]
    answer = await school.get(f"{FIGURES}{path}.csv", **NOVEMBER, **query)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert lines == [{name: "" if value is None else str(value) for name, value in each.items()} for each in items]


async def test_nothing_to_count_is_no_zero(service: Service) -> None:
    found = (await get(service, ""))["items"]
    assert all(each["value"] is None for each in found if each["unit"] != "count")
    for path in ("/revenue", "/failures", "/outcomes"):
        assert (await get(service, path))["items"] == []


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-11-02T00:00:00Z", "2026-11-02T00:00:00Z"),
        ("2026-11-02T00:00:00Z", "2026-11-01T00:00:00Z"),
        ("2020-11-02T00:00:00Z", "2026-11-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "9999-12-31T00:00:00Z"),
    ],
)
async def test_a_period_has_an_order_and_a_length(service: Service, since: str, until: str) -> None:
    answer = await service.get(FIGURES, since=since, until=until)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_period")


async def test_a_period_that_begins_before_all_time(service: Service) -> None:
    answer = await service.get(FIGURES, until="0001-01-02T00:00:00Z")
    assert answer.status_code == 422


async def test_events_of_a_period_are_found_by_their_index(school: Service) -> None:
    """Or every page with figures reads the events of all time."""
    period = Period(since=SECOND, until=NINTH)
    async with recorded(school.database) as executed, school.database.transaction() as db:
        await queries.figures(db, period, now=NINTH)
        await queries.outcomes(db, period)
    of_events = [each for each in executed if "FROM events" in each.statement]
    assert len(of_events) == 6
    for each in of_events:
        scans = await scans_of(school.logins.staff_url, each)
        assert any(scan.endswith("_type_time_idx") for scan in scans), each.statement
        assert not {scan for scan in scans if re.fullmatch(r"events_(default|\d{4}_\d\d)", scan)}, each.statement


async def test_figures_store_nobody(school: Service) -> None:
    """Facts are stored again for the figures, without personal data."""
    for table in ("facts", "payments"):
        rows = await school.as_owner(f"SELECT {table}::text AS row FROM {table}")
        assert rows
        assert not any("ann.figures" in each["row"] for each in rows)


async def test_figures_are_counted_again_from_the_stored_events(school: Service) -> None:
    async def everything() -> list[Any]:
        return [await get(school, path, **query) for path, query in (("", {}), ("/revenue", {"by": "category"}))]

    before = await everything()
    await school.as_owner("TRUNCATE payments, catalog_items, facts, fact_keys")
    await school.as_owner(
        f"INSERT INTO payments (id, status, received, refunded, lost, disputed, failures, updated_at)"
        f" VALUES ('{payment_id(f'pi_{A.int}')}', 'succeeded', 1, 0, 0, false, 0, now())"
    )
    assert await everything() != before
    assert await rebuild(school.database, size=4) == 11
    assert await everything() == before
    assert await rebuild(school.database, size=4) == 11, "it can be repeated"
    assert await everything() == before
