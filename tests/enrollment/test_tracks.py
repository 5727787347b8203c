"""A track that is paid for becomes studies: once, whatever comes first."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from tests.enrollment.school import PRICE, PROJECTS, TRACK, Buyer, School, curriculum

from contracts.checkout import Project
from contracts.money import Money, usd
from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs
from contracts.people import Program

OTHER_PROJECTS = (Project(title="Something else", steps=("Do it",)),)


async def begun(school: School, student: UUID) -> list[tuple[str, str, int]]:
    """Each project of the student: title, status, number of steps."""
    rows = await school.rows(
        "SELECT p.title, p.status, count(s.id) AS steps FROM project_progress p "
        "LEFT JOIN step_progress s ON s.project_id = p.id WHERE p.student_id = :student "
        "GROUP BY p.id ORDER BY p.position",
        student=student,
    )
    return [(row["title"], row["status"], row["steps"]) for row in rows]


BEGUN = [("A page", "unlocked", 2), ("A shop", "locked", 1)]


async def test_a_paid_track_begins_with_its_first_project_open(school: School) -> None:
    buyer = Buyer()
    await school.hear(curriculum(), buyer.paid())
    row = await school.enrollment(buyer.id, TRACK.slug)
    assert (row["kind"], row["track"], row["status"], row["tier"]) == ("track", TRACK.slug, "active", None)
    assert await begun(school, buyer.id) == BEGUN


async def test_the_curriculum_may_come_after_the_payment(school: School) -> None:
    buyer = Buyer()
    await school.hear(buyer.paid())
    assert await begun(school, buyer.id) == []
    await school.hear(curriculum())
    assert await begun(school, buyer.id) == BEGUN
    assert await school.said(buyer.id) == ["1 activated"]


async def test_hearing_everything_again_begins_nothing_again(school: School) -> None:
    buyer = Buyer()
    for _ in range(3):
        await school.hear(buyer.paid(), curriculum())
    assert await begun(school, buyer.id) == BEGUN


async def test_a_higher_revision_is_for_those_who_come_after_it(school: School) -> None:
    early, late = Buyer(), Buyer()
    await school.hear(curriculum(), early.paid(), curriculum(OTHER_PROJECTS, revision=2), late.paid())
    assert await begun(school, early.id) == BEGUN
    assert await begun(school, late.id) == [("Something else", "unlocked", 1)]


async def test_a_lower_revision_that_comes_late_is_no_news(school: School) -> None:
    buyer = Buyer()
    await school.hear(curriculum(revision=2), curriculum(OTHER_PROJECTS, revision=1), buyer.paid())
    assert await begun(school, buyer.id) == BEGUN


async def test_a_track_without_projects_has_no_progress_until_it_gets_some(school: School) -> None:
    buyer = Buyer()
    await school.hear(curriculum(()), buyer.paid(), buyer.paid())
    assert await begun(school, buyer.id) == []
    empty = await school.progress(buyer)
    assert (empty["track"], empty["projects"], empty["percent"], empty["completed_at"]) == (TRACK.slug, [], 0, None)
    await school.hear(curriculum(revision=2))
    assert await begun(school, buyer.id) == BEGUN


async def test_what_is_no_track_has_no_progress(school: School) -> None:
    course = Program(slug=TRACK.slug, id="item-9", kind="course")
    buyer = Buyer(program=course)
    await school.hear(buyer.paid(), curriculum(item=course))
    row = await school.enrollment(buyer.id, course.slug)
    assert (row["kind"], row["track"]) == ("course", None)
    assert await begun(school, buyer.id) == []


async def test_money_on_its_way_begins_nothing(school: School) -> None:
    buyer = Buyer()
    paid = buyer.paid()
    pending = PaymentPending(
        refs=paid.refs, purchase_id=paid.purchase_id, student_id=buyer.id, program=TRACK, price=PRICE
    )
    await school.hear(pending, curriculum())
    assert (await school.standing(buyer), await begun(school, buyer.id)) == (("pending", None), [])
    await school.hear(paid)
    assert (await school.standing(buyer), await begun(school, buyer.id)) == (("active", None), BEGUN)


async def test_an_enrollment_that_is_withdrawn_before_the_curriculum_comes_begins_when_it_is_bought_again(
    school: School,
) -> None:
    buyer = Buyer()
    await school.hear(buyer.paid(), buyer.refunded(), curriculum())
    assert await begun(school, buyer.id) == []
    await school.hear(Buyer(id=buyer.id).paid())
    assert await begun(school, buyer.id) == BEGUN


async def test_payments_and_news_of_the_catalog_at_once_begin_each_enrollment_exactly_once(school: School) -> None:
    """Neither may miss what the other is just committing."""
    buyers = [Buyer() for _ in range(12)]
    await asyncio.gather(
        *(school.hear(buyer.paid(), buyer.paid()) for buyer in buyers[:6]),
        school.hear(curriculum()),
        *(school.hear(buyer.paid()) for buyer in buyers for _ in range(2)),
        school.hear(curriculum(revision=2), curriculum(revision=3)),
    )
    assert [await begun(school, buyer.id) for buyer in buyers] == [BEGUN] * 12
    for n in range(20):
        buyer, track = Buyer(program=Program(slug=f"track-{n}", id=f"item-{n}", kind="track")), f"track-{n}"
        news = curriculum(item=Program(slug=track, id=f"item-{n}", kind="track"))
        await asyncio.gather(school.hear(buyer.paid()), school.hear(news))
        assert await begun(school, buyer.id) == BEGUN


# --- the payment is verified before the enrollment opens ---------------------------------------------------------------


async def test_less_than_the_price_opens_no_track(school: School) -> None:
    buyer = Buyer()
    await school.hear(curriculum(), buyer.paid(PRICE.amount - 1))
    assert await school.standing(buyer) == ("pending", "underpaid")
    assert (await school.enrollment(buyer.id, TRACK.slug))["payment_status"] == "pending"
    assert (await school.said(buyer.id), await begun(school, buyer.id)) == (["1 pending"], [])


async def test_the_rest_of_the_money_opens_it(school: School) -> None:
    buyer = Buyer()
    await school.hear(curriculum(), buyer.paid(PRICE.amount - 1), buyer.paid(1, n=2))
    assert await school.standing(buyer) == ("active", None)
    assert (await school.said(buyer.id), await begun(school, buyer.id)) == (["1 pending", "2 activated"], BEGUN)


async def test_money_in_another_currency_is_not_the_price(school: School) -> None:
    buyer = Buyer(price=Money(amount=PRICE.amount, currency="eur"))
    await school.hear(buyer.paid())
    assert await school.standing(buyer) == ("pending", "underpaid")


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
async def test_what_need_not_be_the_whole_price(school: School, buyer: Buyer, paid: dict[str, Any]) -> None:
    await school.hear(buyer.paid(**paid))
    assert await school.standing(buyer) == ("active", None)


async def test_an_underpaid_purchase_does_not_close_an_enrollment_that_another_one_opened(school: School) -> None:
    first = Buyer()
    second = Buyer(id=first.id)
    for order in ((first.paid(), second.paid(1)), (second.paid(1), first.paid())):
        await school.hear(*order)
        assert await school.standing(first) == ("active", None)


async def test_a_refund_withdraws_what_was_underpaid_too(school: School) -> None:
    buyer = Buyer()
    await school.hear(buyer.paid(500), buyer.refunded(500))
    assert await school.standing(buyer) == ("withdrawn", "refunded")
    assert await school.said(buyer.id) == ["1 pending", "2 withdrawn"]


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
    school: School, history: Any, expected: tuple[str, str | None]
) -> None:
    await school.hear(curriculum())
    for order in permutations(range(len(history(Buyer())))):
        buyer = Buyer()
        events = [
            event.model_copy(update={"refs": PaymentRefs(payment_intent=f"{event.refs.payment_intent}_{buyer.id}")})
            for event in history(buyer)
        ]
        await school.hear(*(events[n] for n in order))
        assert await school.standing(buyer) == expected
        assert await begun(school, buyer.id) == (BEGUN if expected[0] == "active" else [])


async def test_a_project_without_steps_does_not_stand_in_the_way(school: School) -> None:
    buyer = Buyer()
    await school.hear(curriculum((Project(title="Welcome", steps=()), *PROJECTS)), buyer.paid())
    assert await begun(school, buyer.id) == [("Welcome", "completed", 0), *BEGUN]
