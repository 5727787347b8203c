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
from contracts.reconciliation import ReconciliationDifferenceFound, ReconciliationDifferenceResolved
from reporting.invariant import NEVER, Break, Compared, Deadlines, ReceivedEvent, breaks

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PAID_AT = NOW - timedelta(hours=1)
AT_ONCE = Deadlines(
    enrolled=timedelta(),
    instructor=timedelta(),
    provider=timedelta(),
    notified=timedelta(),
    booked=timedelta(),
    stripe=timedelta(days=1),
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


def found(*events: Event, deadlines: Deadlines = AT_ONCE, compared: Compared = NEVER) -> list[Break]:
    received = [ReceivedEvent(id=f"e{n}", received_at=PAID_AT, data=event) for n, event in enumerate(events)]
    return breaks(received, now=NOW, deadlines=deadlines, compared=compared)


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


DIFFERENCE: dict[str, Any] = {"object_kind": "charge", "object_id": "ch_12345", "field": "amount", "refs": REFS}
DIFFERS = ReconciliationDifferenceFound(stripe="489000 usd", published="489001 usd", revision=1, **DIFFERENCE)
AGREES = ReconciliationDifferenceResolved(stripe="489000 usd", published="489000 usd", revision=2, **DIFFERENCE)
AGAIN = ReconciliationDifferenceFound(stripe="1 usd", published="489000 usd", revision=3, **DIFFERENCE)


def test_a_difference_from_stripe_is_a_break_with_both_sides_until_it_is_resolved() -> None:
    cause = "ch_12345: amount is 489000 usd at Stripe, and 489001 usd was published"
    assert parts(*WHOLE.values(), DIFFERS) == {"stripe": cause}
    assert parts(*WHOLE.values(), AGREES, DIFFERS) == {}, "the highest revision counts, in any order"
    assert parts(*WHOLE.values(), DIFFERS, AGAIN, AGREES).keys() == {"stripe"}
    other = DIFFERS.model_copy(update={"object_id": "ch_99999", "refs": PaymentRefs(payment_intent="pi_99999")})
    assert parts(*WHOLE.values(), other) == {}, "it is about other money"


def test_a_payment_that_was_not_compared_with_stripe_is_a_break_after_a_day() -> None:
    paid = PAID.model_copy(update={"as_of": PAID_AT})
    events = [paid if event is PAID else event for event in WHOLE.values()]
    at_once = replace(AT_ONCE, stripe=timedelta())
    (broken,) = found(*events, deadlines=at_once)
    assert (broken.part, broken.cause) == ("stripe", "pi_12345 was not compared with Stripe")
    assert found(*events) == []
    hour = timedelta(hours=1)
    for period, holds in (((PAID_AT, NOW), True), ((PAID_AT - hour, PAID_AT), False), ((PAID_AT + hour, NOW), False)):
        assert (not found(*events, deadlines=at_once, compared=Compared((period,)))) is holds, period


def test_an_enrollment_that_no_payment_names_is_a_break() -> None:
    (broken,) = found(ACTIVATED)
    assert (broken.part, broken.purchase_id, broken.student_id) == ("enrolled", PURCHASE, STUDENT)
    assert found(ACTIVATED, EnrollmentWithdrawn(revision=2, **ENROLLMENT)) == []
