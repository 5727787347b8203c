"""Refunds and payment links for sponsors: one mail for each cause, whichever references report it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ADMIN,
    ANN,
    BARBER,
    CONTACT,
    EMAIL,
    Harness,
    bodies,
    envelope_of,
    one,
    paid,
    step,
    subjects,
)

from contracts.checkout import PurchaseCreated, RefundDecided, RefundRequested
from contracts.enrollment import EnrollmentActivated
from contracts.money import usd
from contracts.payments import (
    PaymentEvent,
    PaymentRefs,
    PaymentRefunded,
)
from contracts.people import Contact
from ledger.policy import Policy

PURCHASE = UUID(int=1)
RECEIPT = "Receipt: 4,890.00 USD for Barber Apprenticeship"
SPONSOR = "finance@sponsor.example.com"
FIELDS = {"purchase_id": PURCHASE, "student_id": ANN, "program": BARBER, "payer": "student"}


def charge(total: int, before: int) -> PaymentRefunded:
    refs = PaymentRefs(charge="ch_1", payment_intent="pi_1")
    return PaymentRefunded(refs=refs, total=usd(total), before=usd(before), of=usd(489_000))


def refund(id: str, amount: int, status: str = "succeeded") -> PaymentRefunded:
    refs = PaymentRefs(payment_intent="pi_1")
    return PaymentRefunded.model_validate({"refs": refs, "refund_id": id, "amount": usd(amount), "status": status})


@pytest.mark.parametrize("withdraws", [True, False])
async def test_a_full_refund_mail_follows_the_policy(harness: Harness, withdraws: bool) -> None:
    rules = replace(harness.rules, policy=Policy(full_refund_withdraws=withdraws))
    harness = Harness(harness.database, harness.mail, rules=rules)
    await harness.receive(CONTACT, paid(payment_intent="pi_1", charge="ch_1"), charge(489_000, 0))
    for body in bodies(one(await harness.deliver_due(), "Full refund")):
        assert ("This refund does not change your enrollment" in body) is not withdraws


async def test_a_full_refund(harness: Harness) -> None:
    await harness.receive(
        CONTACT, paid(), charge(489_000, 0), refund("re_1", 489_000, "pending"), refund("re_1", 489_000)
    )
    mail = one(await harness.deliver_due(), "refund")
    assert mail["Subject"] == "Full refund: 4,890.00 USD for Barber Apprenticeship"
    assert "5 to 10 business days" in bodies(mail)[0]


REFUND_EVENTS: tuple[PaymentEvent, ...] = (
    charge(10_000, 0),
    charge(20_000, 10_000),
    charge(50_000, 20_000),
    refund("re_1", 10_000),
    refund("re_2", 10_000),
    refund("re_3", 30_000),
)


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (3, 0, 4, 1, 5, 2), (2, 4, 0, 3, 5, 1)])
@pytest.mark.parametrize("at_end", [True, False])
async def test_each_partial_refund_once_whichever_event_reports_it(
    harness: Harness, order: tuple[int, ...], at_end: bool
) -> None:
    await harness.receive(CONTACT, paid())
    for n in order:
        await harness.receive(envelope_of(n + 10, REFUND_EVENTS[n]))
        if not at_end:
            await harness.deliver_due()
    found = [subject for subject in subjects(await harness.deliver_due()) if "refund" in subject]
    if at_end:
        assert found == ["Partial refund: 500.00 USD for Barber Apprenticeship"], "made together, announced together"
    else:
        assert found == [
            *["Partial refund: 100.00 USD for Barber Apprenticeship"] * 2,
            "Partial refund: 300.00 USD for Barber Apprenticeship",
        ]


async def test_a_refund_without_its_payment_waits(harness: Harness) -> None:
    await harness.receive(CONTACT, charge(489_000, 0))
    assert await harness.deliver_due() == []
    await harness.receive(paid())
    assert len(subjects(await harness.deliver_due())) == 2


async def test_a_request_and_its_decision(harness: Harness) -> None:
    for n, decision in enumerate(("rejected", "approved")):
        request = RefundRequested(refund_request_id=UUID(int=n), purchase_id=PURCHASE, student_id=ANN, reason="moving")
        decided = RefundDecided.model_validate(
            {"refund_request_id": UUID(int=n), "purchase_id": PURCHASE, "student_id": ANN, "decision": decision}
            | ({"amount": usd(10_000)} if decision == "approved" else {})
        )
        await harness.receive(CONTACT, request)
        await harness.deliver_due()
        await harness.receive(decided)
    mails = await harness.deliver_due()
    assert subjects(mails) == [
        "About your refund request",
        *["We received your refund request"] * 2,
        "Your refund request is approved",
    ]
    assert all("100.00 USD" in body for body in bodies(one(mails, "approved")))
    assert all("moving" not in body for mail in mails if EMAIL in mail["X-Envelope-To"] for body in bodies(mail))


# --- sponsors ---------------------------------------------------------------------------------------------------------


def asked(payer: str) -> PurchaseCreated:
    return PurchaseCreated.model_validate(
        {
            "purchase_id": PURCHASE,
            "student_id": ANN,
            "program": BARBER,
            "amount": usd(489_000),
            "payer": payer,
            "funding_source": "WIOA",
            "payment_type": "full",
            "checkout_url": "https://checkout.example.com/c/pay/cs_1?x=1&y=2",
            "expires_at": datetime(2026, 3, 4, 14, 5, tzinfo=UTC),
            "payer_contact": Contact(email=SPONSOR, name="Sponsor Finance"),
        }
    )


async def test_a_sponsor_gets_a_payment_link(harness: Harness) -> None:
    await harness.receive(asked("sponsor"))
    mail = one(await harness.deliver_due(), "Payment requested: 4,890.00 USD")
    assert SPONSOR in str(mail["X-Envelope-To"])
    text, html = bodies(mail)
    assert "https://checkout.example.com/c/pay/cs_1?x=1&y=2" in text and "WIOA" in text
    assert f"student {ANN}" in mail["Subject"] and f"Student: {ANN}" in text and str(ANN) in html
    assert text.startswith("Hello,") and "Sponsor Finance" not in text + html
    assert "by March 4, 2026 at 2:05 PM UTC" in text
    assert 'href="https://checkout.example.com/c/pay/cs_1?x=1&amp;y=2"' in html


async def test_a_sponsor_gets_no_link_to_a_page_that_is_not_the_schools(harness: Harness) -> None:
    """A forged purchase would put a mail of the school, with a button to anybody's page, in front of its sponsor."""
    await harness.receive(asked("sponsor").model_copy(update={"checkout_url": "https://evil.example/pay"}))
    mails = await harness.deliver_due()
    assert [mail["X-Envelope-To"] for mail in mails] == [ADMIN]
    (alert,) = mails
    assert "unknown host" in alert["Subject"]
    assert all("evil[.]example" in body and "evil.example" not in body for body in bodies(alert))


async def test_a_sponsors_mail_names_the_student(harness: Harness) -> None:
    await harness.receive(CONTACT, asked("sponsor"))
    (mail,) = await harness.deliver_due()
    assert mail["Subject"] == "Payment requested: 4,890.00 USD for Ann Archer, Barber Apprenticeship"
    for body in bodies(mail):
        assert "Ann Archer" in body and "WIOA" in body and EMAIL not in body


async def test_a_student_who_pays_gets_no_payment_link(harness: Harness) -> None:
    await harness.receive(CONTACT, asked("student"))
    assert await harness.deliver_due() == []


async def test_a_sponsor_who_has_paid_is_not_asked_again(harness: Harness) -> None:
    await harness.receive(paid().model_copy(update={"payer": "sponsor"}), asked("sponsor"))
    assert [str(mail["Subject"]) for mail in await harness.deliver_due()] == [RECEIPT]


async def test_a_sponsors_address_is_never_used_for_the_student(harness: Harness) -> None:
    by_sponsor = paid(contact=Contact(email=SPONSOR)).model_copy(update={"payer": "sponsor"})
    await harness.receive(asked("sponsor"), by_sponsor, step(EnrollmentActivated, 1))
    mails = await harness.deliver_due()
    assert subjects(mails, SPONSOR) == [RECEIPT]
    await harness.receive(CONTACT)
    assert subjects(await harness.deliver_due(), EMAIL) == ["Welcome to Barber Apprenticeship"]
