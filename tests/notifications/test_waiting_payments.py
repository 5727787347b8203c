"""Payments that are not complete yet: bank debits that take days, and payments for which the payer has to act."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ANN,
    BARBER,
    CONTACT,
    Harness,
    bodies,
    body_text,
    envelope_of,
    one,
    paid,
    subjects,
)
from tests.notifications.test_installments import PAGE, STARTED_PLAN, of_checkout
from tests.notifications.test_unpaid_installments import CREATED, LINK

from contracts.money import usd
from contracts.payments import PaymentActionRequired, PaymentFailed, PaymentPending, PaymentRefs, PaymentSucceeded
from contracts.people import Contact

SUBMITTED = "Your bank debit of 4,890.00 USD for Barber Apprenticeship was submitted"
VERIFY = "https://payments.example.com/microdeposit/pacs_1"
FIELDS: dict[str, Any] = {
    "purchase_id": UUID(int=1),
    "student_id": ANN,
    "program": BARBER,
    "payer": "student",
    "price": usd(489_000),
}
SESSION = PaymentPending(
    refs=PaymentRefs(checkout_session="cs_1", payment_intent="pi_1"), amount=usd(489_000), **FIELDS
)


def pending(charge: str = "py_1") -> PaymentPending:
    refs = PaymentRefs(payment_intent="pi_1", charge=charge)
    return PaymentPending(refs=refs, amount=usd(489_000), method="us_bank_account", **FIELDS)


def returned(charge: str = "py_1") -> PaymentFailed:
    return PaymentFailed(refs=PaymentRefs(payment_intent="pi_1", charge=charge), code="insufficient_funds", **FIELDS)


def action(action: str, url: str | None = None, **more: Any) -> PaymentActionRequired:
    fields = {"refs": PaymentRefs(payment_intent="pi_1"), "amount": usd(489_000), "action": action, "url": url}
    return PaymentActionRequired.model_validate(fields | FIELDS | more)


# --- debits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(2))))
@pytest.mark.parametrize("at_end", [True, False])
async def test_a_submitted_debit_has_one_mail(harness: Harness, order: tuple[int, ...], at_end: bool) -> None:
    await harness.receive(CONTACT)
    for n in order:
        await harness.receive(envelope_of(n + 10, (pending(), SESSION)[n]))
        if not at_end:
            await harness.deliver_due()
    mails = await harness.deliver_due()
    assert subjects(mails) == [SUBMITTED]
    for body in bodies(mails[0]):
        assert "up to 4 business days" in body and "have not received the money yet" in body
        assert "Your enrollment opens when it has arrived" in body and "do not pay again" in body


async def test_a_debit_that_has_settled_has_a_receipt_only(harness: Harness) -> None:
    await harness.receive(CONTACT, pending(), paid(payment_intent="pi_1", charge="py_1"))
    assert subjects(await harness.deliver_due()) == ["Receipt: 4,890.00 USD for Barber Apprenticeship"]


async def test_a_debit_that_is_presented_again_has_a_mail_again(harness: Harness) -> None:
    await harness.receive(CONTACT, pending())
    await harness.deliver_due()
    await harness.receive(returned(), pending("py_2"))
    assert subjects(await harness.deliver_due()) == [SUBMITTED] * 2


async def test_a_sponsors_debit_is_the_sponsors(harness: Harness) -> None:
    by_sponsor = {"payer": "sponsor", "contact": Contact(email="finance@sponsor.example.com")}
    await harness.receive(CONTACT, pending().model_copy(update=by_sponsor))
    mails = await harness.deliver_due()
    assert subjects(mails, "finance@sponsor.example.com") == [SUBMITTED] and subjects(mails) == []
    assert "student: Ann Archer" in body_text(mails[0]) and "The student's enrollment opens" in body_text(mails[0])


# --- the payer has to act ---------------------------------------------------------------------------------------------


async def test_a_bank_account_has_to_be_verified(harness: Harness) -> None:
    await harness.receive(CONTACT, action("verify_bank_account", VERIFY), action("verify_bank_account", VERIFY))
    mail = one(await harness.deliver_due(), "Please verify your bank account for Barber Apprenticeship")
    assert all(VERIFY in body for body in bodies(mail)) and "nothing has been charged" in body_text(mail)


async def test_a_payment_has_to_be_confirmed(harness: Harness) -> None:
    await harness.receive(CONTACT, action("authenticate", "https://hooks.example.com/3ds"))
    mail = one(await harness.deliver_due(), "Please confirm your payment for Barber Apprenticeship")
    assert "https://hooks.example.com/3ds" in body_text(mail) and "your bank asks you to confirm" in body_text(mail)


async def test_without_a_page_only_the_one_who_is_paying_can_confirm(harness: Harness) -> None:
    await harness.receive(CONTACT, action("authenticate"), action("other"))
    assert await harness.deliver_due() == []


async def test_without_a_page_of_its_own_the_purchases_link_is_used(harness: Harness) -> None:
    await harness.receive(CONTACT, CREATED.model_copy(update={"payer": "student"}), action("authenticate"))
    assert LINK in body_text(one(await harness.deliver_due(), "Please confirm your payment"))


LATER = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "event",
    [
        paid(payment_intent="pi_1"),
        pending(),
        PaymentFailed(refs=PaymentRefs(payment_intent="pi_1"), code="card_declined", **FIELDS),
    ],
)
@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_an_action_that_was_taken_or_is_out_of_date_has_no_mail(
    harness: Harness, event: PaymentSucceeded | PaymentPending | PaymentFailed, order: tuple[int, ...]
) -> None:
    required = action("authenticate", VERIFY, as_of=datetime(2026, 3, 3, tzinfo=UTC))
    events = (required, event.model_copy(update={"as_of": LATER}))
    await harness.receive(CONTACT, *(envelope_of(n + 10, events[n]) for n in order))
    assert not [s for s in subjects(await harness.deliver_due()) if "confirm" in s]


@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_an_installment_to_confirm_has_one_mail(harness: Harness, order: tuple[int, ...]) -> None:
    """Stripe asks for it, and checkout publishes that the attempt failed for that reason."""
    refs = PaymentRefs(invoice="in_2", payment_intent="pi_2_1", installment="i2")
    events = (action("authenticate", VERIFY, refs=refs), of_checkout(1, "authentication_required"))
    await harness.receive(*STARTED_PLAN, *(envelope_of(n + 20, events[n]) for n in order))
    mails = await harness.deliver_due()
    found = [s for s in subjects(mails) if "confirm" in s or "did not go through" in s]
    assert found == ["Your payment for Barber Apprenticeship did not go through"]
    text = body_text(one(mails, "did not go through"))
    assert "Your bank asked you to confirm the payment" in text and PAGE in text
    assert "We will try again" not in text, "only the payer can confirm it"
