"""Underpaid purchases and contradictory metadata: who is enrolled at Milady, whatever the order of the events."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.databases import empty
from tests.ledger.inconsistent_metadata import ID_ONLY, NO_PARTS, OTHER, card, inconsistent_histories, invoices
from tests.ledger.payment_histories import BARBER, BUNDLE, STUDENT, numbered, purchase
from tests.milady_integration.harness import Sandbox, Service, Student, envelope, new_program

from contracts.payments import PaymentEvent
from contracts.people import Program
from milady_integration.domain import DesiredState, EnrollmentRecord, wanted

COLUMNS = [field.name for field in fields(EnrollmentRecord)]
BOTH_NAMED_AS_MILADYS = ID_ONLY.model_copy(update={"provider": "milady"})


async def deliver_to_empty(service: Service, events: Sequence[tuple[str, PaymentEvent]]) -> None:
    async with service.database.transaction() as db:
        await empty(
            db,
            "provider_enrollments",
            "enrollments",
            "facts",
            "fact_keys",
            "inbox",
            "outbox_messages",
            "outbox_due",
            "jobs",
        )
        await db.execute(text("DELETE FROM milady_programs WHERE program_slug <> 'barber-apprenticeship'"))
    await service.deliver(*(envelope(event, event_id) for event_id, event in events))


async def enrollments(service: Service) -> dict[UUID, dict[str, Any]]:
    rows = await service.rows(f"SELECT {', '.join(COLUMNS)} FROM enrollments")
    return {row["id"]: row for row in rows}


async def provider_enrollments(service: Service) -> dict[UUID, tuple[str, str, str | None]]:
    rows = await service.rows("SELECT id, status, desired_state, reason FROM provider_enrollments")
    return {row["id"]: (row["status"], row["desired_state"], row["reason"]) for row in rows}


def by(program: Program) -> dict[str, Any]:
    return {"student_id": STUDENT, "program": program, "purchase_id": purchase(1)}


CASES = {
    "id only beside a slug": card(1, by(BARBER), by(ID_ONLY)),
    "id only beside a slug, both with the provider": card(1, by(BARBER), by(BOTH_NAMED_AS_MILADYS)),
    "bundle named without its parts": card(1, by(BUNDLE), by(NO_PARTS)),
    "student corrected": invoices(1, STUDENT, OTHER),
    "id only, refunded": card(1, by(BARBER), by(ID_ONLY), refunded=True),
    "bundle without parts, refunded": card(1, by(BUNDLE), by(NO_PARTS), refunded=True),
}
ENROLLED = {
    "id only beside a slug": {BARBER.slug},
    "id only beside a slug, both with the provider": {BARBER.slug},
    "bundle named without its parts": {BARBER.slug},
    "student corrected": set(),
    "id only, refunded": set(),
    "bundle without parts, refunded": set(),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("slow_relay", [False, True])
async def test_every_order_ends_in_the_same_rows(
    service: Service, sandbox: Sandbox, name: str, slow_relay: bool
) -> None:
    """`slow_relay`: the jobs run after all events. Otherwise each event's jobs run before the next event."""
    results = []
    for order in itertools.permutations(numbered(CASES[name]).items()):
        sandbox.reset()
        await deliver_to_empty(service, order if slow_relay else order[:1])
        await service.run_jobs()
        for event_id, event in () if slow_relay else order[1:]:
            await service.deliver(envelope(event, event_id))
            await service.run_jobs()
        active = {each["program"] for each in sandbox.items("enrollments") if each["status"] == "active"}
        assert active == ENROLLED[name]
        results.append((await enrollments(service), await provider_enrollments(service)))
    assert all(result == results[0] for result in results)


@given(facts=inconsistent_histories(), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=settings().max_examples // 5)
async def test_the_rows_are_what_the_facts_want(
    api_mode: Service, facts: dict[str, PaymentEvent], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(sorted(facts.items())))
    repeated = data.draw(st.lists(st.sampled_from(order), max_size=2))
    await deliver_to_empty(api_mode, [*order, *repeated])
    expected = wanted(facts)
    found = await enrollments(api_mode)
    assert found == {id: {name: getattr(row, name) for name in COLUMNS} for id, row in expected.items()}
    for id, (_, desired_state, reason) in (await provider_enrollments(api_mode)).items():
        assert (desired_state, reason) == (expected[id].desired_state, expected[id].reason)
    paid_for = {id for id, row in expected.items() if row.desired_state is DesiredState.ENROLLED}
    of_milady = {id for id in paid_for if expected[id].provider == "milady"}
    assert of_milady <= (await provider_enrollments(api_mode)).keys()


async def test_an_underpaid_enrollment_is_not_requested_from_milady(service: Service, sandbox: Sandbox) -> None:
    student = Student(new_program())
    await service.deliver(student.paid(amount=1_000, price=489_000))
    await service.run_jobs()
    row = await service.provider_enrollment(student)
    assert (row["status"], row["reason"]) == ("withdrawn", "underpaid")
    assert (sandbox.requests(), await service.published(student)) == ([], [])
    await service.deliver(student.paid(amount=489_000, price=489_000))
    await service.run_jobs()
    assert await service.status(student) == "enrolled", "paid in full by now"


async def test_a_price_learned_later_withdraws_an_underpaid_enrollment(service: Service, sandbox: Sandbox) -> None:
    student = Student(new_program())
    await service.deliver(student.paid(amount=1_000))
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["active"]
    await service.deliver(student.paid(amount=1_000, price=489_000))
    await service.run_jobs()
    assert sandbox.enrollments(student.id) == ["withdrawn"]
    assert await service.published(student) == ["enrolled", "withdrawn"]


async def test_two_students_of_one_purchase_are_both_withdrawn(service: Service, sandbox: Sandbox) -> None:
    await deliver_to_empty(service, list(numbered(CASES["student corrected"]).items())[:1])
    await service.run_jobs()
    assert sandbox.enrollments(STUDENT) == ["active"]
    await service.deliver(CASES["student corrected"][1])
    await service.run_jobs()
    assert (sandbox.enrollments(STUDENT), sandbox.enrollments(OTHER)) == (["withdrawn"], [])
    assert {row["reason"] for row in (await enrollments(service)).values()} == {"conflicting_students"}


async def test_the_api_lists_no_superseded_enrollment(service: Service) -> None:
    case = numbered(CASES["id only beside a slug, both with the provider"])
    await deliver_to_empty(service, list(case.items()))
    response = await service.call("GET", "/api/milady/mine", role="student", subject=STUDENT)
    assert [item["program_slug"] for item in response.json()["items"]] == [BARBER.slug]


async def test_an_unpaid_bundle_has_the_rows_of_its_parts(by_hand: Service) -> None:
    student = Student(BUNDLE)
    await by_hand.deliver(student.starts(), student.paid())
    rows = await by_hand.rows("SELECT program_slug FROM enrollments WHERE student_id = :id", id=student.id)
    assert {row["program_slug"] for row in rows} == {part.slug for part in BUNDLE.parts}
