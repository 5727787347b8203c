"""Mails about memberships, products and bundles, and about enrollments that the school or a plan has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ANN,
    BARBER,
    CONTACT,
    NO_DELAYS,
    Harness,
    bodies,
    body_text,
    envelope_of,
    one,
    paid,
    step,
    subjects,
)

from contracts.checkout import PurchaseCreated
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Event
from contracts.instructor_assignment import Instructor, InstructorAssigned
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentRefunded, PurchaseEnded, SubscriptionChanged
from contracts.people import MEMBERSHIP, ItemRef, Program, enrollment_uuid

GOLD = Program(slug=MEMBERSHIP, id="m-1", name="Studio Membership", kind="membership")
CLIPPER = Program(slug="clipper", id="p-1", name="Clipper Set", kind="product")
FADES = ItemRef(slug="fades", id="c-1", name="Fades", kind="course")
SHAVES = ItemRef(slug="shaves", id="c-2", name="Shaves", kind="course")
TOOLS = ItemRef(slug="tools", id="p-2", name="Tool Kit", kind="product")
BUNDLE = Program(slug="starter", id="b-1", name="Starter Bundle", kind="bundle", includes=(FADES, SHAVES, TOOLS))
LONG = replace(NO_DELAYS, welcome_grace=timedelta(hours=1), receipt_settle=timedelta(hours=1))


@pytest.fixture
def delayed(harness: Harness) -> Harness:
    return Harness(harness.database, harness.mail, rules=LONG)


def bought(program: Program, amount: int = 5_000, **more: Any) -> Event:
    return paid(amount, payment_intent="pi_1", charge="ch_1").model_copy(update={"program": program, **more})


def of(program: ItemRef, kind: type[EnrollmentEvent], revision: int, reason: str | None = None) -> EnrollmentEvent:
    enrollment = Program(**program.model_dump())
    own = {"program": enrollment, "enrollment_id": enrollment_uuid(ANN, program.slug)}
    return step(kind, revision, reason).model_copy(update=own)


def membership(**more: Any) -> SubscriptionChanged:
    fields = {"purchase_id": UUID(int=1), "student_id": ANN, "program": GOLD, "tier": "Gold", "status": "active"}
    return SubscriptionChanged.model_validate({"refs": PaymentRefs(subscription="sub_1"), **fields, **more})


# --- kinds ------------------------------------------------------------------------------------------------------------


async def test_a_product_waits_for_no_assignment_and_mentions_no_lessons(delayed: Harness) -> None:
    await delayed.receive(CONTACT, bought(CLIPPER), of(CLIPPER, EnrollmentActivated, 1))
    mails = await delayed.deliver_due()
    assert subjects(mails) == ["Receipt: 50.00 USD for Clipper Set", "Your access to Clipper Set is open"]
    for mail in mails:
        for body in bodies(mail):
            assert not any(
                word in body.lower() for word in ("instructor", "lesson", "course", "enrolled", " enrollment")
            )


async def test_a_membership_has_its_own_wording(harness: Harness) -> None:
    await harness.receive(CONTACT, bought(GOLD), membership(), of(GOLD, EnrollmentActivated, 1))
    mails = await harness.deliver_due()
    welcome = body_text(one(mails, "Welcome to Studio Membership"))
    assert "Your Studio Membership has started. Your tier: Gold." in welcome
    await harness.receive(
        membership(collection_paused=True, as_of="2026-04-01T00:00:00Z"),
        of(GOLD, EnrollmentPaused, 2, "membership_paused"),
    )
    assert "put on hold" in body_text(one(await harness.deliver_due(), "Your Studio Membership is paused"))
    await harness.receive(membership(as_of="2026-05-01T00:00:00Z"), of(GOLD, EnrollmentResumed, 3))
    await harness.deliver_due()
    await harness.receive(
        membership(status="canceled", as_of="2026-06-01T00:00:00Z"),
        of(GOLD, EnrollmentWithdrawn, 4, "membership_ended"),
    )
    mails = await harness.deliver_due()
    assert "the subscription ended" in body_text(one(mails, "Your Studio Membership has ended"))
    assert one(mails, "Your Studio Membership is active again")
    for mail in mails:
        for body in bodies(mail):
            assert not any(
                word in body.lower() for word in ("instructor", "lesson", "course", "enrollment in", " enrollment")
            )


async def test_a_withdrawal_that_the_payments_contradict_sends_no_mail(harness: Harness) -> None:
    await harness.receive(CONTACT, bought(GOLD), membership(), of(GOLD, EnrollmentWithdrawn, 2, "membership_ended"))
    assert subjects(await harness.deliver_due()) == ["Receipt: 50.00 USD for Studio Membership"]


# --- bundles ----------------------------------------------------------------------------------------------------------

OPENED: tuple[Event, ...] = (
    CONTACT,
    bought(BUNDLE),
    *(of(each, EnrollmentActivated, 1) for each in (FADES, SHAVES, TOOLS)),
)


def teaches(program: ItemRef) -> InstructorAssigned:
    ada = Instructor(id=UUID(int=101), name="Ada Clipper")
    enrollment = Program(**program.model_dump())
    return InstructorAssigned(
        student_id=ANN, program=enrollment, assignment_id=UUID(int=len(program.slug)), instructor=ada
    )


CREATED = PurchaseCreated(
    purchase_id=UUID(int=1),
    student_id=ANN,
    program=BUNDLE,
    amount=usd(5_000),
    payer="student",
    payment_type="full",
    checkout_url="https://pay.example.com",
)


async def test_a_bundle_has_one_receipt_and_one_welcome(delayed: Harness) -> None:
    await delayed.receive(*OPENED[:-1], teaches(FADES), teaches(SHAVES), CREATED)
    assert "Welcome to Starter Bundle" not in subjects(await delayed.deliver_due()), "one enrollment has not opened yet"
    await delayed.receive(OPENED[-1])
    mails = await delayed.deliver_due()
    assert subjects(mails) == ["Receipt: 50.00 USD for Starter Bundle", "Welcome to Starter Bundle"]
    for body in bodies(one(mails, "Welcome")):
        assert all(name in body for name in ("Fades", "Shaves", "Tool Kit")) and body.count("Ada Clipper") == 2
    assert "your enrollments" in body_text(one(mails, "Receipt"))


@pytest.mark.parametrize("order", list(permutations(range(2, 5))))
@pytest.mark.parametrize("deliver_after", [None, 0, 1])
async def test_an_enrollment_that_opens_late_has_its_own_mail_and_none_is_announced_twice(
    harness: Harness, order: tuple[int, ...], deliver_after: int | None
) -> None:
    await harness.receive(*(envelope_of(n, OPENED[n]) for n in (0, 1)))
    for number, n in enumerate(order):
        await harness.receive(envelope_of(n, OPENED[n]), envelope_of(n, OPENED[n]))
        if number == deliver_after:
            await harness.deliver_due()
    mails = [m for m in await harness.deliver_due() if str(m["Subject"]).startswith(("Welcome", "Your access"))]
    listed = [name for mail in mails for name in ("Fades", "Shaves", "Tool Kit") if name in bodies(mail)[0]]
    assert sorted(listed) == ["Fades", "Shaves", "Tool Kit"]
    if deliver_after is None:
        assert [str(mail["Subject"]) for mail in mails] == ["Welcome to Starter Bundle"]


async def test_an_instructor_assigned_after_a_bundles_welcome_is_announced(harness: Harness) -> None:
    await harness.receive(*OPENED)
    await harness.deliver_due()
    await harness.receive(teaches(FADES))
    assert "Meet your instructor for Fades" in subjects(await harness.deliver_due())


async def test_a_bundles_refund_and_withdrawal_are_one_mail(harness: Harness) -> None:
    await harness.receive(*OPENED)
    await harness.deliver_due()
    back = PaymentRefunded(refs=PaymentRefs(charge="ch_1"), total=usd(5_000), before=usd(0), of=usd(5_000))
    await harness.receive(back, *(of(each, EnrollmentWithdrawn, 2, "refunded") for each in (FADES, SHAVES, TOOLS)))
    mails = await harness.deliver_due()
    found = [subject for subject in subjects(mails) if "efund" in subject or "ended" in subject]
    assert found == ["Full refund: 50.00 USD for Starter Bundle"]
    assert "Your enrollments have ended with this refund" in body_text(one(mails, "Full refund"))


# --- ended by the school, or by the plan ------------------------------------------------------------------------------

CANCELED = PurchaseEnded(
    refs=PaymentRefs(),
    purchase_id=UUID(int=1),
    by="school",
    student_id=ANN,
    program=BARBER,
    reason="Too few students for <spring>",
)
WITHDRAWN = step(EnrollmentWithdrawn, 2, "canceled")
ENDED = "Your enrollment in Barber Apprenticeship has ended"


@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_an_enrollment_that_the_school_has_canceled(harness: Harness, order: tuple[int, ...]) -> None:
    await harness.receive(CONTACT, bought(BARBER), step(EnrollmentActivated, 1))
    await harness.deliver_due()
    for n in order:
        await harness.receive(envelope_of(n + 20, (CANCELED, WITHDRAWN)[n]))
        await harness.deliver_due()
    text, html = bodies(one(await harness.deliver_due(), ENDED))
    assert "Too few students for <spring>." in text and "Too few students for &lt;spring&gt;." in html
    assert "the payer gets a separate email about it" in body_text(one(await harness.deliver_due(), ENDED))


async def test_a_cancellation_mail_lists_the_refunds(harness: Harness) -> None:
    back = PaymentRefunded(refs=PaymentRefs(charge="ch_1"), total=usd(2_000), before=usd(0), of=usd(5_000))
    await harness.receive(CONTACT, bought(BARBER), step(EnrollmentActivated, 1), back, CANCELED, WITHDRAWN)
    assert "Refunded so far: 20.00 USD" in body_text(one(await harness.deliver_due(), ENDED))


async def test_a_sponsor_is_not_asked_to_pay_a_canceled_purchase(harness: Harness) -> None:
    created = CREATED.model_copy(update={"payer": "sponsor", "program": BARBER})
    await harness.receive(CONTACT, CANCELED, created)
    assert await harness.deliver_due() == []


async def test_a_plan_that_was_canceled_can_still_be_paid(harness: Harness) -> None:
    fields: dict[str, Any] = {"installments": 4, "price": usd(20_000)}
    ended = membership(status="canceled", program=BARBER, tier=None)
    await harness.receive(CONTACT, bought(BARBER, **fields), step(EnrollmentActivated, 1), ended)
    await harness.receive(step(EnrollmentPaused, 2, "plan_canceled"))
    text = body_text(one(await harness.deliver_due(), "Your enrollment in Barber Apprenticeship is paused"))
    assert "you can still pay the remaining balance (150.00 USD). Your enrollment opens again automatically" in text
    assert "To pay: https://portal.example.com" in text
