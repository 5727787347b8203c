"""Installments that checkout collects: one mail for each attempt, with what happens next, as long as it is owed."""

from __future__ import annotations

import random
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
    step,
    subjects,
)

from contracts.enrollment import EnrollmentActivated, EnrollmentPaused
from contracts.envelope import Event
from contracts.money import usd
from contracts.payments import PaymentExpired, PaymentFailed, PaymentPending, PaymentRefs, PaymentSucceeded
from contracts.people import Contact

SPONSOR = "finance@sponsor.example.com"
FAILED = "Your payment for Barber Apprenticeship did not go through"
PAUSED = "Your enrollment in Barber Apprenticeship is paused"
RECEIPT = "Receipt: 1,222.50 USD for Barber Apprenticeship"
PAGE = "https://portal.example.com/pay/i2"
DAYS = [datetime(2026, 3, day, 9, 0, tzinfo=UTC) for day in (6, 9, 13)]
SHARE = usd(122_250)
FIELDS: dict[str, Any] = {
    "purchase_id": UUID(int=1),
    "student_id": ANN,
    "program": BARBER,
    "payer": "student",
    "installments": 4,
    "price": usd(489_000),
}


def received(n: int, attempt: int = 0) -> PaymentSucceeded:
    refs = PaymentRefs(payment_intent=f"pi_{n}_{attempt}", charge=f"ch_{n}_{attempt}", installment=f"i{n}")
    return PaymentSucceeded(refs=refs, amount=SHARE, **FIELDS)


def of_gateway(attempt: int, code: str = "card_declined") -> PaymentFailed:
    refs = PaymentRefs(payment_intent=f"pi_2_{attempt}", charge=f"ch_2_{attempt}", installment="i2")
    return PaymentFailed(refs=refs, amount=SHARE, code=code, **FIELDS)


def of_checkout(attempt: int, code: str = "card_declined", *, final: bool = False) -> PaymentFailed:
    return PaymentFailed(
        refs=PaymentRefs(payment_intent=f"pi_2_{attempt}", installment="i2"),
        amount=SHARE,
        code=code,
        attempt=attempt,
        final=final,
        next_attempt_at=None if final else DAYS[attempt - 1],
        pay_url=PAGE,
        **FIELDS,
    )


STARTED_PLAN = (CONTACT, received(1), step(EnrollmentActivated, 1))


async def start_plan(harness: Harness) -> None:
    await harness.receive(*STARTED_PLAN)
    await harness.deliver_due()


async def test_the_gateways_event_alone_sends_no_mail(harness: Harness) -> None:
    await start_plan(harness)
    await harness.receive(of_gateway(1))
    assert FAILED not in subjects(await harness.deliver_due())


async def test_a_returned_bank_debit_of_the_first_installment_sends_a_mail(harness: Harness) -> None:
    """Checkout has nothing to collect yet, so it publishes no event about it."""
    pending = PaymentPending(refs=of_gateway(1).refs, amount=SHARE, **FIELDS)
    await harness.receive(CONTACT, pending, of_gateway(1, "insufficient_funds"))
    text = body_text(one(await harness.deliver_due(), FAILED))
    assert "not enough money" in text and "Your enrollment opens as soon as a payment goes through" in text


async def test_each_attempt_once_with_what_happens_next(harness: Harness) -> None:
    await start_plan(harness)
    attempts = [(of_gateway(1, "expired_card"), of_checkout(1, "unknown")), (of_checkout(2, "insufficient_funds"),)]
    for events in attempts:
        for event in (*events, *events):
            await harness.receive(event)
            await harness.deliver_due()
    mails = [mail for mail in await harness.deliver_due() if mail["Subject"] == FAILED]
    assert len(mails) == 2
    for mail, why, day in zip(mails, ("card has expired", "not enough money"), ("March 6", "March 9"), strict=True):
        text, html = bodies(mail)
        assert PAGE in html
        for each in (
            "1,222.50 USD",
            why,
            f"We will try again on {day}, 2026",
            "enrollment stays open in the meantime",
            PAGE,
        ):
            assert each in " ".join(text.split())


async def test_the_mail_about_the_pause_explains_the_last_attempt(harness: Harness) -> None:
    await start_plan(harness)
    await harness.receive(of_checkout(3, final=True))
    assert FAILED not in subjects(await harness.deliver_due()), "the mail about the pause covers it"
    await harness.receive(step(EnrollmentPaused, 2, "past_due"), of_gateway(3))
    mails = await harness.deliver_due()
    text = body_text(one(mails, PAUSED))
    for each in ("1,222.50 USD", "declined the card", "opens again automatically as soon as", PAGE):
        assert each in text
    assert PAGE in bodies(one(mails, PAUSED))[1] and FAILED not in subjects(mails)


@pytest.mark.parametrize("seed", range(8))
async def test_any_order_of_everything_is_one_mail(harness: Harness, seed: int) -> None:
    events: list[Event] = [*STARTED_PLAN, step(EnrollmentPaused, 2, "past_due")]
    for attempt in (1, 2, 3):
        events += [of_gateway(attempt), of_checkout(attempt, final=attempt == 3)]
    arrivals = [envelope_of(n, event) for n, event in enumerate(events)] * 2
    random.Random(seed).shuffle(arrivals)
    await harness.receive(*arrivals)
    assert [s for s in subjects(await harness.deliver_due()) if s in (FAILED, PAUSED)] == [PAUSED]


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_a_paid_installment_sends_no_failure_mail(harness: Harness, order: tuple[int, ...]) -> None:
    await start_plan(harness)
    events = (of_gateway(1), of_checkout(1), received(2, attempt=9))
    await harness.receive(*(envelope_of(n + 20, events[n]) for n in order))
    assert subjects(await harness.deliver_due()) == [RECEIPT, RECEIPT, "Welcome to Barber Apprenticeship"]


async def test_a_payment_after_the_mail_ends_the_mails(harness: Harness) -> None:
    await start_plan(harness)
    await harness.receive(of_checkout(1))
    await harness.deliver_due()
    await harness.receive(received(2, attempt=9), of_checkout(2))
    assert subjects(await harness.deliver_due()).count(FAILED) == 1


async def test_an_expired_session_does_not_end_an_installment_but_voiding_it_does(harness: Harness) -> None:
    await start_plan(harness)
    page = PaymentExpired(refs=PaymentRefs(checkout_session="cs_9", installment="i2"), **FIELDS)
    await harness.receive(page, of_checkout(1))
    assert subjects(await harness.deliver_due()).count(FAILED) == 1
    await harness.receive(PaymentExpired(refs=PaymentRefs(installment="i2"), **FIELDS), of_checkout(2))
    assert subjects(await harness.deliver_due()).count(FAILED) == 1


async def test_a_sponsor_gets_the_mails_about_its_installment(harness: Harness) -> None:
    by_sponsor = {"payer": "sponsor", "contact": Contact(email=SPONSOR)}
    await harness.receive(CONTACT, received(1).model_copy(update=by_sponsor), step(EnrollmentActivated, 1))
    await harness.receive(of_checkout(1).model_copy(update=by_sponsor))
    mails = await harness.deliver_due()
    text = body_text(one(mails, FAILED))
    assert (
        FAILED in subjects(mails, SPONSOR) and "student: Ann Archer" in text and "We will try again on March 6" in text
    )
    last = of_checkout(3, final=True).model_copy(update=by_sponsor)
    await harness.receive(last, step(EnrollmentPaused, 2, "past_due"))
    mails = await harness.deliver_due()
    text = body_text([mail for mail in mails if mail["Subject"] == FAILED][-1])
    assert subjects(mails, SPONSOR).count(FAILED) == 2 and PAUSED in subjects(mails)
    assert "the student's enrollment is paused until it is paid" in text and "opens again" in text and PAGE in text
