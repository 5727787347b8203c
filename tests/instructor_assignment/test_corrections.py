"""Underpaid purchases and contradictory metadata: who gets an instructor, whatever the order of the events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.databases import empty
from tests.instructor_assignment.harness import Service, Student, envelope, new_program
from tests.ledger.inconsistent_metadata import ID_ONLY, NO_PARTS, OTHER, card, inconsistent_histories, invoices
from tests.ledger.payment_histories import BARBER, BUNDLE, STUDENT, numbered, purchase

from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs
from contracts.people import Program
from instructor_assignment.domain import DesiredStatus, wanted

Rows = dict[tuple[str, str], dict[str, Any]]


async def rows_after(service: Service, events: Sequence[tuple[str, PaymentEvent]]) -> Rows:
    """Delivers the events to a service without assignments. Returns its rows, without what depends on the path."""
    async with service.database.transaction() as db:
        await empty(db, "ai_instructor_assignments", "facts", "fact_keys", "inbox", "outbox_messages", "outbox_due")
    await service.deliver(*(envelope(event, event_id) for event_id, event in events))
    rows = await service.rows(
        "SELECT id, student_id, program_slug, program_id, program_name, provider, desired_status, reason, purchase_id, "
        "status, instructor_id FROM ai_instructor_assignments ORDER BY id"
    )
    return {(str(row["student_id"]), row["program_slug"]): row for row in rows}


def by(program: Program) -> dict[str, Any]:
    return {"student_id": STUDENT, "program": program, "purchase_id": purchase(1)}


PRODUCT = BARBER.model_copy(update={"kind": "product", "provider": None})
PENDING = PaymentPending(refs=PaymentRefs(payment_intent="pi_9"), student_id=STUDENT, program=ID_ONLY)
CASES = {
    "superseded name, bought by a pending debit": [*card(1, by(BARBER), by(ID_ONLY)), PENDING],
    "kind named late, and not taught": card(1, by(BARBER), by(PRODUCT)),
    "id only beside a slug": card(1, by(BARBER), by(ID_ONLY)),
    "bundle named without its parts": card(1, by(BUNDLE), by(NO_PARTS)),
    "student corrected": invoices(1, STUDENT, OTHER),
    "id only, refunded": card(1, by(BARBER), by(ID_ONLY), refunded=True),
    "bundle without parts, refunded": card(1, by(BUNDLE), by(NO_PARTS), refunded=True),
}
WITH_INSTRUCTOR = {
    "superseded name, bought by a pending debit": {BARBER.slug: "assigned"},
    "kind named late, and not taught": {},
    "id only beside a slug": {BARBER.slug: "assigned"},
    "bundle named without its parts": {BARBER.slug: "assigned", "business-basics": "waiting"},
    "student corrected": {},
    "id only, refunded": {},
    "bundle without parts, refunded": {},
}


@pytest.mark.parametrize("name", CASES)
async def test_every_order_ends_in_the_same_rows(service: Service, name: str) -> None:
    results = [await rows_after(service, order) for order in itertools.permutations(numbered(CASES[name]).items())]
    assert all(rows == results[0] for rows in results)
    found = {slug: row["status"] for (_, slug), row in results[0].items() if row["status"] != "released"}
    assert found == WITH_INSTRUCTOR[name]


@given(facts=inconsistent_histories(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 5)
async def test_the_rows_are_what_the_facts_want(
    service: Service, facts: dict[str, PaymentEvent], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sorted(facts.items())))
    repeated = data.draw(st.lists(st.sampled_from(order), max_size=2))
    rows = await rows_after(service, [*order, *repeated])
    desired = {id: row for id, row in wanted(facts).items() if row.desired_status is not None}
    assert {row["id"]: (row["desired_status"], row["reason"], row["purchase_id"]) for row in rows.values()} == {
        id: (row.desired_status, row.reason, row.purchase_id) for id, row in desired.items()
    }
    has_none = {row["id"] for row in rows.values() if row["status"] == "released"}
    assert has_none == {id for id, row in desired.items() if row.desired_status is DesiredStatus.RELEASED}


async def test_an_underpaid_track_gets_no_instructor(service: Service) -> None:
    program = new_program().model_copy(update={"kind": "track"})
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid(1_000, price=99_900))
    assert (await service.status(student), await service.published(student)) == ("released", [])
    row = await service.assignment(student)
    assert row and row["reason"] == "underpaid"
    assert await service.loads(program) == {"Ada": 0}


async def test_a_price_learned_later_releases_the_instructor_of_an_underpaid_track(service: Service) -> None:
    program = new_program().model_copy(update={"kind": "track"})
    await service.add(program, "Ada", capacity=1)
    student, other = Student(program), Student(program)
    await service.deliver(student.paid(1_000), other.paid(), student.paid(1_000, price=99_900))
    assert await service.published(student) == ["assigned", "released"]
    assert await service.status(other) == "assigned", "the released instructor teaches the waiting student"
    await service.deliver(student.paid(99_900, price=99_900))
    assert await service.status(student) == "waiting", "paid in full by now"


async def test_an_item_that_turns_out_not_to_be_taught_releases_the_instructor(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    student = Student(program)
    await service.deliver(student.paid())
    student.program = program.model_copy(update={"kind": "product"})
    await service.deliver(student.paid())
    assert await service.published(student) == ["assigned", "released"]
    row = await service.assignment(student)
    assert row and (row["status"], row["reason"]) == ("released", "not_taught")


async def test_the_release_of_a_superseded_assignment_is_published_once(service: Service) -> None:
    intent, session = numbered(CASES["id only beside a slug"]).items()
    student = Student(BARBER, id=STUDENT)
    await rows_after(service, [intent, session, session])
    assert await service.published(student) == ["unavailable", "assigned"], "nobody teaches a program named by its id"
    await rows_after(service, [session, intent])
    assert await service.published(student) == ["assigned"]


async def test_the_api_lists_no_superseded_assignment(service: Service) -> None:
    await rows_after(service, list(numbered(CASES["id only beside a slug"]).items()))
    response = await service.call("GET", "/api/instructors/mine", role="student", subject=STUDENT)
    assert [item["program_slug"] for item in response.json()["items"]] == [BARBER.slug]
