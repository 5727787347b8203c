"""The welcome, once, with whatever is known; what comes later follows in a mail of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.notifications.office import (
    ADMIN,
    ANN,
    AT_ONCE,
    BARBER,
    CONTACT,
    LINKS,
    SEAT,
    UNAVAILABLE,
    Office,
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


async def test_says_who_teaches_and_where_the_courses_are(office: Office) -> None:
    await office.hear(CONTACT, paid(), step(EnrollmentActivated, 1), assigned(), LINKS)
    mails = await office.post()
    assert subjects(mails) == ["Receipt: 4,890.00 USD for Barber Apprenticeship", WELCOME]
    for body in bodies(one(mails, WELCOME)):
        assert "Ann Archer" in body and "Ada Clipper" in body and "fades and shaves" in body and "Theory 1" in body
    text, html = bodies(one(mails, WELCOME))
    assert "https://milady.example.com/theory-1?a=1&b=2" in text
    assert 'href="https://milady.example.com/theory-1?a=1&amp;b=2"' in html
    sent = await office.rows("status = 'sent'")
    assert sorted(await office.said()) == sorted(f"{row['id']}/notification.sent.v1" for row in sent)


async def test_waits_for_both_words_and_goes_at_once_when_they_are_in(office: Office) -> None:
    patient = Office(office.database, office.mail, rules=replace(AT_ONCE, welcome_grace=timedelta(hours=1)))
    await patient.hear(CONTACT, step(EnrollmentActivated, 1), assigned())
    assert subjects(await patient.post()) == [], "Milady has not spoken"
    await patient.hear(LINKS)
    assert subjects(await patient.post()) == [WELCOME]


async def test_a_refusal_is_a_word_too(office: Office) -> None:
    patient = Office(office.database, office.mail, rules=replace(AT_ONCE, welcome_grace=timedelta(hours=1)))
    refused = MiladyFailed(student_id=ANN, program=BARBER, code="unknown_school", attempts=2)
    await patient.hear(CONTACT, step(EnrollmentActivated, 1), UNAVAILABLE, refused)
    mails = await patient.post()
    assert subjects(mails) == [WELCOME]
    assert "we are finding one for you" in bodies(one(mails, WELCOME))[0]
    assert subjects(mails, ADMIN) == [
        "[Admin] Milady refuses a student of Barber Apprenticeship",
        "[Admin] No instructor for Barber Apprenticeship",
    ]


async def test_without_an_outside_provider_nobody_waits_for_one(office: Office) -> None:
    patient = Office(office.database, office.mail, rules=replace(AT_ONCE, welcome_grace=timedelta(hours=1)))
    own = BARBER.model_copy(update={"provider": None})
    created = PurchaseCreated(
        purchase_id=SEAT,
        student_id=ANN,
        program=own,
        amount=usd(100),
        payer="student",
        payment_type="full",
        checkout_url="https://pay.example.com",
    )
    activated = step(EnrollmentActivated, 1).model_copy(update={"program": own})
    await patient.hear(CONTACT, activated, assigned().model_copy(update={"program": own}))
    assert subjects(await patient.post()) == [], "only the catalog knows that there is no provider"
    await patient.hear(created)
    assert subjects(await patient.post()) == [WELCOME]


async def test_what_comes_later_follows_once(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentActivated, 1))
    assert subjects(await office.post()) == [WELCOME]
    await office.hear(assigned(), LINKS)
    await office.post()
    await office.hear(assigned(), LINKS)
    assert subjects(await office.post()) == [
        "Meet your instructor for Barber Apprenticeship",
        WELCOME,
        "Your course links for Barber Apprenticeship",
    ]


async def test_a_new_instructor_is_introduced(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    await office.post()
    first = assigned()
    released = InstructorReleased(**{**first.model_dump(), "reason": "retired"})
    await office.hear(released, assigned("Grace Razor", n=2))
    text, _ = bodies(one(await office.post(), "Meet your instructor"))
    assert "Grace Razor" in text and "Ada" not in text


async def test_a_word_that_comes_while_the_welcome_is_on_its_way_is_not_lost(office: Office) -> None:
    """The instructor becomes known between the look at the facts and the hand-over."""
    await office.hear(CONTACT, step(EnrollmentActivated, 1))
    read = office.sending._contact

    async def interrupted(*args: object) -> object:
        found = await read(*args)  # type: ignore[arg-type]
        await office.hear(assigned())
        office.sending._contact = read  # type: ignore[method-assign]
        return found

    office.sending._contact = interrupted  # type: ignore[method-assign,assignment]
    assert subjects(await office.post()) == ["Meet your instructor for Barber Apprenticeship", WELCOME]


async def test_nobody_is_welcomed_to_a_enrollment_that_is_gone(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentWithdrawn, 2, "refunded"))
    assert subjects(await office.post()) == ["Your enrollment in Barber Apprenticeship has ended"]


async def test_back_before_the_welcome_went_out_is_one_welcome(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentWithdrawn, 2, "refunded"))
    await office.post()
    await office.hear(step(EnrollmentActivated, 3), assigned(), LINKS)
    await office.post()
    assert subjects(await office.post()) == [WELCOME, "Your enrollment in Barber Apprenticeship has ended"]


async def test_back_after_a_welcome_is_told_so(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    await office.post()
    await office.hear(step(EnrollmentWithdrawn, 2, "refunded"))
    await office.post()
    await office.hear(step(EnrollmentActivated, 3))
    mails = await office.post()
    assert subjects(mails) == [
        WELCOME,
        "You are back in Barber Apprenticeship",
        "Your enrollment in Barber Apprenticeship has ended",
    ]
    assert "Ada Clipper" in bodies(one(mails, "You are back"))[0]


async def test_pause_and_resume_are_told_each_time(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    for revision in (2, 4):
        await office.hear(step(EnrollmentPaused, revision, "past_due"))
        await office.post()
        await office.hear(step(EnrollmentResumed, revision + 1))
        await office.post()
    mails = await office.post()
    assert subjects(mails) == [
        WELCOME,
        *["Your enrollment in Barber Apprenticeship is open again"] * 2,
        *["Your enrollment in Barber Apprenticeship is paused"] * 2,
    ]


async def test_an_overtaken_change_is_not_told(office: Office) -> None:
    await office.hear(CONTACT, step(EnrollmentResumed, 3), step(EnrollmentPaused, 2, "past_due"))
    assert "Your enrollment in Barber Apprenticeship is paused" not in subjects(await office.post())


async def test_a_debit_that_was_returned_ends_nothing(office: Office) -> None:
    """The enrollment was only pending: the mail about the payment says it all."""
    await office.hear(CONTACT, step(EnrollmentWithdrawn, 2, "payment_failed"))
    assert await office.post() == []
