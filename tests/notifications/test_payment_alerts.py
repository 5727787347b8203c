"""Alerts about money: one for each cause, exactly once, with what an admin can do about it."""

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
    body_text,
    envelope_of,
    one,
    paid,
    step,
    subjects,
)
from tests.notifications.test_alerts import Chat, chat, with_webhook
from tests.notifications.test_installments import FIELDS, STARTED_PLAN, of_checkout
from tests.notifications.test_item_kinds import CLIPPER, bought, membership
from tests.notifications.test_verdict import TEN_DOLLARS, UNDERPAID, part_paid

from contracts.checkout import CollectionStopped, PaymentUnmatched
from contracts.enrollment import EnrollmentActivated, EnrollmentPaused
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorUnavailable
from contracts.money import usd
from contracts.payments import (
    PaymentDisputeOpened,
    PaymentFailed,
    PaymentFraudWarned,
    PaymentPending,
    PaymentRefs,
    PaymentSucceeded,
    PurchaseAccepted,
    PurchaseRecorded,
    SubscriptionScheduleEnded,
)
from contracts.people import Program, purchase_uuid

__all__ = ["chat"]
PURCHASE = UUID(int=1)
OVERDUE = "[Admin] Payment failed for good: 1,222.50 USD, Barber Apprenticeship"
PAUSED = "[Admin] Enrollment paused: Barber Apprenticeship"
PAUSE = step(EnrollmentPaused, 2, "past_due")


async def alerts(harness: Harness) -> list[str]:
    return subjects(await harness.deliver_due(), ADMIN)


# --- not paid ---------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_is_retried_alerts_nobody(harness: Harness) -> None:
    await harness.receive(*STARTED_PLAN, of_checkout(1), of_checkout(2))
    assert await alerts(harness) == []


@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_an_overdue_installment_and_its_pause_are_one_alert(harness: Harness, order: tuple[int, ...]) -> None:
    events = (of_checkout(3, final=True), PAUSE)
    await harness.receive(*STARTED_PLAN, *(envelope_of(n + 20, events[n]) for n in order))
    await harness.deliver_due()
    await harness.receive(of_checkout(3, final=True))
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == [OVERDUE]
    text = body_text(one(mails, OVERDUE))
    assert "Enrollment: paused until it is paid" in text and "Code: card_declined" in text and "Ann" not in text


async def test_a_pause_without_a_cause_on_record_is_alerted(harness: Harness) -> None:
    fields: dict[str, Any] = {"installments": 4, "price": usd(20_000)}
    ended = membership(status="canceled", program=BARBER, tier=None)
    await harness.receive(CONTACT, bought(BARBER, **fields), step(EnrollmentActivated, 1), ended)
    await harness.receive(step(EnrollmentPaused, 2, "plan_canceled"))
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == [PAUSED] and "Reason: plan_canceled" in body_text(one(mails, PAUSED))


async def test_a_debit_that_failed_for_good_is_alerted_unless_it_was_paid_since(harness: Harness) -> None:
    refs = PaymentRefs(payment_intent="pi_1", checkout_session="cs_1")
    fields = {name: FIELDS[name] for name in ("purchase_id", "student_id", "program", "payer")}
    pending = PaymentPending.model_validate({"refs": refs, "amount": usd(489_000), **fields})
    bounced = PaymentFailed.model_validate(
        {"refs": refs, "amount": usd(489_000), "code": "async_payment_failed", "final": True, **fields}
    )
    await harness.receive(CONTACT, pending, bounced)
    assert await alerts(harness) == ["[Admin] Payment failed for good: 4,890.00 USD, Barber Apprenticeship"]
    await harness.reset()
    await harness.receive(CONTACT, pending, bounced, paid(payment_intent="pi_2"))
    assert await alerts(harness) == []


async def test_an_invoice_that_stays_a_draft_is_the_admins_concern(harness: Harness) -> None:
    refs = PaymentRefs(invoice="in_7", subscription="sub_1")
    draft = PaymentFailed(refs=refs, code="customer_tax_location_invalid", amount=usd(122_250), **FIELDS)
    await harness.receive(*STARTED_PLAN, draft, draft)
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == ["[Admin] Stripe could not finalize an invoice: Barber Apprenticeship"]
    assert not [subject for subject in subjects(mails) if "did not go through" in subject]


async def test_an_invoice_given_up_at_stripe_was_not_declined(harness: Harness) -> None:
    refs = PaymentRefs(invoice="in_7", subscription="sub_1")
    given_up = PaymentFailed(refs=refs, code="marked_uncollectible", attempt=0, final=True, amount=usd(5), **FIELDS)
    await harness.receive(*STARTED_PLAN, given_up, PAUSE)
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == ["[Admin] Payment overdue, no more reminders: 0.05 USD, Barber Apprenticeship"]
    assert "was due and has not been paid" in body_text(one(mails, "is paused"))


async def test_an_abandoned_intent_alerts_nobody(harness: Harness) -> None:
    canceled = PaymentFailed(refs=PaymentRefs(payment_intent="pi_1"), code="canceled", final=True, **FIELDS)
    await harness.receive(CONTACT, canceled)
    assert await alerts(harness) == []


# --- underpaid --------------------------------------------------------------------------------------------------------


async def test_an_underpaid_enrollment_is_alerted_once_with_how_to_accept_it(harness: Harness) -> None:
    await harness.receive(CONTACT, TEN_DOLLARS, UNDERPAID, TEN_DOLLARS)
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == ["[Admin] Paid too little, enrollment not open: Fades Track"]
    text = body_text(one(mails, "Paid too little"))
    assert "Missing: 989.00 USD" in text and f"POST /api/admin/purchases/{PURCHASE}/accept" in text


@pytest.mark.parametrize(
    "then",
    [
        part_paid(98_900, n=2),
        PurchaseAccepted(refs=PaymentRefs(), purchase_id=PURCHASE, amount=usd(98_900)),
    ],
)
async def test_what_was_paid_or_accepted_in_time_is_not_alerted(harness: Harness, then: Event) -> None:
    await harness.receive(CONTACT, TEN_DOLLARS, then)
    assert await alerts(harness) == []


# --- decided elsewhere ------------------------------------------------------------------------------------------------

WARNED = PaymentFraudWarned(refs=PaymentRefs(charge="ch_1", payment_intent="pi_1"), fraud_type="card_never_received")
BOUGHT = paid(payment_intent="pi_1", charge="ch_1")


@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_a_fraud_warning_is_alerted_once(harness: Harness, order: tuple[int, ...]) -> None:
    events = (BOUGHT, WARNED)
    await harness.receive(CONTACT)
    for n in (*order, *order):
        await harness.receive(envelope_of(n + 10, events[n]))
        await harness.deliver_due()
    mails = await harness.deliver_due()
    title = "The card's issuer suspects fraud: 4,890.00 USD, Barber Apprenticeship"
    assert subjects(mails, ADMIN) == [f"[Admin] {title}"]
    assert "card_never_received" in body_text(one(mails, "fraud"))


@pytest.mark.parametrize(
    "event",
    [
        WARNED.model_copy(update={"actionable": False}),
        PaymentDisputeOpened(
            refs=PaymentRefs(charge="ch_1"), dispute_id="du_1", status="needs_response", amount=usd(489_000)
        ),
    ],
)
async def test_a_warning_that_can_no_longer_be_acted_on_alerts_nobody(harness: Harness, event: Event) -> None:
    await harness.receive(CONTACT, BOUGHT, WARNED, event)
    assert not [subject for subject in await alerts(harness) if "fraud" in subject]


async def test_a_released_schedule_goes_on_charging(harness: Harness) -> None:
    refs = PaymentRefs(subscription="sub_1")
    released = SubscriptionScheduleEnded(refs=refs, purchase_id=PURCHASE, outcome="released")
    await harness.receive(CONTACT, bought(BARBER), released, released)
    mails = await harness.deliver_due()
    title = "A plan at Stripe goes on charging without an end: Barber Apprenticeship"
    assert subjects(mails, ADMIN) == [f"[Admin] {title}"] and "sub_1" in body_text(one(mails, "goes on charging"))


async def test_a_canceled_schedule_has_the_alert_about_the_pause(harness: Harness) -> None:
    fields: dict[str, Any] = {"installments": 4, "price": usd(20_000)}
    canceled = SubscriptionScheduleEnded(
        refs=PaymentRefs(subscription="sub_1"), purchase_id=PURCHASE, outcome="canceled"
    )
    await harness.receive(CONTACT, bought(BARBER, **fields), step(EnrollmentActivated, 1), canceled)
    await harness.receive(step(EnrollmentPaused, 2, "plan_canceled"))
    assert await alerts(harness) == [PAUSED]


# --- published by checkout --------------------------------------------------------------------------------------------

STOPPED = CollectionStopped(
    purchase_id=PURCHASE,
    student_id=ANN,
    code="received_more_than_owed",
    received=usd(500_000),
    owed=usd(489_000),
)
UNMATCHED = PaymentUnmatched(
    refs=PaymentRefs(payment_intent="pi_9", checkout_session="cs_9"), amount=usd(4_900), code="no_item"
)


async def test_a_collection_that_stopped(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(), STOPPED)
    await harness.deliver_due()
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == [
        "[Admin] Nothing more is charged for a purchase: its amounts contradict one another"
    ]
    text = body_text(one(mails, "Nothing more is charged"))
    assert "More was received than is owed." in text and "5,000.00 USD" in text and str(PURCHASE) in text


async def test_an_unmatched_payment_whichever_reference_reports_it(harness: Harness) -> None:
    intent = UNMATCHED.model_copy(update={"refs": PaymentRefs(payment_intent="pi_9")})
    for event in (intent, UNMATCHED, intent):
        await harness.receive(event)
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == ["[Admin] Money was received that belongs to no purchase: 49.00 USD"]
    text = body_text(one(mails, "belongs to no purchase"))
    assert "It names no item." in text and "/api/admin/unmatched-payments" in text


async def test_a_payment_that_was_assigned_in_time_is_not_alerted(harness: Harness) -> None:
    purchase_id = purchase_uuid("cs_9")
    external = PaymentSucceeded(
        refs=UNMATCHED.refs, purchase_id=purchase_id, student_id=ANN, program=BARBER, amount=usd(4_900)
    )
    recorded = PurchaseRecorded(
        refs=UNMATCHED.refs,
        purchase_id=purchase_id,
        student_id=ANN,
        program=BARBER,
        payer="student",
        price=usd(4_900),
    )
    await harness.receive(CONTACT, external, UNMATCHED, recorded)
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == [] and subjects(mails) == ["Receipt: 49.00 USD for Barber Apprenticeship"]


async def test_money_after_an_end_is_alerted_although_its_purchase_is_on_record(harness: Harness) -> None:
    late = UNMATCHED.model_copy(update={"code": "after_end", "refs": PaymentRefs(payment_intent="pi_1")})
    await harness.receive(CONTACT, paid(), late)
    text = body_text(one(await harness.deliver_due(), "belongs to no purchase"))
    assert "It arrived after its purchase had ended." in text


# --- both channels ----------------------------------------------------------------------------------------------------


async def test_the_webhook_gets_the_same_alerts_once(harness: Harness, chat: Chat) -> None:
    harness = with_webhook(harness, chat.url)
    events = [harness.envelope(e) for e in (*STARTED_PLAN, of_checkout(3, final=True), PAUSE, STOPPED, UNMATCHED)]
    await harness.receive(*events)
    await harness.deliver_due()
    await harness.receive(*events)
    assert len(subjects(await harness.deliver_due(), ADMIN)) == 3
    assert sorted(each["text"].split("*")[1] for each in chat.got) == [
        "Money was received that belongs to no purchase: 49.00 USD",
        "Nothing more is charged for a purchase: its amounts contradict one another",
        "Payment failed for good: 1,222.50 USD, Barber Apprenticeship",
    ]


# --- items that nobody teaches, and items without an enrollment -------------------------------------------------------


async def test_an_item_that_nobody_teaches_has_no_instructor_to_find(harness: Harness) -> None:
    untaught = BARBER.model_copy(update={"untaught": True, "provider": None})
    opened = step(EnrollmentActivated, 1).model_copy(update={"program": untaught})
    await harness.receive(CONTACT, opened, InstructorUnavailable(student_id=ANN, program=untaught))
    mails = await harness.deliver_due()
    assert subjects(mails, ADMIN) == []
    assert "instructor" not in body_text(one(mails, "Welcome")).lower()


async def test_an_instructor_is_only_promised_when_one_is_looked_for(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1))
    assert "instructor" not in body_text(one(await harness.deliver_due(), "Welcome")).lower()
    await harness.reset()
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), InstructorUnavailable(student_id=ANN, program=BARBER))
    assert "We are finding an instructor for you" in body_text(one(await harness.deliver_due(), "Welcome"))


CAPE = Program(slug="cape", id="m-9", name="Barber Cape", kind="merchandise")


async def test_merchandise_has_a_receipt_and_may_be_bought_again(harness: Harness) -> None:
    first, second = bought(CAPE), paid(5_000, n=2, payment_intent="pi_2").model_copy(update={"program": CAPE})
    await harness.receive(CONTACT, first, second)
    mails = await harness.deliver_due()
    assert subjects(mails) == ["Receipt: 50.00 USD for Barber Cape"] * 2 and subjects(mails, ADMIN) == []
    assert all("enrollment" not in body_text(mail) for mail in mails)


async def test_a_bundle_with_merchandise_has_one_receipt(harness: Harness) -> None:
    parts = tuple(item for item in (CLIPPER, CAPE))
    bundle = Program(slug="kit", id="b-9", name="Starter Kit", kind="bundle", includes=parts)
    await harness.receive(CONTACT, bought(bundle))
    mails = await harness.deliver_due()
    assert subjects(mails) == ["Receipt: 50.00 USD for Starter Kit"]
    assert "your access opens automatically" in body_text(mails[0])
