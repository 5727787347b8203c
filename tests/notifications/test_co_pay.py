"""A sponsor's purchase with a co-pay: each payer gets the mails about their own share."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ADMIN,
    CONTACT,
    EMAIL,
    Harness,
    body_text,
    envelope_of,
    one,
    step,
    subjects,
)
from tests.notifications.test_refunds_and_sponsors import FIELDS, SPONSOR, asked

from contracts.checkout import InstallmentAnnounced, RefundFailed
from contracts.enrollment import EnrollmentActivated
from contracts.envelope import Event
from contracts.money import Money, usd
from contracts.payments import PaymentFailed, PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Contact

PRICE, CO_PAY = usd(489_000), usd(39_000)
SHARE = PRICE - CO_PAY
PAGE = "https://checkout.example.com/pay/co-pay"
DUE = datetime(2026, 4, 2, 9, 0, tzinfo=UTC)
CREATED = asked("sponsor").model_copy(update={"co_pay": CO_PAY, "due_at": DUE})
RECEIPTS = {"student": "Receipt: 390.00 USD", "sponsor": "Receipt: 4,500.00 USD"}


def received(payer: str, amount: Money | None = None) -> PaymentSucceeded:
    position = 2 if payer == "student" else 1
    return PaymentSucceeded.model_validate(
        FIELDS
        | {
            "payer": payer,
            "funding_source": "WIOA",
            "price": PRICE,
            "amount": amount or (CO_PAY if payer == "student" else SHARE),
            "refs": PaymentRefs(invoice=f"in_{position}", installment=f"i{position}:1"),
        }
    )


def unpaid(attempt: int, *, final: bool = False) -> PaymentFailed:
    return PaymentFailed.model_validate(
        FIELDS
        | {
            "payer": "student",
            "funding_source": "WIOA",
            "price": PRICE,
            "amount": CO_PAY,
            "refs": PaymentRefs(installment="i2:1"),
            "code": "not_paid",
            "attempt": attempt,
            "final": final,
            "next_attempt_at": None if final else datetime(2026, 4, 9, 9, 0, tzinfo=UTC),
            "pay_url": PAGE,
        }
    )


ANNOUNCED = InstallmentAnnounced.model_validate(
    {
        "installment": "i2:1",
        "purchase_id": FIELDS["purchase_id"],
        "student_id": FIELDS["student_id"],
        "program": FIELDS["program"],
        "payer": "student",
        "amount": CO_PAY,
        "due_at": DUE,
        "position": 1,
        "installments": 1,
        "automatic": False,
        "co_pay": True,
        "pay_url": PAGE,
    }
)


async def test_the_sponsor_is_asked_for_its_share_and_the_student_for_the_co_pay(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED, ANNOUNCED)
    mails = await harness.deliver_due()
    to_sponsor = body_text(one(mails, "Payment requested: 4,500.00 USD"))
    assert "and the student's co-pay of 390.00 USD" in to_sponsor
    (subject,) = subjects(mails, EMAIL)
    assert subject == "Payment due on April 2, 2026: 390.00 USD for Barber Apprenticeship"
    text = body_text(one(mails, "Payment due on"))
    assert "Your co-pay for Barber Apprenticeship is due" in text and PAGE in text
    assert "The sponsor has paid its share, and you are enrolled when you have paid yours." in text


async def test_a_co_pay_that_is_paid_first_does_not_keep_the_sponsor_from_being_asked(harness: Harness) -> None:
    await harness.receive(CONTACT, received("student"), CREATED)
    assert subjects(await harness.deliver_due(), SPONSOR) == [
        "Payment requested: 4,500.00 USD for Ann Archer, Barber Apprenticeship"
    ]


@pytest.mark.parametrize("payers", list(permutations(("student", "sponsor"))))
async def test_each_payer_gets_a_receipt_and_nobody_an_alert(harness: Harness, payers: tuple[str, str]) -> None:
    await harness.receive(CONTACT, CREATED)
    await harness.deliver_due()
    await harness.receive(received(payers[0]))
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == [], "the rest is still awaited"
    first = body_text(one(mails, RECEIPTS[payers[0]]))
    assert (
        "when the sponsor has paid the rest" if payers[0] == "student" else "the student has paid the co-pay"
    ) in first
    assert "To pay the rest" not in first
    await harness.receive(received(payers[1]), step(EnrollmentActivated, 1))
    mails = await harness.deliver_due()
    for payer, address in (("student", EMAIL), ("sponsor", SPONSOR)):
        assert [each for each in subjects(mails, address) if each.startswith("Receipt")] == [
            f"{RECEIPTS[payer]} for Barber Apprenticeship"
        ]
    assert subjects(mails, ADMIN) == []


async def test_less_than_a_share_is_an_alert(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED, received("sponsor", usd(100_000)))
    assert any("Paid too little" in each for each in subjects(await harness.deliver_due(), ADMIN))


@pytest.mark.parametrize("sponsor_has_paid", [True, False])
async def test_a_co_pay_that_is_not_paid_is_the_students_matter(harness: Harness, sponsor_has_paid: bool) -> None:
    await harness.receive(CONTACT, CREATED, ANNOUNCED, *([received("sponsor")] if sponsor_has_paid else []))
    before = await harness.deliver_due()
    await harness.receive(unpaid(1))
    (reminder,) = (await harness.deliver_due())[len(before) :]
    assert EMAIL in str(reminder["X-Envelope-To"]) and PAGE in body_text(reminder)
    await harness.receive(unpaid(2, final=True))
    mails = await harness.deliver_due()
    assert not [each for each in subjects(mails, SPONSOR) if "overdue" in each]
    alert = one([mail for mail in mails if ADMIN in str(mail["X-Envelope-To"])], "no more reminders: 390.00 USD")
    assert "Payer: student" in body_text(alert)


async def test_a_reminder_of_the_sponsor_goes_to_the_sponsor_after_the_student_has_paid(harness: Harness) -> None:
    by_student = received("student").model_copy(update={"contact": Contact(email="own@student.example.com")})
    await harness.receive(CONTACT, CREATED, by_student)
    before = await harness.deliver_due()
    refs = PaymentRefs(installment="i1:1")
    await harness.receive(unpaid(1).model_copy(update={"refs": refs, "payer": "sponsor", "amount": SHARE}))
    (reminder,) = (await harness.deliver_due())[len(before) :]
    assert SPONSOR in str(reminder["X-Envelope-To"]) and "student.example.com" not in str(reminder["X-Envelope-To"])


async def test_a_debit_that_failed_is_not_tried_again_by_itself(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED)
    refs = PaymentRefs(installment="i2:1", invoice="in_2")
    failed = unpaid(1).model_copy(update={"refs": refs, "code": "insufficient_funds"})
    await harness.receive(failed)
    text = body_text(one(await harness.deliver_due(), "did not go through"))
    assert PAGE in text and "try again on" not in text


@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_refunds_go_to_who_has_paid(harness: Harness, order: tuple[int, ...]) -> None:
    await harness.receive(CONTACT, CREATED, received("student"), received("sponsor"), step(EnrollmentActivated, 1))
    await harness.deliver_due()
    refunds = [
        PaymentRefunded(refs=PaymentRefs(invoice=f"in_{n}"), refund_id=f"re_{n}", amount=amount, status="succeeded")
        for n, amount in ((1, SHARE), (2, CO_PAY))
    ]
    await harness.receive_together([envelope_of(100 + n, refunds[n]) for n in order])
    mails = [mail for mail in await harness.deliver_due() if "efund" in str(mail["Subject"])]
    assert len(subjects(mails, EMAIL)) == len(subjects(mails, SPONSOR)) == 1
    assert "390.00 USD" in subjects(mails, EMAIL)[0] and "4,500.00 USD" in subjects(mails, SPONSOR)[0]


async def test_a_co_pay_that_is_refunded_in_two_parts_is_the_students(harness: Harness) -> None:
    """Nobody has an address of the student but Stripe; the sponsor must not get the mail."""
    by_student = received("student").model_copy(update={"contact": Contact(email="own@student.example.com")})
    await harness.receive(CREATED, received("sponsor"), by_student, step(EnrollmentActivated, 1))
    await harness.deliver_due()
    parts = [
        PaymentRefunded(refs=PaymentRefs(invoice="in_2"), refund_id=f"re_{n}", amount=amount, status="succeeded")
        for n, amount in enumerate((usd(19_000), usd(20_000)))
    ]
    await harness.receive_together([envelope_of(100 + n, each) for n, each in enumerate(parts)])
    mails = await harness.deliver_due()
    assert [each for each in subjects(mails, SPONSOR) if "efund" in each] == []
    (subject,) = [each for each in subjects(mails, "own@student.example.com") if "efund" in each]
    assert "390.00 USD" in subject
    assert "4,890.00" not in body_text(one(mails, subject))


@pytest.mark.parametrize("reported_by", ["checkout", "stripe", "both"])
async def test_a_refund_of_a_co_pay_that_failed_is_reported_to_the_student(harness: Harness, reported_by: str) -> None:
    await harness.receive(CONTACT, CREATED, received("sponsor"), received("student"), step(EnrollmentActivated, 1))
    before = await harness.deliver_due()
    of_checkout = RefundFailed.model_validate(
        {
            "refund_id": UUID(int=9),
            "payment_id": UUID(int=8),
            "purchase_id": FIELDS["purchase_id"],
            "student_id": FIELDS["student_id"],
            "amount": CO_PAY,
            "code": "charge_disputed",
            "payer": "student",
        }
    )
    of_stripe = PaymentRefunded(refs=PaymentRefs(invoice="in_2"), refund_id="re_2", amount=CO_PAY, status="failed")
    reports: dict[str, tuple[Event, ...]] = {"checkout": (of_checkout,), "stripe": (of_stripe,)}
    events = reports.get(reported_by, (of_checkout, of_stripe))
    await harness.receive(*events)
    mails = (await harness.deliver_due())[len(before) :]
    assert subjects(mails, SPONSOR) == []
    assert len(subjects(mails, EMAIL)) == len(subjects(mails, ADMIN)) == 1
