"""Amounts that nobody has tried to charge: announced before they are due, and reminded of when they are overdue."""

from __future__ import annotations

from datetime import UTC, datetime
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
    step,
    subjects,
)
from tests.notifications.test_installments import FIELDS, SHARE, SPONSOR, STARTED_PLAN, of_checkout, received

from contracts.checkout import InstallmentAnnounced, PurchaseCreated
from contracts.enrollment import EnrollmentActivated, EnrollmentPaused
from contracts.money import usd
from contracts.payments import PaymentExpired, PaymentFailed, PaymentRefs, PaymentSucceeded, PurchaseEnded
from contracts.people import Contact

DUE = datetime(2026, 3, 20, 9, 0, tzinfo=UTC)
PAGE = "https://checkout.example.com/pay/token-of-i2"
LINK = "https://checkout.example.com/pay/token-of-purchase"
INVOICE = usd(97_800)
WORDS_OF_A_BANK = ("declined", "your bank", "did not go through", "try again", "charged")


def announced(**more: Any) -> InstallmentAnnounced:
    fields = {
        "installment": "i2",
        "purchase_id": UUID(int=1),
        "student_id": ANN,
        "program": BARBER,
        "payer": "student",
        "amount": SHARE,
        "due_at": DUE,
        "position": 2,
        "installments": 4,
        "automatic": True,
        "pay_url": PAGE,
    }
    return InstallmentAnnounced.model_validate(fields | more)


TO_SPONSOR: dict[str, Any] = {
    "installment": "i1",
    "payer": "sponsor",
    "amount": INVOICE,
    "position": 1,
    "installments": 1,
    "automatic": False,
    "payer_contact": Contact(email=SPONSOR),
}
OF_SPONSOR: dict[str, Any] = {
    "purchase_id": UUID(int=1),
    "student_id": ANN,
    "program": BARBER,
    "payer": "sponsor",
    "price": INVOICE,
}
CREATED = PurchaseCreated(
    purchase_id=UUID(int=1),
    student_id=ANN,
    program=BARBER,
    amount=INVOICE,
    payer="sponsor",
    funding_source="WIOA",
    payment_type="full",
    checkout_url=LINK,
    due_at=DUE,
    authorization_number="A-77",
    payer_contact=Contact(email=SPONSOR),
)


def reminder(attempt: int, *, at: datetime | None = None, final: bool = False) -> PaymentFailed:
    return PaymentFailed(
        refs=PaymentRefs(invoice="in_1", installment="i1"),
        amount=INVOICE,
        code="not_paid",
        attempt=attempt,
        final=final,
        pay_url=PAGE,
        as_of=at or datetime(2026, 3, 21, 9, 0, tzinfo=UTC),
        **OF_SPONSOR,
    )


# --- announced --------------------------------------------------------------------------------------------------------


async def test_a_charge_is_announced_to_a_student_with_a_saved_method(harness: Harness) -> None:
    await harness.receive(*STARTED_PLAN, announced(), announced())
    mails = await harness.deliver_due()
    mail = one(mails, "Your payment of 1,222.50 USD on March 20, 2026")
    text = body_text(mail)
    assert "will be charged to your saved payment method on March 20, 2026" in text and "Payment: 2 of 4" in text
    assert all(PAGE in body for body in bodies(mail))


async def test_an_amount_that_the_student_pays_is_due_and_not_charged(harness: Harness) -> None:
    await harness.receive(*STARTED_PLAN, announced(automatic=False))
    text = body_text(one(await harness.deliver_due(), "Payment due on March 20, 2026: 1,222.50 USD"))
    assert "is due on March 20, 2026" in text and "charged" not in text and PAGE in text


async def test_a_sponsor_is_reminded_before_its_invoice_is_due(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED, announced(**TO_SPONSOR))
    mails = await harness.deliver_due()
    mail = one(mails, "Invoice due on March 20, 2026: 978.00 USD for Ann Archer, Barber Apprenticeship")
    assert SPONSOR in str(mail["X-Envelope-To"])
    assert "The invoice for Barber Apprenticeship (student: Ann Archer) is due on March 20, 2026." in body_text(mail)
    assert not any(words in body_text(mail) for words in WORDS_OF_A_BANK)


PAID_IT = received(2)
VOIDED = PaymentExpired(refs=PaymentRefs(installment="i2"), **FIELDS)
ENDED = PurchaseEnded(refs=PaymentRefs(), purchase_id=UUID(int=1), by="school", reason="moved")
REST = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_rest"), amount=usd(366_750), **FIELDS)


@pytest.mark.parametrize("instead", [PAID_IT, VOIDED, ENDED, REST, of_checkout(1)])
@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_what_is_no_longer_to_be_paid_is_not_announced(
    harness: Harness, instead: Any, order: tuple[int, ...]
) -> None:
    events = (announced(), instead)
    await harness.receive(*STARTED_PLAN, *(envelope_of(n + 20, events[n]) for n in order))
    assert not [s for s in subjects(await harness.deliver_due()) if "March 20" in s]


async def test_an_early_payment_that_was_declined_does_not_stop_the_announcement(harness: Harness) -> None:
    declined = PaymentFailed(refs=PaymentRefs(payment_intent="pi_2", installment="i2"), code="card_declined", **FIELDS)
    await harness.receive(*STARTED_PLAN, declined, announced())
    assert one(await harness.deliver_due(), "March 20")


async def test_a_new_due_date_is_announced_again(harness: Harness) -> None:
    await harness.receive(*STARTED_PLAN, announced())
    await harness.deliver_due()
    await harness.receive(announced(due_at=datetime(2026, 3, 27, tzinfo=UTC)))
    dates = [s for s in subjects(await harness.deliver_due()) if s.startswith("Your payment of")]
    assert dates == [f"Your payment of 1,222.50 USD on March {day}, 2026" for day in (20, 27)]


# --- overdue ----------------------------------------------------------------------------------------------------------


async def test_a_sponsors_unpaid_invoice_is_overdue_and_nothing_was_declined(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED, reminder(1))
    mails = await harness.deliver_due()
    mail = one(mails, "Invoice overdue: 978.00 USD for Ann Archer, Barber Apprenticeship")
    for body in bodies(mail):
        text = " ".join(body.split())
        assert "The invoice for Barber Apprenticeship (student: Ann Archer) was due on March 20, 2026" in text
        assert "is overdue" in text and PAGE in text and "978.00 USD" in text
        assert "The student's enrollment opens as soon as we receive the payment" in text
        assert not any(words in text for words in WORDS_OF_A_BANK)
    assert subjects(mails) == [] and subjects(mails, ADMIN) == []


async def test_a_reminder_before_the_due_date_states_when_it_is_due(harness: Harness) -> None:
    await harness.receive(CREATED, reminder(1, at=datetime(2026, 3, 18, tzinfo=UTC)))
    text = body_text(one(await harness.deliver_due(), "Invoice due on March 20, 2026"))
    assert "is due on March 20, 2026" in text and "overdue" not in text


async def test_without_a_due_date_on_record_none_is_invented(harness: Harness) -> None:
    await harness.receive(CREATED.model_copy(update={"due_at": None}), reminder(1))
    text = body_text(one(await harness.deliver_due(), "Invoice not received yet"))
    assert "has not been paid yet" in text and "overdue" not in text


async def test_each_reminder_once_and_one_alert_after_the_last(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED)
    for attempt in (1, 2, 3):
        await harness.receive(reminder(attempt, final=attempt == 3), reminder(attempt, final=attempt == 3))
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert len([s for s in subjects(mails, SPONSOR) if s.startswith("Invoice overdue")]) == 3
    last = [mail for mail in mails if "This is our last reminder" in body_text(mail)]
    assert len(last) == 1
    assert subjects(mails, ADMIN) == ["[Admin] Invoice overdue, no more reminders: 978.00 USD, Barber Apprenticeship"]


async def test_a_paid_invoice_is_not_reminded_of(harness: Harness) -> None:
    paid = PaymentSucceeded(refs=PaymentRefs(invoice="in_1", installment="i1"), amount=INVOICE, **OF_SPONSOR)
    await harness.receive(CREATED, reminder(1), paid)
    assert not [s for s in subjects(await harness.deliver_due(), SPONSOR) if "Invoice" in s]


async def test_a_student_without_a_method_is_not_called_declined(harness: Harness) -> None:
    unpaid = of_checkout(3, "no_payment_method", final=True)
    await harness.receive(*STARTED_PLAN, unpaid, step(EnrollmentPaused, 2, "past_due"))
    mails = await harness.deliver_due()
    text = body_text(one(mails, "Your enrollment in Barber Apprenticeship is paused"))
    assert "(1,222.50 USD) was due and has not been paid" in text
    assert not any(words in text for words in WORDS_OF_A_BANK)


async def test_an_unpaid_installment_of_a_student(harness: Harness) -> None:
    await harness.receive(*STARTED_PLAN, announced(automatic=False), of_checkout(1, "not_paid"))
    text = body_text(one(await harness.deliver_due(), "Payment due on March 20, 2026: 1,222.50 USD for Barber"))
    assert "Your payment for Barber Apprenticeship is due on March 20, 2026." in text
    assert "stays open in the meantime" in text and not any(words in text for words in WORDS_OF_A_BANK)


# --- what a sponsor is asked for --------------------------------------------------------------------------------------


async def test_the_first_mail_to_a_sponsor_is_about_the_invoice(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED)
    (mail,) = await harness.deliver_due()
    for body in bodies(mail):
        for each in ("978.00 USD", "A-77", "March 20, 2026", "WIOA", LINK, "Ann Archer"):
            assert each in body
        assert "/pay/00000000" not in body, "only links that checkout publishes"


async def test_several_invoices_are_not_one_amount(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED.model_copy(update={"installments": 5}))
    (mail,) = await harness.deliver_due()
    assert "978.00 USD in 5 invoices" in body_text(mail) and "first invoice" in body_text(mail)


async def test_an_expired_page_does_not_withdraw_the_request(harness: Harness) -> None:
    """The link opens a fresh page until it is paid."""
    expired = PaymentExpired(refs=PaymentRefs(checkout_session="cs_1", installment="i1"), **OF_SPONSOR)
    await harness.receive(CREATED, expired)
    assert one(await harness.deliver_due(), "Payment requested")


# --- a plan that is paid up -------------------------------------------------------------------------------------------


async def test_a_receipt_for_all_that_was_left_states_that_everything_is_paid(harness: Harness) -> None:
    await harness.receive(CONTACT, received(1), step(EnrollmentActivated, 1))
    await harness.deliver_due()
    await harness.receive(REST)
    text = body_text(one(await harness.deliver_due(), "Receipt: 3,667.50 USD"))
    assert "everything is paid, and your enrollment stays open" in text
    assert "continues" not in text and "of 4" not in text
