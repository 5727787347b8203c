"""Mails promise what the ledger's verdict says: underpaid, conflicting and superseded enrollments."""

from __future__ import annotations

import re
from itertools import permutations
from uuid import UUID

import pytest
from tests.notifications.harness import (
    ADMIN,
    ANN,
    BARBER,
    CONTACT,
    EMAIL,
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

from contracts.checkout import StudentUpdated
from contracts.enrollment import EnrollmentActivated, EnrollmentEvent, EnrollmentPending, EnrollmentWithdrawn
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorUnavailable
from contracts.milady_integration import MiladyFailed
from contracts.money import usd
from contracts.payments import PaymentFailed, PaymentRefs, PaymentSucceeded
from contracts.people import Contact, ItemRef, Program, enrollment_uuid

BOB = UUID("00000000-0000-4000-8000-000000000002")
BOBS_EMAIL = "bob@student.example.com"
SPONSOR = "finance@sponsor.example.com"
TRACK = Program(slug="fades-track", id="t-1", name="Fades Track", kind="track")
PRICE = usd(99_900)


def part_paid(amount: int, n: int = 1, **fields: object) -> PaymentSucceeded:
    event = paid(amount, payment_intent=f"pi_{n}", charge=f"ch_{n}")
    return event.model_copy(update={"program": TRACK, "price": PRICE, "purchase_id": UUID(int=1), **fields})


def enrollment_event(
    kind: type[EnrollmentEvent], program: Program, revision: int, reason: str | None = None, student_id: UUID = ANN
) -> EnrollmentEvent:
    own = {"program": program, "student_id": student_id, "enrollment_id": enrollment_uuid(student_id, program.slug)}
    return step(kind, revision, reason).model_copy(update=own)


# --- underpaid --------------------------------------------------------------------------------------------------------

UNDERPAID = enrollment_event(EnrollmentPending, TRACK, 1, "underpaid")
TEN_DOLLARS = part_paid(1_000)


@pytest.mark.parametrize("events", list(permutations((CONTACT, TEN_DOLLARS, UNDERPAID))))
async def test_an_underpaid_receipt_has_the_amount_still_due(harness: Harness, events: tuple[Event, ...]) -> None:
    await harness.receive(*events)
    mails = await harness.deliver_due()
    assert subjects(mails) == ["Receipt: 10.00 USD for Fades Track"]
    for body in bodies(one(mails, "Receipt")):
        assert "your enrollment opens when the full price is paid. Still due: 989.00 USD." in " ".join(body.split())
        assert "automatically" not in body and "welcome" not in body and "nothing you need to do" not in body


async def test_an_underpaid_receipt_for_a_sponsor(harness: Harness) -> None:
    by_sponsor = part_paid(1_000, payer="sponsor", contact=Contact(email=SPONSOR))
    await harness.receive(by_sponsor)
    text = body_text(one(await harness.deliver_due(), "Receipt"))
    assert "the student's enrollment opens when the full price is paid. Still due: 989.00 USD." in text


async def test_the_rest_of_the_price_opens_the_enrollment(harness: Harness) -> None:
    await harness.receive(CONTACT, TEN_DOLLARS, UNDERPAID)
    await harness.deliver_due()
    await harness.receive(part_paid(98_900, n=2))
    mail = one(await harness.deliver_due(), "989.00 USD")
    assert "your enrollment opens automatically" in body_text(mail) and "Still due" not in body_text(mail)
    await harness.receive(enrollment_event(EnrollmentActivated, TRACK, 2))
    assert "Welcome to Fades Track" in subjects(await harness.deliver_due())


async def test_an_activation_that_the_verdict_contradicts_sends_no_welcome(harness: Harness) -> None:
    await harness.receive(CONTACT, enrollment_event(EnrollmentActivated, TRACK, 1), TEN_DOLLARS)
    assert subjects(await harness.deliver_due()) == ["Receipt: 10.00 USD for Fades Track"]


@pytest.mark.parametrize(("amount", "opens"), [(98_900, True), (50_000, False)])
async def test_a_failure_mail_promises_the_enrollment_only_if_the_payment_opens_it(
    harness: Harness, amount: int, opens: bool
) -> None:
    refs = PaymentRefs(payment_intent="pi_2", charge="ch_2")
    failed = PaymentFailed(
        refs=refs,
        purchase_id=UUID(int=1),
        student_id=ANN,
        program=TRACK,
        payer="student",
        price=PRICE,
        amount=usd(amount),
        code="card_declined",
    )
    await harness.receive(CONTACT, TEN_DOLLARS, failed)
    text = body_text(one(await harness.deliver_due(), "did not go through"))
    assert ("Your enrollment opens as soon as a payment goes through" in text) == opens


# --- conflicting students ---------------------------------------------------------------------------------------------

ANNS = paid(payment_intent="pi_1", charge="ch_1")
BOBS = paid(payment_intent="pi_1", checkout_session="cs_1").model_copy(update={"student_id": BOB})
ALERT = "[Admin] One purchase names several students: Barber Apprenticeship"


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_a_purchase_for_two_students_welcomes_neither_and_alerts_the_admins_once(
    harness: Harness, order: tuple[int, ...]
) -> None:
    events: list[Event] = [
        ANNS,
        BOBS,
        enrollment_event(EnrollmentActivated, BARBER, 1),
        enrollment_event(EnrollmentActivated, BARBER, 1, student_id=BOB),
    ]
    await harness.receive(CONTACT, StudentUpdated(student_id=BOB, contact=Contact(email=BOBS_EMAIL)))
    await harness.receive(*(envelope_of(n + 10, events[n]) for n in order))
    await harness.deliver_due()
    late = paid(payment_intent="pi_1", invoice="in_1")
    await harness.receive(assigned(), LINKS, late)
    mails = await harness.deliver_due()
    assert all("Welcome" not in subject for to in (EMAIL, BOBS_EMAIL) for subject in subjects(mails, to))
    assert subjects(mails, ADMIN) == [ALERT]
    text, html = bodies(one(mails, ALERT))
    for body in (text, html):
        assert str(ANN) in body and str(BOB) in body and str(UUID(int=1)) in body and "What to do" in body


async def test_the_receipt_of_a_purchase_for_two_students_promises_nothing(harness: Harness) -> None:
    await harness.receive(CONTACT, ANNS, BOBS)
    mails = await harness.deliver_due()
    receipts = [mail for mail in mails if str(mail["Subject"]).startswith("Receipt")]
    assert len(receipts) == 1 and "your enrollment" not in body_text(receipts[0])


async def test_the_contact_of_a_purchase_for_two_students_is_only_used_for_its_own_student(harness: Harness) -> None:
    own = ANNS.model_copy(update={"contact": Contact(email=EMAIL)})
    apart = paid(100, n=2, payment_intent="pi_2").model_copy(update={"student_id": BOB})
    await harness.receive(own, BOBS, apart)
    await harness.deliver_due()
    assert (
        await harness.value(
            "SELECT status FROM notifications WHERE recipient = 'student' AND about_student_id = :bob", bob=BOB
        )
        == "no_contact"
    )


# --- superseded -------------------------------------------------------------------------------------------------------

SESSION = paid(payment_intent="pi_1", checkout_session="cs_1")
ID_ONLY = Program(slug=BARBER.id, id=BARBER.id, id_only=True)
PARTS = (ItemRef(slug="fades", id="c-1", name="Fades", kind="course"), ItemRef(slug="tools", id="p-2", name="Tool Kit"))
BUNDLE = Program(slug="starter", id="b-1", name="Starter Bundle", kind="bundle", includes=PARTS)
SUPERSEDED: list[tuple[Program, Program]] = [
    (ID_ONLY, BARBER),
    (BUNDLE.model_copy(update={"includes": ()}), BUNDLE),
]


@pytest.mark.parametrize(("former", "bought"), SUPERSEDED)
@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_no_mail_is_about_a_superseded_name(
    harness: Harness, former: Program, bought: Program, order: tuple[int, ...]
) -> None:
    """The instructor and the provider were asked about it too, before the name was superseded."""
    of_former: list[Event] = [
        enrollment_event(EnrollmentActivated, former, 1),
        InstructorUnavailable(student_id=ANN, program=former),
        MiladyFailed(student_id=ANN, program=former, code="unknown_course", attempts=1),
        enrollment_event(EnrollmentWithdrawn, former, 2, "superseded"),
    ]
    groups: list[list[Event]] = [
        [ANNS.model_copy(update={"program": former}), SESSION.model_copy(update={"program": bought})],
        of_former,
        [enrollment_event(EnrollmentActivated, part, 1) for part in bought.parts],
    ]
    await harness.receive(CONTACT)
    await harness.receive(*(envelope_of(10 * n + i, each) for n in order for i, each in enumerate(groups[n], 1)))
    mails = await harness.deliver_due()
    assert subjects(mails) == [f"Receipt: 4,890.00 USD for {bought.title}", f"Welcome to {bought.title}"]
    assert re.search("your enrollments? (is|are) open", body_text(one(mails, "Receipt")))
    assert subjects(mails, ADMIN) == []


async def test_a_withdrawal_as_superseded_alone_sends_no_mail(harness: Harness) -> None:
    """The payments that supersede the name are on record elsewhere, or have not arrived yet."""
    await harness.receive(CONTACT, enrollment_event(EnrollmentActivated, ID_ONLY, 1))
    await harness.receive(enrollment_event(EnrollmentWithdrawn, ID_ONLY, 2, "superseded"))
    assert subjects(await harness.deliver_due()) == []
