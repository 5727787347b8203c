"""At no time does a mail go out that what is known contradicts, whatever is known by then; and a pause is told once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.payment_histories import bank_debit, declined, disputed, paid_by_card, plan, refunded
from tests.notifications.office import ANN, BARBER, SEAT, assigned, said
from tests.notifications.test_installments import of_checkout, of_gateway, received
from tests.notifications.test_kinds import CANCELED

from contracts.enrollment import EnrollmentPaused
from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, PaymentExpired, PaymentFailed, PaymentRefs, PaymentSucceeded
from enrollment.domain import EnrollmentState, settle
from ledger.enrollments_tmp import enrollments
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.purchase import Standing
from notifications.domain import Rules, messages, wanted
from notifications.known import Heard, Known, Place
from notifications.message import Message
from notifications.rendering import Letterhead, render

HEAD = Letterhead(school="School", sender="school@example.com", support=None, portal="https://portal.example.com")
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
]


def told_by_all(history: list[PaymentEvent], policy: Policy) -> list[Envelope[Any]]:
    """The payments, and what enrollment says of them as each of them happens."""
    heard: list[Envelope[Any]] = [said(0, assigned())]
    facts: dict[str, PaymentEvent] = {}
    state: EnrollmentState | None = None
    revision = 0
    for event in history:
        heard.append(said(len(heard), event))
        facts[heard[-1].id] = event
        for enrollment in enrollments(facts):
            change = settle(enrollment=enrollment, known=state, finished=False, policy=policy)
            if change is None:
                continue
            state = change.state
            if change.event:
                revision += 1
                step = change.event(
                    enrollment_id=SEAT,
                    student_id=ANN,
                    program=BARBER,
                    purchase_id=state.purchase_id,
                    revision=revision,
                    reason=state.reason,
                )
                heard.append(said(len(heard), step))
    return heard


def text_of(message: Message) -> str:
    return " ".join(render(message.template, message.told, name=None, letterhead=HEAD).text.split())


def tells_of_a_pause(message: Message) -> bool:
    return message.template == "enrollment-paused" or "enrollment is paused" in text_of(message)


def about(ref: str, place: Place) -> list[PaymentEvent]:
    """All that is said of a payment, or of an installment by its own name."""
    facts = [fact for purchase in place.purchases for fact in purchase.facts]
    payments = [payment for purchase in place.purchases for payment in purchase.payments if ref in payment.refs]
    return [f for f in facts if ref == f"installment:{f.refs.installment}"] + [f for p in payments for f in p.facts]


def check(message: Message, place: Place, policy: Policy) -> None:
    """Against the facts themselves, not against what the service has made of them."""
    text = text_of(message)
    standings = [purchase.standing(policy)[0] for purchase in place.purchases if purchase.settled_payments]
    best = max(standings, key=lambda standing: standing.rank, default=None)
    latest = place.steps[-1] if place.steps else None
    if tells_of_a_pause(message):
        assert best in (Standing.PAUSED, None), text
        assert policy.past_due_pauses or "past" not in str(message.told.get("reason")), text
    if any(
        words in text for words in ("enrollment stays open", "enrollment is open", "is open again", "open from now on")
    ):
        assert best in (Standing.ACTIVE, None) and not isinstance(latest, EnrollmentPaused), text
    if message.template == "enrollment-withdrawn":
        assert best in (Standing.WITHDRAWN, None), text
    if "opens as soon as" in text and message.template == "payment-failed":
        assert best in (Standing.WITHDRAWN, None) and not place.is_open, text
    if message.template == "payment-failed":
        _, ref, attempt = message.key.split("/")
        told = about(ref, place)
        failed = [fact for fact in told if isinstance(fact, PaymentFailed)]
        assert not any(isinstance(fact, (PaymentSucceeded, PaymentExpired)) for fact in told), text
        assert not any(p.under_way for purchase in place.purchases for p in purchase.payments if ref in p.refs), text
        assert int(attempt) == max(fact.attempt for fact in failed), text
        assert "We try again" not in text or not any(fact.final for fact in failed), text


@settings(max_examples=500, deadline=None)
@given(
    history=st.sampled_from(HISTORIES),
    policy=st.sampled_from([DEFAULT_POLICY, LENIENT]),
    seed=st.randoms(use_true_random=False),
    in_order=st.booleans(),
)
def test_no_mail_says_what_is_known_to_be_false(
    history: list[PaymentEvent], policy: Policy, seed: Any, in_order: bool
) -> None:
    rules = Rules(policy=policy)
    heard = told_by_all(history, policy)
    arrival = list(heard) if in_order else seed.sample(heard, len(heard))
    told: dict[str, UUID] = {}
    sent: list[Message] = []
    known: list[Heard] = []
    for n, envelope in enumerate(arrival):
        known.append(Heard(id=envelope.id, time=envelope.time, data=envelope.data))
        last = n == len(arrival) - 1
        while going := [
            m for m in wanted(messages(Known(tuple(known)), rules), told) if m.id not in {each.id for each in sent}
        ]:
            if not last and seed.random() < 0.5:
                break  # the post is slow
            message = seed.choice(going)
            (place,) = Known(tuple(known)).places
            if message.recipient != "admin":
                check(message, place, policy)
            told |= {mark: message.id for mark in message.once | message.tells if mark not in told}
            sent.append(message)
    pauses = [envelope.data for envelope in heard if isinstance(envelope.data, EnrollmentPaused)]
    tellings = [message for message in sent if tells_of_a_pause(message)]
    assert len(tellings) <= len(pauses), [message.key for message in tellings]
    (place,) = Known(tuple(known)).places
    if isinstance(place.latest, EnrollmentPaused):
        assert tellings, "a pause that nobody was told of"


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, LENIENT])
def test_the_histories_pause_and_withdraw_where_the_policy_says_so(policy: Policy) -> None:
    kinds = {envelope.type for history in HISTORIES for envelope in told_by_all(history, policy)}
    reasons = {getattr(e.data, "reason", None) for history in HISTORIES for e in told_by_all(history, policy)}
    assert "enrollment.activated.v1" in kinds and "enrollment.paused.v1" in kinds
    assert ({"past_due", "refunded", "dispute_lost"} <= reasons) == (policy == DEFAULT_POLICY)
