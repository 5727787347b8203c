"""Installments that a bank took back after they had been received: what is owed again, and where to pay it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from tests.notifications.harness import ADMIN, CONTACT, Harness, bodies, body_text, envelope_of, one, step, subjects
from tests.notifications.test_installments import FIELDS, SHARE, SPONSOR

from contracts.enrollment import EnrollmentActivated, EnrollmentPaused, EnrollmentResumed, EnrollmentWithdrawn
from contracts.envelope import Event
from contracts.money import usd
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentFailed,
    PaymentRefs,
    PaymentSucceeded,
)
from contracts.people import Contact

RETURNED = "Your payment for Barber Apprenticeship was taken back"
PAUSED = "Your enrollment in Barber Apprenticeship is paused"
LINK = "https://checkout.example.com/pay/token-of-i2"


def received(n: int, round: int = 1, **more: Any) -> PaymentSucceeded:
    refs = PaymentRefs(payment_intent=f"pi_{n}_{round}", charge=f"py_{n}_{round}", installment=f"i{n}:{round}")
    return PaymentSucceeded.model_validate({"refs": refs, "amount": SHARE, **FIELDS, **more})


def lost(reason: str = "insufficient_funds") -> PaymentDisputeClosed:
    refs = PaymentRefs(charge="py_2_1", payment_intent="pi_2_1")
    return PaymentDisputeClosed(refs=refs, dispute_id="du_1", status="lost", amount=SHARE, reason=reason)


OWED_AGAIN = PaymentFailed(
    refs=PaymentRefs(installment="i2:2"), amount=SHARE, code="payment_returned", final=True, pay_url=LINK, **FIELDS
)
STARTED: tuple[Event, ...] = (CONTACT, received(1), received(2), step(EnrollmentActivated, 1))
PAUSE = step(EnrollmentPaused, 2, "past_due")


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_a_return_is_one_mail_with_what_is_owed_and_the_link(harness: Harness, order: tuple[int, ...]) -> None:
    await harness.receive(*STARTED)
    await harness.deliver_due()
    events = (lost(), OWED_AGAIN, PAUSE)
    for n in order:
        await harness.receive(envelope_of(n + 20, events[n]))
    mails = await harness.deliver_due()
    assert [s for s in subjects(mails) if s in (RETURNED, PAUSED) or "did not go through" in s] == [PAUSED]
    text = body_text(one(mails, PAUSED))
    assert "(1,222.50 USD) was taken back after we had received it, so it is owed again" in text
    assert "your bank returned the debit" in text and "To pay: " + LINK in text
    assert "Your enrollment opens again automatically" in text and "stopped trying" not in text


async def test_one_alert_for_one_return(harness: Harness) -> None:
    await harness.receive(*STARTED, lost(), OWED_AGAIN, PAUSE)
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == ["[Admin] Dispute lost: 1,222.50 USD, Barber Apprenticeship"]
    text = body_text(one(mails, "Dispute lost"))
    assert "asked to pay this installment again, and the enrollment is paused until then" in text


async def test_a_sponsor_is_notified_of_what_is_owed_again(harness: Harness) -> None:
    by_sponsor = {"payer": "sponsor", "contact": Contact(email=SPONSOR)}
    events = [received(n).model_copy(update=by_sponsor) for n in (1, 2)]
    again = OWED_AGAIN.model_copy(update=by_sponsor)
    await harness.receive(CONTACT, *events, step(EnrollmentActivated, 1), lost(), again, PAUSE)
    mails = await harness.deliver_due()
    assert RETURNED in subjects(mails, SPONSOR) and PAUSED in subjects(mails)
    mail = one(mails, RETURNED)
    assert all(LINK in body and "1,222.50 USD" in body for body in bodies(mail))
    assert "The student's enrollment is paused and opens again as soon as" in body_text(mail)
    assert LINK not in body_text(one(mails, PAUSED)) and "the payer's bank" in body_text(one(mails, PAUSED))


async def test_a_return_that_was_paid_again_has_no_mail(harness: Harness) -> None:
    await harness.receive(*STARTED, lost(), OWED_AGAIN, received(2, round=2), step(EnrollmentResumed, 3))
    assert not [s for s in subjects(await harness.deliver_due()) if s in (RETURNED, PAUSED)]


async def test_another_failed_attempt_after_a_return_is_a_failed_attempt(harness: Harness) -> None:
    await harness.receive(*STARTED, lost(), OWED_AGAIN, PAUSE)
    await harness.deliver_due()
    declined = PaymentFailed(
        refs=PaymentRefs(payment_intent="pi_2_3", installment="i2:3"),
        amount=SHARE,
        code="expired_card",
        final=True,
        pay_url=LINK,
        **FIELDS,
    )
    await harness.receive(declined)
    assert "card has expired" in body_text(one(await harness.deliver_due(), "did not go through"))


async def test_a_returned_single_payment_ends_the_enrollment_instead(harness: Harness) -> None:
    fields = {**FIELDS, "installments": None, "price": SHARE}
    refs = PaymentRefs(payment_intent="pi_2_1", charge="py_2_1")
    only = PaymentSucceeded.model_validate({"refs": refs, "amount": SHARE, **fields})
    await harness.receive(CONTACT, only, step(EnrollmentActivated, 1), lost())
    await harness.receive(step(EnrollmentWithdrawn, 2, "dispute_lost"))
    found = subjects(await harness.deliver_due())
    assert RETURNED not in found and "Your enrollment in Barber Apprenticeship has ended" in found


# --- appeals ----------------------------------------------------------------------------------------------------------


def dispute(status: str, day: int, **more: Any) -> PaymentEvent:
    refs = PaymentRefs(charge="py_2_1")
    kind = PaymentDisputeClosed if status in ("won", "lost") else PaymentDisputeOpened
    fields = {"refs": refs, "dispute_id": "du_2", "status": status, "amount": usd(122_250), "reason": "fraudulent"}
    return kind.model_validate(fields | {"as_of": f"2026-04-{day:02}T00:00:00Z", **more})


@pytest.mark.parametrize("outcome", ["won", "lost"])
async def test_each_step_of_an_appeal_alerts_once(harness: Harness, outcome: str) -> None:
    await harness.receive(*STARTED)
    life = [
        dispute("needs_response", 1),
        dispute("lost", 2),
        dispute("appeal_needs_response", 3, evidence_due_by="2026-05-01T12:00:00Z"),
        dispute("appeal_under_review", 4),
        dispute(outcome, 5),
    ]
    for event in life:
        await harness.receive(event, event)
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert sorted(s.removeprefix("[Admin] Dispute ").split(":")[0] for s in subjects(mails, ADMIN)) == sorted(
        ["opened", "lost", "appeal needs a response", f"appeal {outcome}"]
    )
    text = body_text(one(mails, "appeal needs a response"))
    assert "May 1, 2026 at 12:00 PM UTC" in text and "submit the evidence" in text
    restored = "What the lost dispute had changed is restored" in body_text(one(mails, f"appeal {outcome}"))
    assert restored == (outcome == "won")
