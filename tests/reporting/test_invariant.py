"""The invariant: what is paid is enrolled, taught, with the provider, notified and booked, and the reverse.

Else it is a break with its cause, once the part's deadline has passed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ledger.payment_histories import histories
from tests.reporting.harness import Service

from contracts.checkout import ReceiptIssued
from contracts.enrollment import EnrollmentActivated, EnrollmentEvent, EnrollmentWithdrawn
from contracts.envelope import Event
from contracts.instructor_assignment import (
    Instructor,
    InstructorAssigned,
    InstructorReleased,
    InstructorUnavailable,
)
from contracts.milady_integration import MiladyEnrolled, MiladyFailed, MiladyWithdrawn
from contracts.money import usd
from contracts.notifications import NotificationFailed, NotificationSent
from contracts.payments import PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Program, enrollment_uuid
from reporting.invariant import Break, Deadlines, ReceivedEvent, breaks

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PAID_AT = NOW - timedelta(hours=1)
AT_ONCE = Deadlines(
    enrolled=timedelta(), instructor=timedelta(), provider=timedelta(), notified=timedelta(), booked=timedelta()
)
BARBER = Program(slug="barber-apprenticeship", id="prog-1", name="Barber Apprenticeship", provider="milady")
ADA = Instructor(id=uuid4(), name="Ada")
STUDENT, PURCHASE = UUID(int=1), UUID(int=2)
REFS = PaymentRefs(payment_intent="pi_12345")
OWN: dict[str, Any] = {"student_id": STUDENT, "program": BARBER, "purchase_id": PURCHASE}
ENROLLMENT: dict[str, Any] = {**OWN, "enrollment_id": enrollment_uuid(STUDENT, BARBER.slug)}
MAIL: dict[str, Any] = {
    "notification_id": uuid4(),
    "template": "welcome",
    "channel": "email",
    "recipient": "student",
    "student_id": STUDENT,
    "purchase_id": PURCHASE,
}
RECEIPT = ReceiptIssued(
    document_id=uuid4(),
    kind="receipt",
    number="R-1",
    purchase_id=PURCHASE,
    student_id=STUDENT,
    refs=REFS,
    amount=usd(489_000),
    filename="R-1.pdf",
    pdf="",
)
PAID = PaymentSucceeded(refs=REFS, amount=usd(489_000), price=usd(489_000), **OWN)
REFUNDED = PaymentRefunded(refs=REFS, total=usd(489_000), before=usd(0), of=usd(489_000))
ACTIVATED = EnrollmentActivated(revision=1, **ENROLLMENT)
ASSIGNED = InstructorAssigned(assignment_id=uuid4(), instructor=ADA, revision=1, **OWN)
AT_PROVIDER = MiladyEnrolled(milady_enrollment_id="m-1", revision=1, **OWN)
WELCOMED = NotificationSent(**MAIL)
WHOLE: dict[str, Event] = {
    "paid": PAID,
    "enrolled": ACTIVATED,
    "instructor": ASSIGNED,
    "provider": AT_PROVIDER,
    "notified": WELCOMED,
    "booked": RECEIPT,
}
WITHDRAWN: list[Event] = [
    EnrollmentWithdrawn(revision=2, **ENROLLMENT),
    InstructorReleased(assignment_id=ASSIGNED.assignment_id, instructor=ADA, revision=2, **OWN),
    MiladyWithdrawn(milady_enrollment_id="m-1", revision=2, **OWN),
]


def found(*events: Event, deadlines: Deadlines = AT_ONCE) -> list[Break]:
    received = [ReceivedEvent(id=f"e{n}", received_at=PAID_AT, data=event) for n, event in enumerate(events)]
    return breaks(received, now=NOW, deadlines=deadlines)


def parts(*events: Event) -> dict[str, str]:
    return {each.part: each.cause for each in found(*events)}


def test_a_whole_purchase_holds() -> None:
    assert found(*WHOLE.values()) == []


@pytest.mark.parametrize("part", [part for part in WHOLE if part != "paid"])
def test_a_missing_part_is_a_break_with_its_cause(part: str) -> None:
    (broken,) = found(*(event for name, event in WHOLE.items() if name != part))
    assert (broken.part, broken.student_id, broken.purchase_id) == (part, STUDENT, PURCHASE)
    assert (broken.program_slug, broken.since) == (BARBER.slug, PAID_AT) and broken.cause


@pytest.mark.parametrize("part", [part for part in WHOLE if part != "paid"])
def test_a_part_is_not_missing_before_its_deadline(part: str) -> None:
    events = [event for name, event in WHOLE.items() if name != part]
    later = replace(AT_ONCE, **{part: timedelta(hours=2)})
    assert found(*events, deadlines=later) == []


@pytest.mark.parametrize(
    ("instead", "part", "cause"),
    [
        (InstructorUnavailable(revision=1, **OWN), "instructor", "no instructor has capacity"),
        (
            MiladyFailed(code="no_course", attempts=1, revision=1, **OWN),
            "provider",
            "the provider has refused: no_course",
        ),
        (NotificationFailed(code="rejected", attempts=1, **MAIL), "notified", "the welcome mail has failed: rejected"),
    ],
)
def test_the_cause_is_what_the_service_has_reported(instead: Event, part: str, cause: str) -> None:
    assert parts(*(event for name, event in WHOLE.items() if name != part), instead) == {part: cause}


def test_what_is_refunded_has_to_end_everywhere() -> None:
    everything = parts(*WHOLE.values(), REFUNDED)
    assert everything.keys() == {"enrolled", "instructor", "provider"}
    assert parts(*WHOLE.values(), REFUNDED, *WITHDRAWN) == {}


def test_an_enrollment_without_payment_is_a_break() -> None:
    failed = PaymentSucceeded(refs=REFS, amount=usd(100), price=usd(489_000), **OWN)
    assert "enrolled" in parts(failed, ACTIVATED, RECEIPT)


def test_what_nobody_teaches_and_no_provider_has_needs_neither() -> None:
    tools = Program(slug="tool-kit", id="prod-7", kind="product")
    own = {**OWN, "program": tools}
    enrolled = EnrollmentActivated(enrollment_id=enrollment_uuid(STUDENT, tools.slug), revision=1, **own)
    paid = PaymentSucceeded(refs=REFS, amount=usd(100), price=usd(100), **own)
    assert found(paid, enrolled, WELCOMED, RECEIPT) == []


@given(histories(), st.randoms())
def test_the_order_of_events_and_duplicates_change_nothing(facts: dict[str, Any], random: Any) -> None:
    received = [ReceivedEvent(id=id, received_at=PAID_AT, data=event) for id, event in facts.items()]
    shuffled = [*received, *received[:2]]
    random.shuffle(shuffled)
    one, other = (breaks(events, now=NOW, deadlines=AT_ONCE) for events in (received, shuffled))
    assert sorted(map(repr, one)) == sorted(map(repr, other))
    assert all(not isinstance(event, EnrollmentEvent) for event in facts.values())


async def test_it_is_verified_over_all_students_from_what_was_received(service: Service) -> None:
    nameless = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_12345", charge="ch_12345"), amount=usd(489_000))
    other = {"student_id": UUID(int=3), "program": BARBER, "purchase_id": UUID(int=4)}
    unpaid = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_67890"), amount=usd(1), price=usd(1), **other)
    await service.receive(*(service.envelope(event) for event in (*WHOLE.values(), nameless, unpaid)))
    early = (await service.get("/api/admin/invariant")).json()
    assert (early["holds"], early["students"]) == (True, 2), "no deadline has passed"
    await service.as_owner("UPDATE events SET received_at = now() - interval '2 days'")
    late = (await service.get("/api/admin/invariant")).json()
    assert (late["holds"], {each["student_id"] for each in late["breaks"]}) == (False, {str(UUID(int=3))})
    assert {each["part"] for each in late["breaks"]} == {"enrolled", "instructor", "provider", "notified", "booked"}
    one = (await service.get("/api/admin/invariant", student_id=str(STUDENT))).json()
    assert (one["holds"], one["students"]) == (True, 1)
    await service.as_owner("DELETE FROM events WHERE type = 'milady.enrolled.v1'")
    one = (await service.get("/api/admin/invariant", student_id=str(STUDENT))).json()
    assert [(each["part"], each["purchase_id"]) for each in one["breaks"]] == [("provider", str(PURCHASE))]
