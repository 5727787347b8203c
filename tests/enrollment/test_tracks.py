"""A paid track starts its progress once, in whatever order payment and curriculum arrive."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from tests.enrollment.harness import PRICE, PROJECTS, TRACK, Buyer, Service, curriculum

from contracts.checkout import Project
from contracts.money import Money, usd
from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs
from contracts.people import Program

OTHER_PROJECTS = (Project(title="Something else", steps=("Do it",)),)


async def started(service: Service, student: UUID) -> list[tuple[str, str, int]]:
    """The student's projects: title, status, number of steps."""
    rows = await service.rows(
        "SELECT p.title, p.status, count(s.id) AS steps FROM project_progress p "
        "LEFT JOIN step_progress s ON s.project_id = p.id WHERE p.student_id = :student "
        "GROUP BY p.id ORDER BY p.position",
        student=student,
    )
    return [(row["title"], row["status"], row["steps"]) for row in rows]


STARTED = [("A page", "unlocked", 2), ("A shop", "locked", 1)]


async def test_a_paid_track_starts_with_its_first_project_unlocked(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(curriculum(), buyer.paid())
    row = await service.enrollment(buyer.id, TRACK.slug)
    assert (row["kind"], row["track"], row["status"], row["tier"]) == ("track", TRACK.slug, "active", None)
    assert await started(service, buyer.id) == STARTED


async def test_the_curriculum_can_arrive_after_the_payment(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(buyer.paid())
    assert await started(service, buyer.id) == []
    await service.deliver(curriculum())
    assert await started(service, buyer.id) == STARTED
    assert await service.published(buyer.id) == ["1 activated"]


async def test_repeated_events_start_nothing_again(service: Service) -> None:
    buyer = Buyer()
    for _ in range(3):
        await service.deliver(buyer.paid(), curriculum())
    assert await started(service, buyer.id) == STARTED


async def test_a_higher_revision_applies_to_later_enrollments(service: Service) -> None:
    early, late = Buyer(), Buyer()
    await service.deliver(curriculum(), early.paid(), curriculum(OTHER_PROJECTS, revision=2), late.paid())
    assert await started(service, early.id) == STARTED
    assert await started(service, late.id) == [("Something else", "unlocked", 1)]


async def test_a_lower_revision_is_ignored(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(curriculum(revision=2), curriculum(OTHER_PROJECTS, revision=1), buyer.paid())
    assert await started(service, buyer.id) == STARTED


async def test_a_track_without_projects_has_no_progress_until_it_gets_some(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(curriculum(()), buyer.paid(), buyer.paid())
    assert await started(service, buyer.id) == []
    empty = await service.progress(buyer)
    assert (empty["track"], empty["projects"], empty["percent"], empty["completed_at"]) == (TRACK.slug, [], 0, None)
    await service.deliver(curriculum(revision=2))
    assert await started(service, buyer.id) == STARTED


async def test_only_tracks_have_progress(service: Service) -> None:
    course = Program(slug=TRACK.slug, id="item-9", kind="course")
    buyer = Buyer(program=course)
    await service.deliver(buyer.paid(), curriculum(item=course))
    row = await service.enrollment(buyer.id, course.slug)
    assert (row["kind"], row["track"]) == ("course", None)
    assert await started(service, buyer.id) == []


async def test_a_pending_payment_starts_nothing(service: Service) -> None:
    buyer = Buyer()
    paid = buyer.paid()
    pending = PaymentPending(
        refs=paid.refs, purchase_id=paid.purchase_id, student_id=buyer.id, program=TRACK, price=PRICE
    )
    await service.deliver(pending, curriculum())
    assert (await service.standing(buyer), await started(service, buyer.id)) == (("pending", None), [])
    await service.deliver(paid)
    assert (await service.standing(buyer), await started(service, buyer.id)) == (("active", None), STARTED)


async def test_an_enrollment_withdrawn_before_its_curriculum_starts_when_bought_again(
    service: Service,
) -> None:
    buyer = Buyer()
    await service.deliver(buyer.paid(), buyer.refunded(), curriculum())
    assert await started(service, buyer.id) == []
    await service.deliver(Buyer(id=buyer.id).paid())
    assert await started(service, buyer.id) == STARTED


async def test_concurrent_payments_and_curricula_start_each_enrollment_once(service: Service) -> None:
    """Neither may miss what the other is committing."""
    buyers = [Buyer() for _ in range(12)]
    await asyncio.gather(
        *(service.deliver(buyer.paid(), buyer.paid()) for buyer in buyers[:6]),
        service.deliver(curriculum()),
        *(service.deliver(buyer.paid()) for buyer in buyers for _ in range(2)),
        service.deliver(curriculum(revision=2), curriculum(revision=3)),
    )
    assert [await started(service, buyer.id) for buyer in buyers] == [STARTED] * 12
    for n in range(20):
        buyer, track = Buyer(program=Program(slug=f"track-{n}", id=f"item-{n}", kind="track")), f"track-{n}"
        news = curriculum(item=Program(slug=track, id=f"item-{n}", kind="track"))
        await asyncio.gather(service.deliver(buyer.paid()), service.deliver(news))
        assert await started(service, buyer.id) == STARTED


# --- underpaid -------------------------------------------------------------------------------------------------------


async def test_less_than_the_price_starts_no_track(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(curriculum(), buyer.paid(PRICE.amount - 1))
    assert await service.standing(buyer) == ("pending", "underpaid")
    assert (await service.enrollment(buyer.id, TRACK.slug))["payment_status"] == "pending"
    assert (await service.published(buyer.id), await started(service, buyer.id)) == (["1 pending"], [])


async def test_paying_the_rest_starts_the_track(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(curriculum(), buyer.paid(PRICE.amount - 1), buyer.paid(1, n=2))
    assert await service.standing(buyer) == ("active", None)
    assert (await service.published(buyer.id), await started(service, buyer.id)) == (
        ["1 pending", "2 activated"],
        STARTED,
    )


async def test_money_in_another_currency_is_not_the_price(service: Service) -> None:
    buyer = Buyer(price=Money(amount=PRICE.amount, currency="eur"))
    await service.deliver(buyer.paid())
    assert await service.standing(buyer) == ("pending", "underpaid")


@pytest.mark.parametrize(
    ("buyer", "paid"),
    [
        (Buyer(price=None), {"amount": 1}),
        (Buyer(installments=4), {"amount": 25_000}),
        (Buyer(), {"amount": 0, "method": "waiver"}),
        (Buyer(price=usd(0)), {"amount": 0}),
    ],
    ids=["unknown price", "an installment", "a waiver", "free of charge"],
)
async def test_payments_that_need_not_cover_the_price(service: Service, buyer: Buyer, paid: dict[str, Any]) -> None:
    await service.deliver(buyer.paid(**paid))
    assert await service.standing(buyer) == ("active", None)


async def test_an_underpaid_purchase_does_not_affect_an_enrollment_paid_by_another(service: Service) -> None:
    first = Buyer()
    second = Buyer(id=first.id)
    for order in ((first.paid(), second.paid(1)), (second.paid(1), first.paid())):
        await service.deliver(*order)
        assert await service.standing(first) == ("active", None)


async def test_a_refund_withdraws_an_underpaid_enrollment(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(buyer.paid(500), buyer.refunded(500))
    assert await service.standing(buyer) == ("withdrawn", "refunded")
    assert await service.published(buyer.id) == ["1 pending", "2 withdrawn"]


def _short(buyer: Buyer) -> list[PaymentEvent]:
    return [buyer.paid(500), buyer.paid(PRICE.amount - 600, n=2)]


def _in_full(buyer: Buyer) -> list[PaymentEvent]:
    silent = buyer.paid(500).model_copy(update={"price": None, "refs": PaymentRefs(payment_intent="pi_silent")})
    return [buyer.paid(500), buyer.paid(PRICE.amount - 1_000, n=2), silent]


@pytest.mark.parametrize(
    ("history", "expected"),
    [(_short, ("pending", "underpaid")), (_in_full, ("active", None))],
    ids=["too little", "enough"],
)
async def test_the_order_of_the_payments_does_not_matter(
    service: Service, history: Any, expected: tuple[str, str | None]
) -> None:
    await service.deliver(curriculum())
    for order in permutations(range(len(history(Buyer())))):
        buyer = Buyer()
        events = [
            event.model_copy(update={"refs": PaymentRefs(payment_intent=f"{event.refs.payment_intent}_{buyer.id}")})
            for event in history(buyer)
        ]
        await service.deliver(*(events[n] for n in order))
        assert await service.standing(buyer) == expected
        assert await started(service, buyer.id) == (STARTED if expected[0] == "active" else [])


async def test_a_project_without_steps_does_not_block_the_next(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(curriculum((Project(title="Welcome", steps=()), *PROJECTS)), buyer.paid())
    assert await started(service, buyer.id) == [("Welcome", "completed", 0), *STARTED]
