"""The welcome, once, with everything on record; later additions have mails of their own."""

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


async def test_the_welcome_has_the_instructor_and_the_course_links(harness: Harness) -> None:
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


async def test_the_welcome_waits_for_instructor_and_provider(harness: Harness) -> None:
    delayed = Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, welcome_grace=timedelta(hours=1)))
    await delayed.receive(CONTACT, step(EnrollmentActivated, 1), assigned())
    assert subjects(await delayed.deliver_due()) == [], "the provider has not answered"
    await delayed.receive(LINKS)
    assert subjects(await delayed.deliver_due()) == [WELCOME]


async def test_the_welcome_does_not_wait_after_a_rejection(harness: Harness) -> None:
    delayed = Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, welcome_grace=timedelta(hours=1)))
    refused = MiladyFailed(student_id=ANN, program=BARBER, code="unknown_school", attempts=2)
    await delayed.receive(CONTACT, step(EnrollmentActivated, 1), UNAVAILABLE, refused)
    mails = await delayed.deliver_due()
    assert subjects(mails) == [WELCOME]
    assert "We are finding an instructor for you" in bodies(one(mails, WELCOME))[0]
    assert subjects(mails, ADMIN) == [
        "[Admin] Milady rejected a student of Barber Apprenticeship",
        "[Admin] No instructor for Barber Apprenticeship",
    ]


async def test_without_an_outside_provider_the_welcome_does_not_wait_for_one(harness: Harness) -> None:
    delayed = Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, welcome_grace=timedelta(hours=1)))
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
    await delayed.receive(CONTACT, activated, assigned().model_copy(update={"program": own}))
    assert subjects(await delayed.deliver_due()) == [], "the catalog's event is missing"
    await delayed.receive(created)
    assert subjects(await delayed.deliver_due()) == [WELCOME]


async def test_later_assignments_have_their_own_mail_once(harness: Harness) -> None:
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


async def test_a_new_instructor_is_announced(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS)
    await harness.deliver_due()
    first = assigned()
    released = InstructorReleased(**{**first.model_dump(), "reason": "retired"})
    await harness.receive(released, assigned("Grace Razor", n=2))
    text, _ = bodies(one(await harness.deliver_due(), "Meet your instructor"))
    assert "Grace Razor" in text and "Ada" not in text


async def test_the_row_decides_which_instructor_is_current_and_not_the_clock_of_a_process(harness: Harness) -> None:
    first = assigned().model_copy(update={"revision": 1})
    released = InstructorReleased(**{**first.model_dump(), "revision": 2, "reason": "refunded"})
    again = assigned("Grace Razor", n=2).model_copy(update={"revision": 3})
    opened, third, second = (harness.envelope(event) for event in (step(EnrollmentActivated, 1), again, released))
    assert third.time < second.time, "its process's clock is behind"
    await harness.receive(CONTACT, opened, LINKS, first, second, third)
    text, _ = bodies(one(await harness.deliver_due(), WELCOME))
    assert "Grace Razor" in text


async def test_who_is_reassigned_has_the_new_instructor_at_once(harness: Harness) -> None:
    """The release of the former one is of the same revision and the same time."""
    first = assigned().model_copy(update={"revision": 1})
    released = InstructorReleased(**{**first.model_dump(), "revision": 2, "reason": "instructor_inactive"})
    again = assigned("Grace Razor", n=2).model_copy(update={"revision": 2})
    change = harness.envelope(released)
    same_time = replace(harness.envelope(again), time=change.time, id="evt_1/instructor.assigned.v1")
    assert same_time.id < change.id
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), LINKS, first, same_time, change)
    text, _ = bodies(one(await harness.deliver_due(), WELCOME))
    assert "Grace Razor" in text


async def test_the_row_decides_what_the_course_provider_has(harness: Harness) -> None:
    failed = MiladyFailed(student_id=ANN, program=BARBER, code="rejected", attempts=1, revision=1)
    enrolled = LINKS.model_copy(update={"revision": 2})
    opened, second, first = (harness.envelope(event) for event in (step(EnrollmentActivated, 1), enrolled, failed))
    assert second.time < first.time
    await harness.receive(CONTACT, opened, assigned(), first, second)
    text, _ = bodies(one(await harness.deliver_due(), WELCOME))
    assert LINKS.links[0].title in text


async def test_an_assignment_that_arrives_during_the_delivery_is_not_lost(harness: Harness) -> None:
    """The instructor is assigned between loading the facts and the hand-over."""
    await harness.receive(CONTACT, step(EnrollmentActivated, 1))
    read = harness.delivery._contact

    async def interrupted(*args: object) -> object:
        found = await read(*args)  # type: ignore[arg-type]
        await harness.receive(assigned())
        harness.delivery._contact = read  # type: ignore[method-assign]
        return found

    harness.delivery._contact = interrupted  # type: ignore[method-assign,assignment]
    assert subjects(await harness.deliver_due()) == ["Meet your instructor for Barber Apprenticeship", WELCOME]


async def test_a_withdrawn_enrollment_sends_no_welcome(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentWithdrawn, 2, "refunded"))
    assert subjects(await harness.deliver_due()) == ["Your enrollment in Barber Apprenticeship has ended"]


async def test_reactivation_before_the_welcome_sends_one_welcome(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentWithdrawn, 2, "refunded"))
    await harness.deliver_due()
    await harness.receive(step(EnrollmentActivated, 3), assigned(), LINKS)
    await harness.deliver_due()
    assert subjects(await harness.deliver_due()) == [WELCOME, "Your enrollment in Barber Apprenticeship has ended"]


async def test_reactivation_after_a_welcome_has_its_own_mail(harness: Harness) -> None:
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


async def test_every_pause_and_resumption_has_a_mail(harness: Harness) -> None:
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


async def test_an_outdated_change_sends_no_mail(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentResumed, 3), step(EnrollmentPaused, 2, "past_due"))
    assert "Your enrollment in Barber Apprenticeship is paused" not in subjects(await harness.deliver_due())


async def test_a_withdrawal_for_a_failed_payment_sends_no_mail(harness: Harness) -> None:
    """The enrollment was only pending: the mail about the payment is enough."""
    await harness.receive(CONTACT, step(EnrollmentWithdrawn, 2, "payment_failed"))
    assert await harness.deliver_due() == []
