"""Ends of purchases: by a refund request, by the student, by the school, by a dispute; and refunds that fail."""

from __future__ import annotations

from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ADMIN,
    ANN,
    BARBER,
    CONTACT,
    Harness,
    bodies,
    body_text,
    envelope_of,
    one,
    paid,
    step,
    subjects,
)
from tests.notifications.test_installments import SHARE, received

from contracts.checkout import RefundDecided, RefundFailed, RefundRequested
from contracts.enrollment import EnrollmentActivated, EnrollmentWithdrawn
from contracts.envelope import Event
from contracts.money import usd
from contracts.payments import EndedBy, PaymentEvent, PaymentRefs, PaymentRefunded, PurchaseEnded
from contracts.people import Contact

SPONSOR = "finance@sponsor.example.com"
PURCHASE = UUID(int=1)
ENDED = "Your enrollment in Barber Apprenticeship has ended"
OPEN: tuple[Event, ...] = (CONTACT, paid(payment_intent="pi_1", charge="ch_1"), step(EnrollmentActivated, 1))
ASKED = RefundRequested(
    refund_request_id=UUID(int=5), purchase_id=PURCHASE, student_id=ANN, amount=usd(489_000), reason="moving"
)
APPROVED = RefundDecided(
    refund_request_id=UUID(int=5), purchase_id=PURCHASE, student_id=ANN, decision="approved", amount=usd(489_000)
)


def ended(by: EndedBy, reason: str = "refunded") -> PurchaseEnded:
    return PurchaseEnded(refs=PaymentRefs(), purchase_id=PURCHASE, student_id=ANN, program=BARBER, by=by, reason=reason)


def refund(amount: int = 489_000, id: str = "re_1", status: str = "succeeded", **refs: str) -> PaymentRefunded:
    fields: dict[str, Any] = {"refs": PaymentRefs(**(refs or {"payment_intent": "pi_1"})), "amount": usd(amount)}
    return PaymentRefunded.model_validate({**fields, "refund_id": id, "status": status})


CHARGE = PaymentRefunded(refs=PaymentRefs(charge="ch_1"), total=usd(489_000), before=usd(0), of=usd(489_000))


def about_the_end(subjects: list[str]) -> list[str]:
    return [subject for subject in subjects if "efund" in subject or "ended" in subject]


# --- a refund request -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(4))))
@pytest.mark.parametrize("at_end", [True, False])
async def test_a_request_is_acknowledged_decided_and_paid_back_and_that_is_all(
    harness: Harness, order: tuple[int, ...], at_end: bool
) -> None:
    """And one alert. What ends the purchase arrives in any order; the mail about the refund says that it has ended."""
    await harness.receive(*OPEN)
    await harness.deliver_due()
    await harness.receive(ASKED)
    await harness.deliver_due()
    events = (ended("school"), APPROVED, refund(), CHARGE)
    for n in order:
        await harness.receive(envelope_of(n + 20, events[n]))
        if not at_end:
            await harness.deliver_due()
    await harness.receive(step(EnrollmentWithdrawn, 2, "canceled"))
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == [
        "Full refund: 4,890.00 USD for Barber Apprenticeship",
        "We received your refund request",
        "Your refund request is approved",
    ]
    assert subjects(mails, ADMIN) == ["[Admin] A student asks for a refund"]


async def test_the_mail_about_the_refund_states_that_the_enrollment_has_ended(harness: Harness) -> None:
    await harness.receive(*OPEN, ended("school"), CHARGE, step(EnrollmentWithdrawn, 2, "canceled"))
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == ["Full refund: 4,890.00 USD for Barber Apprenticeship"]
    for body in bodies(one(mails, "Full refund")):
        text = " ".join(body.split())
        assert "Your enrollment in Barber Apprenticeship has ended with this refund" in text
        assert "does not change" not in text


async def test_a_second_end_is_not_explained_by_the_first_refund(harness: Harness) -> None:
    await harness.receive(*OPEN, CHARGE, step(EnrollmentWithdrawn, 2, "refunded"))
    await harness.deliver_due()
    again = paid(n=2, payment_intent="pi_2").model_copy(update={"purchase_id": UUID(int=2)})
    await harness.receive(again, step(EnrollmentActivated, 3))
    await harness.deliver_due()
    canceled = ended("school", "Too few students").model_copy(update={"purchase_id": UUID(int=2)})
    await harness.receive(canceled, step(EnrollmentWithdrawn, 4, "canceled"))
    assert "Too few students." in body_text(one(await harness.deliver_due(), ENDED))


async def test_the_student_is_notified_of_the_end_when_a_sponsor_gets_the_money(harness: Harness) -> None:
    by_sponsor = {"payer": "sponsor", "contact": Contact(email=SPONSOR)}
    bought = paid(payment_intent="pi_1", charge="ch_1").model_copy(update=by_sponsor)
    await harness.receive(CONTACT, bought, step(EnrollmentActivated, 1), CHARGE)
    await harness.receive(step(EnrollmentWithdrawn, 2, "refunded"))
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == [ENDED]
    assert about_the_end(subjects(mails, SPONSOR)) == ["Full refund: 4,890.00 USD for Barber Apprenticeship"]


async def test_the_refunds_of_a_plan_are_one_mail(harness: Harness) -> None:
    installments = [received(n) for n in (1, 2, 3)]
    refunds: list[PaymentEvent] = [
        refund(SHARE.amount, f"re_{n}", payment_intent=f"pi_{n}_0", charge=f"ch_{n}_0") for n in (1, 2, 3)
    ]
    await harness.receive(CONTACT, *installments, step(EnrollmentActivated, 1))
    await harness.deliver_due()
    await harness.receive(ended("school"), *refunds, step(EnrollmentWithdrawn, 2, "canceled"))
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == ["Full refund: 3,667.50 USD for Barber Apprenticeship"]
    assert "has ended with this refund" in body_text(one(mails, "Full refund"))


async def test_a_refund_that_is_made_later_has_its_own_mail(harness: Harness) -> None:
    await harness.receive(CONTACT, *(received(n) for n in (1, 2)), step(EnrollmentActivated, 1))
    for n in (1, 2):
        await harness.receive(refund(SHARE.amount, f"re_{n}", payment_intent=f"pi_{n}_0"))
        await harness.deliver_due()
    found = about_the_end(subjects(await harness.deliver_due()))
    assert found == ["Full refund: 1,222.50 USD for Barber Apprenticeship"] * 2


# --- by the student, the school, a dispute ----------------------------------------------------------------------------


async def test_a_self_refund_is_confirmed_and_alerts_the_admins_once(harness: Harness) -> None:
    await harness.receive(*OPEN)
    await harness.deliver_due()
    await harness.receive(ended("student"), ended("student"), step(EnrollmentWithdrawn, 2, "refunded"))
    mails = await harness.deliver_due()
    text = body_text(one(mails, ENDED))
    assert "you ended it and asked for your money back. You will not be charged again." in text
    assert "you get a separate email when it is on its way" in text and "the school canceled" not in text
    await harness.receive(CHARGE)
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == ["Full refund: 4,890.00 USD for Barber Apprenticeship", ENDED]
    assert subjects(mails, ADMIN) == [
        "[Admin] A student has ended a purchase and gets the money back: Barber Apprenticeship"
    ]


async def test_the_school_gives_its_reason(harness: Harness) -> None:
    await harness.receive(*OPEN, ended("school", "Too few students"), step(EnrollmentWithdrawn, 2, "canceled"))
    mails = await harness.deliver_due()
    text = body_text(one(mails, ENDED))
    assert "the school canceled it. The reason: Too few students." in text and subjects(mails, ADMIN) == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_a_partial_refund_of_a_canceled_purchase_never_claims_that_nothing_changes(
    harness: Harness, order: tuple[int, ...]
) -> None:
    await harness.receive(*OPEN)
    await harness.deliver_due()
    events = (ended("school", "Too few students"), refund(10_000), step(EnrollmentWithdrawn, 2, "canceled"))
    await harness.receive(*(envelope_of(n + 20, events[n]) for n in order))
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == ["Partial refund: 100.00 USD for Barber Apprenticeship", ENDED]
    assert all("does not change" not in body_text(mail) for mail in mails)


async def test_a_lost_dispute_is_the_reason(harness: Harness) -> None:
    from contracts.payments import PaymentDisputeClosed

    refs = PaymentRefs(charge="ch_1")
    lost = PaymentDisputeClosed(refs=refs, dispute_id="du_1", status="lost", amount=usd(489_000), reason="fraudulent")
    await harness.receive(*OPEN, lost, ended("dispute", "dispute_lost"), step(EnrollmentWithdrawn, 2, "dispute_lost"))
    mails = await harness.deliver_due()
    text = body_text(one(mails, ENDED))
    assert "the bank took the payment back after a dispute. You will not be charged again." in text
    assert "canceled" not in text


# --- refunds that fail ------------------------------------------------------------------------------------------------

FAILED = RefundFailed(
    refund_id=UUID(int=9),
    payment_id=UUID(int=8),
    purchase_id=PURCHASE,
    student_id=ANN,
    amount=usd(489_000),
    code="charge_disputed",
)


@pytest.mark.parametrize("events", [(FAILED,), (refund(status="failed"),), (FAILED, refund(status="failed"))])
@pytest.mark.parametrize("at_end", [True, False])
async def test_a_failed_refund_is_reported_once_to_the_student_and_to_the_admins(
    harness: Harness, events: tuple[Event, ...], at_end: bool
) -> None:
    await harness.receive(*OPEN)
    for event in (*events, *events):
        await harness.receive(event)
        if not at_end:
            await harness.deliver_due()
    mails = await harness.deliver_due()
    assert about_the_end(subjects(mails)) == ["Your refund of 4,890.00 USD did not go through"]
    assert "The money is still with us" in body_text(one(mails, "Your refund"))
    assert subjects(mails, ADMIN) == ["[Admin] A refund failed: 4,890.00 USD"]
    if FAILED in events:
        assert "Code: charge_disputed" in body_text(one(mails, "A refund failed"))


async def test_two_refunds_that_fail_are_two(harness: Harness) -> None:
    other = FAILED.model_copy(update={"refund_id": UUID(int=10)})
    await harness.receive(*OPEN, FAILED, other)
    assert subjects(await harness.deliver_due(), ADMIN) == ["[Admin] A refund failed: 4,890.00 USD"] * 2
