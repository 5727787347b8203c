"""A later event corrects who bought what: existing rows are corrected, whatever the order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.databases import empty
from tests.deliveries import deliver, envelope
from tests.enrollment.conftest import TABLES
from tests.enrollment.harness import PAYMENTS, Service
from tests.ledger.inconsistent_metadata import ID_ONLY, NO_PARTS, OTHER, card, inconsistent_histories, invoices
from tests.ledger.payment_histories import BARBER, BUNDLE, STUDENT, numbered, purchase
from tests.tokens import bearer

from contracts.payments import PaymentEvent
from contracts.people import Program
from enrollment.domain import Enrollment, wanted
from ledger.policy import DEFAULT_POLICY

Rows = dict[tuple[str, str], dict[str, Any]]


async def rows_after(service: Service, events: Sequence[tuple[str, PaymentEvent]]) -> Rows:
    """Delivers the events to an empty service. Returns its rows without what depends on the path: revision, times."""
    async with service.database.transaction() as db:
        await empty(db, *TABLES)
    for event_id, event in events:
        await deliver(service.database, PAYMENTS, "enrollment", envelope(event_id, event))
    names = [field.name for field in fields(Enrollment) if field.name != "revision"]
    rows = await service.rows(f"SELECT {', '.join(names)} FROM enrollments ORDER BY id")
    return {(str(row["student_id"]), row["program_slug"]): row for row in rows}


def by(program: Program) -> dict[str, Any]:
    return {"student_id": STUDENT, "program": program, "purchase_id": purchase(1)}


CASES = {
    "id only beside a slug": card(1, by(BARBER), by(ID_ONLY)),
    "bundle named without its parts": card(1, by(BUNDLE), by(NO_PARTS)),
    "student corrected": invoices(1, STUDENT, OTHER),
    "id only, refunded": card(1, by(BARBER), by(ID_ONLY), refunded=True),
    "bundle without parts, refunded": card(1, by(BUNDLE), by(NO_PARTS), refunded=True),
}
OPEN = {
    "id only beside a slug": {BARBER.slug},
    "bundle named without its parts": {part.slug for part in BUNDLE.parts},
    "student corrected": set(),
    "id only, refunded": set(),
    "bundle without parts, refunded": set(),
}


@pytest.mark.parametrize("name", CASES)
async def test_every_order_ends_in_the_same_rows(service: Service, name: str) -> None:
    results = [await rows_after(service, order) for order in itertools.permutations(numbered(CASES[name]).items())]
    assert all(rows == results[0] for rows in results)
    assert {slug for (_, slug), row in results[0].items() if row["status"] == "active"} == OPEN[name]


@given(facts=inconsistent_histories(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_the_rows_are_what_the_facts_want(
    service: Service, facts: dict[str, PaymentEvent], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sorted(facts.items())))
    repeated = data.draw(st.lists(st.sampled_from(order), max_size=2)) if order else []
    rows = await rows_after(service, [*order, *repeated])
    expected = wanted(facts, DEFAULT_POLICY)
    assert {row["id"]: (row["status"], row["reason"]) for row in rows.values()} == {
        id: (row.status, row.reason) for id, row in expected.items()
    }


async def test_the_withdrawal_of_a_superseded_enrollment_is_published_once(service: Service) -> None:
    intent, session = numbered(CASES["id only beside a slug"]).items()
    await rows_after(service, [intent, session, session])
    assert await service.published(STUDENT, ID_ONLY.slug) == ["1 activated", "2 withdrawn"]
    assert await service.published(STUDENT, BARBER.slug) == ["1 activated"]
    await rows_after(service, [session, intent])
    assert await service.published(STUDENT, ID_ONLY.slug) == [], "it was never published"


async def test_the_api_lists_no_superseded_enrollment(service: Service) -> None:
    await rows_after(service, list(numbered(CASES["id only beside a slug"]).items()))
    answer = await service.api.get("/api/enrollments", headers=bearer(STUDENT))
    assert [row["program_slug"] for row in answer.json()["items"]] == [BARBER.slug]


async def test_purchases_of_one_enrollment_are_grouped_without_an_event_that_names_both(service: Service) -> None:
    """One event names the student and another the program: the group still has the enrollment's key."""
    apart = card(1, {"program": BARBER}, {"student_id": STUDENT})
    whole = card(2, by(BARBER) | {"purchase_id": purchase(2)}, {}, refunded=True)
    for events in (apart + whole, whole + apart):
        rows = await rows_after(service, list(numbered(events).items()))
        assert [row["status"] for row in rows.values()] == ["active"]


async def test_a_student_who_was_named_by_mistake_gets_no_event(service: Service) -> None:
    """Otherwise the pending enrollment would keep them from buying it themselves."""
    mine, theirs = numbered(CASES["student corrected"]).items()
    await rows_after(service, [mine, theirs])
    assert await service.published(OTHER) == []
    assert await service.published(STUDENT) == ["1 activated", "2 pending"]
