"""The welcome, once, with whatever is known; what comes later follows in a mail of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.notifications.harness import (
    ADMIN,
    ANN,
    BARBER,
    CONTACT,
    ENROLLMENT_ID,
    LINKS,
    NO_DELAYS,
    UNAVAILABLE,
    Harness,
    assigned,
    bodies,
    one,
    paid,
    step,
    subjects,
)

from contracts.checkout import PurchaseCreated
from contracts.enrollment import EnrollmentActivated, EnrollmentPaused, EnrollmentResumed, EnrollmentWithdrawn
from contracts.instructor_assignment import InstructorReleased
from contracts.milady_integration import MiladyFailed
from contracts.money import usd

WELCOME = "Welcome to Barber Apprenticeship"


async def test_says_who_teaches_and_where_the_courses_are(harness: Harness) -> None:
    await harness.receive(CONTACT, paid(), step(EnrollmentActivated, 1), assigned(), LINKS)
    mails = await harness.deliver_due()
    assert subjects(mails) == ["Receipt: 4,890.00 USD for Barber Apprenticeship", WELCOME]
    for body in bodies(one(mails, WELCOME)):
        assert "Ann Archer" in body and "Ada Clipper" in body and "fades and shaves" in body and "Theory 1" in body
    text, html = bodies(one(mails, WELCOME))
    assert "https://milady.example.com/theory-1?a=1&b=2" in text
    assert 'href="https://milady.example.com/theory-1?a=1&amp;b=2"' in html
    sent = await harness.rows("status = 'sent'")
    assert sorted(await harness.published()) == sorted(f"{row['id']}/notification.sent.v1" for row in sent)


async def test_waits_for_both_words_and_goes_at_once_when_they_are_in(harness: Harness) -> None:
    patient = Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, welcome_grace=timedelta(hours=1)))
    await patient.receive(CONTACT, step(EnrollmentActivated, 1), assigned())
    assert subjects(await patient.deliver_due()) == [], "Milady has not spoken"
    await patient.receive(LINKS)
    assert subjects(await patient.deliver_due()) == [WELCOME]


async def test_a_refusal_is_a_word_too(harness: Harness) -> None:
    patient = Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, welcome_grace=timedelta(hours=1)))
    refused = MiladyFailed(student_id=ANN, program=BARBER, code="unknown_school", attempts=2)
    await patient.receive(CONTACT, step(EnrollmentActivated, 1), UNAVAILABLE, refused)
    mails = await patient.deliver_due()
    assert subjects(mails) == [WELCOME]
    assert "we are finding one for you" in bodies(one(mails, WELCOME))[0]
    assert subjects(mails, ADMIN) == [
        "[Admin] Milady refuses a student of Barber Apprenticeship",
        "[Admin] No instructor for Barber Apprenticeship",
    ]


async def test_without_an_outside_provider_nobody_waits_for_one(harness: Harness) -> None:
    patient = Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, welcome_grace=timedelta(hours=1)))
    own = BARBER.model_copy(update={"provider": None})
    created = PurchaseCreated(
        purchase_id=ENROLLMENT_ID,
        student_id=ANN,
        program=own,
        amount=usd(100),
        payer="student",
        payment_type="full",
        checkout_url="https://pay.example.com",
    )
    activated = step(EnrollmentActivated, 1).model_copy(update={"program": own})
    await patient.receive(CONTACT, activated, assigned().model_copy(update={"program": own}))
    assert subjects(await patient.deliver_due()) == [], "only the catalog knows that there is no provider"
    await patient.receive(created)
    assert subjects(await patient.deliver_due()) == [WELCOME]


async def test_what_comes_later_follows_once(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1))
    assert subjects(await harness.deliver_due()) == [WELCOME]
    await harness.receive(assigned(), LINKS)
    await harness.deliver_due()
    await harness.receive(assigned(), LINKS)
    assert subjects(await harness.deliver_due()) == [
        "Meet your instructor for Barber Apprenticeship",
        WELCOME,
        "Your course links for Barber Apprenticeship",
    ]


async def test_a_new_instructor_is_introduced(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    await harness.deliver_due()
    first = assigned()
    released = InstructorReleased(**{**first.model_dump(), "reason": "retired"})
    await harness.receive(released, assigned("Grace Razor", n=2))
    text, _ = bodies(one(await harness.deliver_due(), "Meet your instructor"))
    assert "Grace Razor" in text and "Ada" not in text


async def test_a_word_that_comes_while_the_welcome_is_on_its_way_is_not_lost(harness: Harness) -> None:
    """The instructor becomes known between the look at the facts and the hand-over."""
    await harness.receive(CONTACT, step(EnrollmentActivated, 1))
    read = harness.delivery._contact

    async def interrupted(*args: object) -> object:
        found = await read(*args)  # type: ignore[arg-type]
        await harness.receive(assigned())
        harness.delivery._contact = read  # type: ignore[method-assign]
        return found

    harness.delivery._contact = interrupted  # type: ignore[method-assign,assignment]
    assert subjects(await harness.deliver_due()) == ["Meet your instructor for Barber Apprenticeship", WELCOME]


async def test_nobody_is_welcomed_to_a_enrollment_that_is_gone(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentWithdrawn, 2, "refunded"))
    assert subjects(await harness.deliver_due()) == ["Your enrollment in Barber Apprenticeship has ended"]


async def test_back_before_the_welcome_went_out_is_one_welcome(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentWithdrawn, 2, "refunded"))
    await harness.deliver_due()
    await harness.receive(step(EnrollmentActivated, 3), assigned(), LINKS)
    await harness.deliver_due()
    assert subjects(await harness.deliver_due()) == [WELCOME, "Your enrollment in Barber Apprenticeship has ended"]


async def test_back_after_a_welcome_is_told_so(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    await harness.deliver_due()
    await harness.receive(step(EnrollmentWithdrawn, 2, "refunded"))
    await harness.deliver_due()
    await harness.receive(step(EnrollmentActivated, 3))
    mails = await harness.deliver_due()
    assert subjects(mails) == [
        WELCOME,
        "You are back in Barber Apprenticeship",
        "Your enrollment in Barber Apprenticeship has ended",
    ]
    assert "Ada Clipper" in bodies(one(mails, "You are back"))[0]


async def test_pause_and_resume_are_told_each_time(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    for revision in (2, 4):
        await harness.receive(step(EnrollmentPaused, revision, "past_due"))
        await harness.deliver_due()
        await harness.receive(step(EnrollmentResumed, revision + 1))
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert subjects(mails) == [
        WELCOME,
        *["Your enrollment in Barber Apprenticeship is open again"] * 2,
        *["Your enrollment in Barber Apprenticeship is paused"] * 2,
    ]


async def test_an_overtaken_change_is_not_told(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentResumed, 3), step(EnrollmentPaused, 2, "past_due"))
    assert "Your enrollment in Barber Apprenticeship is paused" not in subjects(await harness.deliver_due())


async def test_a_debit_that_was_returned_ends_nothing(harness: Harness) -> None:
    """The enrollment was only pending: the mail about the payment says it all."""
    await harness.receive(CONTACT, step(EnrollmentWithdrawn, 2, "payment_failed"))
    assert await harness.deliver_due() == []
