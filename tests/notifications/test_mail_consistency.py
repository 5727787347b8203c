"""No mail ever contradicts the facts on record when it goes out; and a pause is announced exactly once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.payment_histories import bank_debit, declined, disputed, paid_by_card, plan, refunded
from tests.notifications import test_returned_payments as returned_payments
from tests.notifications.harness import assigned, envelope_of
from tests.notifications.test_ends import ended
from tests.notifications.test_installments import of_checkout, of_gateway, received
from tests.notifications.test_item_kinds import CANCELED
from tests.notifications.test_returned_payments import OWED_AGAIN, lost

import enrollment.domain as enrollment_domain
from contracts.enrollment import EnrollmentPaused
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, PaymentExpired, PaymentFailed, PaymentRefs, PaymentSucceeded
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.standing import Standing
from notifications.domain import Rules, candidates, sendable
from notifications.enrollment import Enrollment
from notifications.message import Message
from notifications.renderer import Branding, render
from notifications.student_facts import EventRecord, StudentFacts

BRANDING = Branding(seller="School", sender="school@example.com", support=None, portal="https://portal.example.com")
PURCHASE = UUID(int=1)
LENIENT = Policy(past_due_pauses=False, full_refund_withdraws=False, lost_dispute_withdraws=False)
VOIDED = PaymentExpired(refs=PaymentRefs(invoice="in_1_2", subscription="sub_1"))
HISTORIES: list[list[PaymentEvent]] = [
    declined(1) + paid_by_card(1),
    declined(1),
    bank_debit(1, settles=True),
    bank_debit(1, settles=False),
    declined(1) + bank_debit(1, settles=True),
    plan(1, 1, missed=True),
    plan(1, 2, missed=True, caught_up=True),
    plan(1, 2, missed=True, ended=True),
    plan(1, 2, ended=True),
    [*plan(1, 2, missed=True), VOIDED],
    plan(1, 4, ended=True),
    plan(1, 1, missed=True) + plan(1, 2, missed=True, caught_up=True),
    plan(1, 1, missed=True) + paid_by_card(2),
    plan(1, 1, missed=True) + paid_by_card(2) + refunded(2, 489_000),
    paid_by_card(1) + refunded(1, 10_000, 489_000),
    paid_by_card(1) + refunded(1, 489_000) + declined(2) + paid_by_card(2),
    paid_by_card(1) + disputed(1, "lost"),
    paid_by_card(1) + declined(2),
    [received(1), of_gateway(1), of_checkout(1), of_gateway(2), of_checkout(2)],
    [received(1), of_checkout(1), of_checkout(3, final=True)],
    [received(1), of_checkout(1), of_checkout(3, final=True), received(2, attempt=9)],
    [received(1), of_checkout(3, final=True), PaymentExpired(refs=PaymentRefs(installment="i2"), purchase_id=PURCHASE)],
    [*paid_by_card(1), CANCELED],
    [*paid_by_card(1), ended("student"), *refunded(1, 489_000)],
    [*paid_by_card(1), ended("school"), *refunded(1, 10_000, 489_000)],
    [received(1), of_checkout(1, "not_paid"), of_checkout(3, "not_paid", final=True)],
    [returned_payments.received(1), returned_payments.received(2), lost(), OWED_AGAIN],
    [
        *(returned_payments.received(n) for n in (1, 2)),
        *(lost(), OWED_AGAIN, returned_payments.received(2, round=2)),
    ],
]


def with_enrollment_events(history: list[PaymentEvent], policy: Policy) -> list[Envelope[Any]]:
    """The payments, and what enrollment publishes as each of them occurs."""
    events: list[Envelope[Any]] = [envelope_of(0, assigned())]
    facts: dict[str, PaymentEvent] = {}
    rows: dict[UUID, enrollment_domain.Enrollment] = {}
    for event in history:
        events.append(envelope_of(len(events), event))
        facts[events[-1].id] = event
        for id, wanted in enrollment_domain.wanted(facts, policy).items():
            before, after = rows.get(id), enrollment_domain.becomes(rows.get(id), wanted)
            rows[id] = after
            if change := enrollment_domain.event(before, after):
                events.append(envelope_of(len(events), change))
    return events


def text_of(message: Message) -> str:
    return " ".join(render(message.template, message.context, name=None, branding=BRANDING).text.split())


def announces_pause(message: Message) -> bool:
    return message.template == "enrollment-paused" or "enrollment is paused" in text_of(message)


def facts_about(ref: str, enrollment: Enrollment) -> list[PaymentEvent]:
    """All about a payment, or about an installment by its own id."""
    facts = [fact for purchase in enrollment.purchases for fact in purchase.facts]
    payments = [payment for purchase in enrollment.purchases for payment in purchase.payments if ref in payment.refs]
    return [f for f in facts if ref == f"installment:{f.refs.installment}"] + [f for p in payments for f in p.facts]


def check(message: Message, enrollment: Enrollment, policy: Policy) -> None:
    """Against the facts themselves, not against what the service has derived from them."""
    text = text_of(message)
    standings = [purchase.standing(policy)[0] for purchase in enrollment.purchases if purchase.settled_payments]
    best = max(standings, key=lambda standing: standing.rank, default=None)
    if announces_pause(message):
        assert best in (Standing.PAUSED, None), text
        assert policy.past_due_pauses or "past" not in str(message.context.get("reason")), text
    if "opens automatically" in text:
        assert best in (Standing.ACTIVE, None), text
    if any(words in text for words in ("enrollment stays open", "enrollment is open", "is open again")):
        assert best in (Standing.ACTIVE, None) and not isinstance(enrollment.latest, EnrollmentPaused), text
    if message.template == "enrollment-withdrawn":
        assert best in (Standing.WITHDRAWN, None), text
    if "opens as soon as" in text and message.template == "payment-failed":
        assert best in (Standing.WITHDRAWN, None) and not enrollment.is_open, text
    if message.template == "payment-failed":
        _, ref, attempt = message.key.split("/")
        facts = facts_about(ref, enrollment)
        failed = [fact for fact in facts if isinstance(fact, PaymentFailed)]
        assert not any(isinstance(fact, (PaymentSucceeded, PaymentExpired)) for fact in facts), text
        assert not any(p.processing for each in enrollment.purchases for p in each.payments if ref in p.refs), text
        assert int(attempt) == max(fact.attempt for fact in failed), text
        assert "We will try again" not in text or not any(fact.final for fact in failed), text


@settings(max_examples=5 * settings().max_examples)
@given(
    history=st.sampled_from(HISTORIES),
    policy=st.sampled_from([DEFAULT_POLICY, LENIENT]),
    seed=st.randoms(use_true_random=False),
    in_order=st.booleans(),
)
def test_no_mail_contradicts_the_facts(history: list[PaymentEvent], policy: Policy, seed: Any, in_order: bool) -> None:
    rules = Rules(policy=policy, link_hosts=frozenset({".example.com"}))
    events = with_enrollment_events(history, policy)
    arrival = list(events) if in_order else seed.sample(events, len(events))
    covered: dict[str, UUID] = {}
    sent: list[Message] = []
    records: tuple[EventRecord, ...] = ()
    for n, envelope in enumerate(arrival):
        records += (EventRecord(id=envelope.id, time=envelope.time, data=envelope.data),)
        facts = StudentFacts(records, policy)
        found = candidates(facts, rules)
        last = n == len(arrival) - 1
        while due := [m for m in sendable(found, covered) if m.id not in {each.id for each in sent}]:
            if not last and seed.random() < 0.5:
                break  # slow delivery
            message = seed.choice(due)
            (enrollment,) = facts.enrollments
            if message.recipient != "admin":
                check(message, enrollment, policy)
            covered |= {topic: message.id for topic in message.covers if topic not in covered}
            sent.append(message)
    pauses = [envelope.data for envelope in events if isinstance(envelope.data, EnrollmentPaused)]
    announcements = [message for message in sent if message.recipient != "admin" and announces_pause(message)]
    assert len(announcements) <= len(pauses), [message.key for message in announcements]
    (enrollment,) = StudentFacts(records, policy).enrollments
    if isinstance(enrollment.latest, EnrollmentPaused):
        assert announcements, "no mail announced the pause"


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, LENIENT])
def test_the_histories_pause_and_withdraw_according_to_the_policy(policy: Policy) -> None:
    events = [event for history in HISTORIES for event in with_enrollment_events(history, policy)]
    types = {event.type for event in events}
    reasons = {getattr(event.data, "reason", None) for event in events}
    assert "enrollment.activated.v1" in types and "enrollment.paused.v1" in types
    assert ({"past_due", "refunded", "dispute_lost"} <= reasons) == (policy == DEFAULT_POLICY)
