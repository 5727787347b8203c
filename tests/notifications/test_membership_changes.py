"""Mails about a membership's tier, price, cancellation and pause, and about a completed course."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from tests.notifications.harness import CONTACT, Harness, bodies, body_text, envelope_of, one, step, subjects
from tests.notifications.test_item_kinds import GOLD, bought, membership, of

from contracts.enrollment import EnrollmentActivated, EnrollmentCompleted, EnrollmentPaused, EnrollmentWithdrawn
from contracts.envelope import Event
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentRefunded, SubscriptionChanged

CHANGED = "Your Studio Membership has changed"
ENDS = "Your Studio Membership will end on May 1, 2026"
CONTINUES = "Your Studio Membership continues"


def state(day: int, **more: Any) -> SubscriptionChanged:
    end = "2026-05-01T00:00:00Z"
    return membership(**{"as_of": f"2026-04-{day:02}T00:00:00Z", "current_period_end": end} | more)


STARTED: tuple[Event, ...] = (CONTACT, bought(GOLD), of(GOLD, EnrollmentActivated, 1), state(1))


def changes(found: list[str]) -> list[str]:
    return [subject for subject in found if subject in (CHANGED, ENDS, CONTINUES)]


async def test_a_new_membership_has_not_changed(harness: Harness) -> None:
    await harness.receive(*STARTED, state(2))
    assert changes(subjects(await harness.deliver_due())) == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_another_tier_is_one_mail(harness: Harness, order: tuple[int, ...]) -> None:
    events = (state(2, tier="Platinum"), state(3, tier="Platinum"), state(4, tier="Platinum"))
    await harness.receive(*STARTED)
    await harness.deliver_due()
    for n in order:
        await harness.receive(envelope_of(n + 20, events[n]))
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert changes(subjects(mails)) == [CHANGED]
    for body in bodies(one(mails, CHANGED)):
        assert "Platinum" in body and "Gold" in body


async def test_each_change_of_tier_has_a_mail(harness: Harness) -> None:
    await harness.receive(*STARTED)
    for day, tier in ((2, "Platinum"), (3, "Gold")):
        await harness.receive(state(day, tier=tier))
        await harness.deliver_due()
    assert changes(subjects(await harness.deliver_due())) == [CHANGED] * 2


async def test_another_price_is_a_change(harness: Harness) -> None:
    await harness.receive(*STARTED[:-1], state(1, price=usd(1_900)), state(2, price=usd(19_000)))
    text = body_text(one(await harness.deliver_due(), CHANGED))
    assert "Price: 190.00 USD" in text and "before" not in text


async def test_a_cancellation_states_when_it_ends_and_undoing_it_that_it_continues(harness: Harness) -> None:
    await harness.receive(*STARTED)
    for day, canceled in ((2, True), (3, True), (4, False), (5, True)):
        await harness.receive(state(day, cancel_at_period_end=canceled))
        await harness.deliver_due()
    mails = await harness.deliver_due()
    assert changes(subjects(mails)) == [CONTINUES, ENDS, ENDS]
    text = body_text(next(mail for mail in mails if str(mail["Subject"]).strip() == ENDS))
    assert "stays active until May 1, 2026, and you will not be charged again" in text


async def test_an_ended_membership_has_the_mail_about_its_end_only(harness: Harness) -> None:
    await harness.receive(*STARTED, state(2, cancel_at_period_end=True), state(3, status="canceled"))
    await harness.receive(of(GOLD, EnrollmentWithdrawn, 2, "membership_ended"))
    found = subjects(await harness.deliver_due())
    assert changes(found) == [] and "Your Studio Membership has ended" in found


@pytest.mark.parametrize(
    ("resumes_at", "says"),
    [
        (None, "It stays paused until you resume it."),
        ("2026-07-01T00:00:00Z", "It continues on July 1, 2026, and you are charged again from then on."),
    ],
)
async def test_a_paused_membership_states_how_it_continues(harness: Harness, resumes_at: str | None, says: str) -> None:
    await harness.receive(*STARTED, state(2, collection_paused=True, resumes_at=resumes_at))
    await harness.receive(of(GOLD, EnrollmentPaused, 2, "membership_paused"))
    for body in bodies(one(await harness.deliver_due(), "Your Studio Membership is paused")):
        text = " ".join(body.split())
        assert says in text and "automatically" not in text
        assert ("resume it whenever you like" in text) == (resumes_at is None)


# --- completed --------------------------------------------------------------------------------------------------------

COMPLETED = "You have completed Barber Apprenticeship"


async def test_a_completed_course_has_one_mail(harness: Harness) -> None:
    await harness.receive(CONTACT, step(EnrollmentActivated, 1), step(EnrollmentCompleted, 2))
    await harness.deliver_due()
    await harness.receive(step(EnrollmentWithdrawn, 3, "refunded"), step(EnrollmentCompleted, 4))
    assert subjects(await harness.deliver_due()).count(COMPLETED) == 1


async def test_a_completed_course_that_was_refunded_is_not_congratulated(harness: Harness) -> None:
    from tests.notifications.harness import paid

    back = PaymentRefunded(refs=PaymentRefs(payment_intent="pi_1"), total=usd(489_000), before=usd(0), of=usd(489_000))
    await harness.receive(CONTACT, paid(), step(EnrollmentActivated, 1), step(EnrollmentCompleted, 2), back)
    assert COMPLETED not in subjects(await harness.deliver_due())
