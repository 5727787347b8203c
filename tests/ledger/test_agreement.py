"""Every service that follows payment facts reaches the same verdict on the same facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.deliveries import AT
from tests.ledger.inconsistent_metadata import inconsistent_histories
from tests.ledger.payment_histories import histories, wide_histories

import enrollment.domain
import instructor_assignment.domain
import milady_integration.domain
from checkout.purchases.domain import Change, change_of
from contracts.payments import PaymentEvent
from enrollment.domain import Status
from instructor_assignment.domain import DesiredStatus
from ledger.facts import fold
from ledger.policy import Policy
from ledger.standing import Standing
from milady_integration.domain import DesiredState
from notifications.student_facts import EventRecord, StudentFacts

Facts = Mapping[str, PaymentEvent]
Pair = tuple[UUID, str]
"""student id, program slug"""


def by_enrollment(facts: Facts, policy: Policy) -> set[Pair]:
    rows = enrollment.domain.wanted(facts, policy).values()
    return {(row.student_id, row.program_slug) for row in rows if row.status in (Status.ACTIVE, Status.PAUSED)}


def by_instructor_assignment(facts: Facts, policy: Policy) -> set[Pair]:
    rows = instructor_assignment.domain.wanted(facts, policy).values()
    return {(row.student_id, row.program_slug) for row in rows if row.desired_status is DesiredStatus.ASSIGNED}


def by_milady_integration(facts: Facts, policy: Policy) -> set[Pair]:
    rows = milady_integration.domain.wanted(facts, policy).values()
    return {(row.student_id, row.program_slug) for row in rows if row.desired_state is DesiredState.ENROLLED}


def by_notifications(facts: Facts, policy: Policy) -> set[Pair]:
    student = StudentFacts(tuple(EventRecord(id, AT, event) for id, event in facts.items()), policy)
    return {
        (each.student_id, each.slug)
        for each in student.enrollments
        if each.has_standing(Standing.ACTIVE, Standing.PAUSED)
    }


def by_checkout(facts: Facts, policy: Policy) -> set[Pair]:
    return {
        (purchase.student_id, part.slug)
        for purchase in fold(facts)
        if change_of(purchase, policy, payment_flow="page") is Change.PAYMENT_SETTLED
        if purchase.student_id and purchase.program
        for part in purchase.program.parts
    }


SERVICES: Mapping[str, Callable[[Facts, Policy], set[Pair]]] = {
    "enrollment": by_enrollment,
    "checkout": by_checkout,
    "milady-integration": by_milady_integration,
    "notifications": by_notifications,
}

policies = st.builds(Policy, past_due_pauses=st.booleans(), full_refund_withdraws=st.booleans())


@given(st.one_of(histories(), wide_histories(), inconsistent_histories()), policies)
def test_all_services_open_the_same_enrollments(facts: Facts, policy: Policy) -> None:
    opened = {service: pairs(facts, policy) for service, pairs in SERVICES.items()}
    assert all(pairs == opened["enrollment"] for pairs in opened.values()), opened
    rows = enrollment.domain.wanted(facts, policy).values()
    taught = {(row.student_id, row.program_slug) for row in rows if row.kind in ("program", "track", "course")}
    assert by_instructor_assignment(facts, policy) == opened["enrollment"] & taught


@given(st.one_of(histories(), wide_histories(), inconsistent_histories()), policies)
def test_all_services_give_the_same_reason(facts: Facts, policy: Policy) -> None:
    """For what was paid for and is withdrawn."""
    withdrawn = {
        (row.student_id, row.program_slug): row.reason
        for row in enrollment.domain.wanted(facts, policy).values()
        if row.status is Status.WITHDRAWN
    }
    for row in instructor_assignment.domain.wanted(facts, policy).values():
        if row.desired_status is DesiredStatus.RELEASED and (row.student_id, row.program_slug) in withdrawn:
            assert row.reason == withdrawn[row.student_id, row.program_slug]
    for record in milady_integration.domain.wanted(facts, policy).values():
        if record.desired_state is DesiredState.WITHDRAWN and (record.student_id, record.program_slug) in withdrawn:
            assert record.reason == withdrawn[record.student_id, record.program_slug]
