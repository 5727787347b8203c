"""Receipts and failed payments: one mail for each cause, whichever references report it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ANN,
    BARBER,
    CONTACT,
    LINKS,
    Harness,
    assigned,
    bodies,
    body_text,
    envelope_of,
    one,
    paid,
    step,
    subjects,
)

from contracts.enrollment import EnrollmentActivated, EnrollmentPaused, EnrollmentResumed
from contracts.money import usd
from contracts.payments import (
    PaymentFailed,
    PaymentMethodDetails,
    PaymentPending,
    PaymentRefs,
    PaymentSucceeded,
)
from contracts.people import Contact
from ledger.policy import Policy

PURCHASE = UUID(int=1)
SPONSOR = "finance@sponsor.example.com"
RECEIPT = "Receipt: 4,890.00 USD for Barber Apprenticeship"
FAILED = "Your payment for Barber Apprenticeship did not go through"
FIELDS = {"purchase_id": PURCHASE, "student_id": ANN, "program": BARBER, "payer": "student"}


def failed(code: str, attempt: int = 1, *, invoice: str | None = None, **more: object) -> PaymentFailed:
    refs = PaymentRefs(invoice=invoice, subscription="sub_1") if invoice else PaymentRefs(payment_intent="pi_1")
    return PaymentFailed.model_validate({"refs": refs, "code": code, "attempt": attempt, **FIELDS, **more})


def installment(n: int) -> PaymentSucceeded:
    refs = PaymentRefs(invoice=f"in_{n}", subscription="sub_1")
    return PaymentSucceeded.model_validate({"refs": refs, "amount": usd(122_250), "installments": 4, **FIELDS})


# --- receipts ---------------------------------------------------------------------------------------------------------


async def test_a_receipt_has_the_amount_the_program_and_the_time(harness: Harness) -> None:
    await harness.receive(CONTACT, paid())
    for body in bodies(one(await harness.deliver_due(), RECEIPT)):
        assert "4,890.00 USD" in body and "Barber Apprenticeship" in body and "March 3, 2026 at 2:07 PM UTC" in body
        assert "pi_1" in body


LINKED = (
    paid(payment_intent="pi_1", charge="ch_1"),
    paid(invoice="in_1"),
    paid(checkout_session="cs_1", payment_intent="pi_1", invoice="in_1"),
)
"""A sponsor's session: intent and invoice report the same money, and the session links them."""


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("at_end", [True, False])
async def test_one_receipt_whenever_the_references_are_linked(
    harness: Harness, order: tuple[int, ...], at_end: bool
) -> None:
    """Even when the link comes long after the receipt has gone out."""
    await harness.receive(CONTACT)
    for n in order:
        await harness.receive(envelope_of(n + 10, LINKED[n]))
        if not at_end:
            await harness.deliver_due()
    assert subjects(await harness.deliver_due()) == [RECEIPT]


async def test_the_reference_is_the_charge_that_was_paid(harness: Harness) -> None:
    declined = failed("card_declined").model_copy(update={"refs": PaymentRefs(payment_intent="pi_1", charge="ch_0")})
    await harness.receive(CONTACT, declined, paid(payment_intent="pi_1", charge="ch_1", invoice="in_1"))
    assert "Reference: ch_1\r\n" in bodies(one(await harness.deliver_due(), RECEIPT))[0]


VISA = PaymentMethodDetails(type="card", brand="visa", last4="4242", wallet="apple_pay")
DEBIT = PaymentMethodDetails(type="us_bank_account", bank="STRIPE TEST BANK", last4="6789")


@pytest.mark.parametrize(
    ("details", "method", "named"),
    [
        (VISA, "card", "Visa ending in 4242 (apple pay)"),
        (DEBIT, "us_bank_account", "STRIPE TEST BANK ending in 6789"),
        (PaymentMethodDetails(type="klarna"), "klarna", "Klarna"),
        (None, "cash", "Cash"),
    ],
)
async def test_a_receipt_names_the_method(
    harness: Harness, details: PaymentMethodDetails | None, method: str, named: str
) -> None:
    event = paid(payment_intent="pi_1", charge="ch_1").model_copy(update={"details": details, "method": method})
    await harness.receive(CONTACT, paid(payment_intent="pi_1"), event)
    for body in bodies(one(await harness.deliver_due(), RECEIPT)):
        assert "Paid with" in body and named in body


async def test_a_receipt_of_a_plan_has_what_is_still_to_be_paid(harness: Harness) -> None:
    priced = installment(1).model_copy(update={"price": usd(489_000)})
    await harness.receive(CONTACT, priced)
    assert "Still to be paid: 3,667.50 USD" in bodies(one(await harness.deliver_due(), "Receipt"))[0]


async def test_without_a_charge_the_reference_is_the_invoice(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(payment_intent="a", checkout_session="b", invoice="in_1"))
    assert "Reference: in_1\r\n" in bodies(one(await harness.deliver_due(), RECEIPT))[0]


async def test_a_receipt_for_an_open_enrollment_does_not_announce_its_opening(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(), step(EnrollmentActivated, 1))
    text = bodies(one(await harness.deliver_due(), RECEIPT))[0]
    assert "your enrollment is open" in text and "automatically" not in text


async def test_a_payment_without_student_and_program_sends_no_mail(harness: Harness) -> None:
    link = PaymentSucceeded(refs=PaymentRefs(invoice="in_9", payment_intent="pi_9"), amount=usd(100))
    await harness.receive(CONTACT, link, PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_8"), amount=usd(100)))
    assert await harness.deliver_due() == [] and await harness.rows() == []


async def test_each_installment_has_its_own_receipt(harness: Harness) -> None:
    await harness.receive(CONTACT)
    for n in (1, 2):
        link = PaymentSucceeded(refs=PaymentRefs(invoice=f"in_{n}", payment_intent=f"pi_{n}"), amount=usd(122_250))
        await harness.receive(installment(n), link)
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert subjects(mails) == ["Receipt: 1,222.50 USD for Barber Apprenticeship"] * 2
    assert "Payments so far: 2 of 4" in bodies(mails[1])[0]


async def test_payments_that_turn_out_to_be_two_have_two_receipts(harness: Harness) -> None:
    """An intent and an invoice that might have been one, until each of them gets an invoice of its own."""
    await harness.receive(CONTACT, paid(payment_intent="pi_1"), paid(invoice="in_2"))
    assert len(await harness.deliver_due()) == 1
    await harness.receive(paid(payment_intent="pi_1", invoice="in_1"))
    assert len(await harness.deliver_due()) == 2


async def test_no_money_no_receipt(harness: Harness) -> None:
    waiver = paid(manual="man_1").model_copy(update={"method": "waiver"})
    await harness.receive(CONTACT, paid(0, checkout_session="cs_1"), waiver, paid(0, manual="man_2"))
    assert await harness.deliver_due() == []


async def test_cash_has_a_receipt(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(manual="man_1"), paid(manual="man_2"))
    assert subjects(await harness.deliver_due()) == [RECEIPT, RECEIPT], "two cash payments"


async def test_the_sponsor_who_paid_gets_the_receipt(harness: Harness) -> None:
    by_sponsor = paid(contact=Contact(email=SPONSOR)).model_copy(update={"payer": "sponsor"})
    await harness.receive(CONTACT, by_sponsor)
    mails = await harness.deliver_due()
    assert subjects(mails, SPONSOR) == [RECEIPT] and subjects(mails) == []


async def test_without_a_stored_contact_the_payments_own_contact_counts(harness: Harness) -> None:
    await harness.receive(paid(contact=Contact(email="typed@checkout.example.com")))
    assert subjects(await harness.deliver_due(), "typed@checkout.example.com") == [RECEIPT]


# --- payments that failed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "what", "to_do"),
    [
        ("insufficient_funds", "not enough money", "enough money, or use another card"),
        ("expired_card", "has expired", "the new one from your bank"),
        ("card_declined", "declined the card", "Call the number on the back"),
        ("do_not_honor", "declined the card", "Call the number on the back"),
        ("authentication_required", "confirm the payment", "Pay again"),
        ("something_new", "did not approve the payment", "ask your bank"),
    ],
)
async def test_a_failure_mail_explains_what_to_do(harness: Harness, code: str, what: str, to_do: str) -> None:
    await harness.receive(CONTACT, failed(code))
    for body in bodies(one(await harness.deliver_due(), FAILED)):
        assert what in body and to_do in body and "https://portal.example.com/enroll" in body
        assert "You were not charged" in body


async def test_no_failure_mail_once_the_payment_was_received(harness: Harness) -> None:
    await harness.receive(CONTACT, failed("card_declined"), paid())
    assert subjects(await harness.deliver_due()) == [RECEIPT]


async def test_an_abandoned_intent_sends_no_mail(harness: Harness) -> None:
    await harness.receive(CONTACT, failed("canceled", final=True))
    assert await harness.deliver_due() == []


async def test_a_debit_that_was_returned(harness: Harness) -> None:
    refs = PaymentRefs(payment_intent="pi_1", checkout_session="cs_1")
    pending = PaymentPending.model_validate({"refs": refs, "amount": usd(489_000), **FIELDS})
    session = PaymentFailed.model_validate({"refs": refs, "code": "async_payment_failed", "final": True, **FIELDS})
    await harness.receive(CONTACT, pending, session)
    assert "Your bank returned the payment" in bodies(one(await harness.deliver_due(), FAILED))[0]
    await harness.receive(failed("insufficient_funds"))
    assert subjects(await harness.deliver_due()) == [FAILED], "the intent reports the same attempt"


async def test_each_attempt_of_an_installment_and_the_last_one_pauses(harness: Harness) -> None:
    await harness.receive(CONTACT, installment(1), step(EnrollmentActivated, 1))
    await harness.deliver_due()
    await harness.receive(failed("card_declined", 1, invoice="in_2", next_attempt_at=RETRY, amount=usd(122_250)))
    first = bodies(one(await harness.deliver_due(), FAILED))[0]
    assert "1,222.50 USD" in first and "We will try again on March 8, 2026" in first and "stays open" in first
    last = failed("expired_card", 4, invoice="in_2", final=True, amount=usd(122_250))
    await harness.receive(last)
    assert len([mail for mail in await harness.deliver_due() if mail["Subject"] == FAILED]) == 1, (
        "the mail about the pause covers it"
    )
    await harness.receive(step(EnrollmentPaused, 2, "past_due"), last, failed("card_declined", 1, invoice="in_2"))
    mails = await harness.deliver_due()
    text = body_text(one(mails, PAUSED))
    assert "(1,222.50 USD)" in text and "The card has expired." in text and "We will try again" not in text
    assert "To pay: https://portal.example.com" in text and subjects(mails).count(FAILED) == 1


# A failed invoice, with its payment page.
PAGE = "https://invoice.example.com/i/in_2"
RETRY = datetime(2026, 3, 8, 9, 0, tzinfo=UTC)
FIRST = failed("card_declined", 1, invoice="in_2", next_attempt_at=RETRY, pay_url=PAGE)
LAST = failed("card_declined", 4, invoice="in_2", final=True, pay_url=PAGE)
PAUSED = "Your enrollment in Barber Apprenticeship is paused"


async def test_of_several_attempts_only_the_latest_sends_a_mail(harness: Harness) -> None:
    await harness.receive(
        CONTACT, installment(1), failed("expired_card", 3, invoice="in_2", next_attempt_at=RETRY), FIRST
    )
    assert "The card has expired" in bodies(one(await harness.deliver_due(), FAILED))[0]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("at_end", [True, False])
async def test_a_pause_is_announced_once_and_never_contradicted(
    harness: Harness, order: tuple[int, ...], at_end: bool
) -> None:
    """An old attempt, the last one and the pause, in any order; the mail about the pause links to the payment page."""
    events = (FIRST, LAST, step(EnrollmentPaused, 2, "past_due"))
    await harness.receive(CONTACT, installment(1), step(EnrollmentActivated, 1), assigned(), LINKS)
    paused = False
    for n in order:
        await harness.receive(envelope_of(n + 20, events[n]))
        paused = paused or n > 0
        if not at_end:
            before = len(harness.mail.messages())
            new = (await harness.deliver_due())[before:]
            assert not paused or all("We will try again" not in bodies(mail)[0] for mail in new)
    mails = await harness.deliver_due()
    announcements = [m for m in mails if m["Subject"] == PAUSED or "enrollment is paused" in body_text(m)]
    assert len(announcements) == 1, subjects(mails)
    assert all("We will not try" not in bodies(mail)[0] for mail in mails), "the mail about the pause covers that"
    assert all(PAGE in body for body in bodies(announcements[0]))
    if at_end:
        assert [subject for subject in subjects(mails) if subject in (FAILED, PAUSED)] == [PAUSED]


async def test_a_second_pause_and_a_second_missed_payment_have_their_own_mails(harness: Harness) -> None:
    await harness.receive(
        CONTACT, installment(1), LAST, step(EnrollmentActivated, 1), step(EnrollmentPaused, 2, "past_due")
    )
    await harness.deliver_due()
    await harness.receive(failed("insufficient_funds", 4, invoice="in_3", final=True))
    assert subjects(await harness.deliver_due()).count(FAILED) == 1
    for n in (2, 3):
        await harness.receive(installment(n))
    await harness.receive(step(EnrollmentResumed, 3))
    await harness.deliver_due()
    await harness.receive(failed("expired_card", 4, invoice="in_4", final=True), step(EnrollmentPaused, 4, "past_due"))
    assert subjects(await harness.deliver_due()).count(PAUSED) == 2


async def test_a_paid_installment_sends_no_failure_mail(harness: Harness) -> None:
    """Enrollment's event about the resumption has not arrived yet."""
    await harness.receive(CONTACT, installment(1), LAST, step(EnrollmentPaused, 2, "past_due"), installment(2))
    assert PAUSED not in subjects(await harness.deliver_due())


async def test_a_sponsor_is_notified_of_the_payment_and_the_student_of_the_pause(harness: Harness) -> None:
    by_sponsor = {"payer": "sponsor", "contact": Contact(email=SPONSOR)}
    await harness.receive(CONTACT, installment(1).model_copy(update=by_sponsor), LAST.model_copy(update=by_sponsor))
    await harness.receive(step(EnrollmentPaused, 2, "past_due"))
    mails = await harness.deliver_due()
    assert FAILED in subjects(mails, SPONSOR) and subjects(mails) == [PAUSED]
    assert PAGE in bodies(one(mails, FAILED))[0] and "student: Ann Archer" in bodies(one(mails, FAILED))[0]
    assert PAGE not in bodies(one(mails, PAUSED))[0] and "contact your sponsor" in bodies(one(mails, PAUSED))[0]


async def test_no_mail_announces_a_pause_that_the_policy_excludes(harness: Harness) -> None:
    lenient = replace(harness.rules, policy=Policy(past_due_pauses=False, full_refund_withdraws=False))
    harness = Harness(harness.database, harness.mail, rules=lenient)
    await harness.receive(CONTACT, installment(1), LAST, step(EnrollmentActivated, 1))
    text = body_text(one(await harness.deliver_due(), FAILED))
    assert "paused" not in text and "Your enrollment stays open; please pay the amount due" in text and PAGE in text


async def test_a_card_declined_before_the_debit_sends_no_mail(harness: Harness) -> None:
    refs = PaymentRefs(payment_intent="pi_1", charge="py_1")
    pending = PaymentPending.model_validate({"refs": refs, "amount": usd(489_000), **FIELDS})
    declined = failed("card_declined").model_copy(update={"refs": PaymentRefs(payment_intent="pi_1", charge="ch_1")})
    await harness.receive(CONTACT, pending, declined)
    assert FAILED not in subjects(await harness.deliver_due()), "the debit is under way"
