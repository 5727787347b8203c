"""Bundles, memberships and purchases that the school ends."""

from __future__ import annotations

from typing import Any

from tests.enrollment.school import BUNDLE, SILVER, TRACK, Buyer, School, curriculum


async def enrollments(school: School, buyer: Buyer) -> dict[str, dict[str, Any]]:
    found = await school.rows("SELECT * FROM enrollments WHERE student_id = :student", student=buyer.id)
    return {row["program_slug"]: row for row in found}


async def test_a_bundle_gives_an_enrollment_in_each_of_its_parts(school: School) -> None:
    buyer = Buyer(program=BUNDLE)
    await school.hear(curriculum(), buyer.paid(), buyer.paid())
    found = await enrollments(school, buyer)
    assert {slug: row["kind"] for slug, row in found.items()} == {
        "web-developer": "track",
        "cpr": "course",
        "tool-kit": "product",
    }
    assert {(row["status"], row["purchase_id"]) for row in found.values()} == {("active", buyer.purchase_id)}
    for slug in found:
        assert await school.said(buyer.id, slug) == ["1 activated"]
    assert len((await school.progress(Buyer(id=buyer.id)))["projects"]) == 2, "the track in it can be studied"


async def test_a_refund_withdraws_all_of_a_bundle(school: School) -> None:
    buyer = Buyer(program=BUNDLE)
    await school.hear(buyer.paid(), buyer.refunded())
    found = await enrollments(school, buyer)
    assert {(row["status"], row["reason"]) for row in found.values()} == {("withdrawn", "refunded")}
    for slug in found:
        assert await school.said(buyer.id, slug) == ["1 activated", "2 withdrawn"]


async def test_what_was_bought_by_itself_too_outlives_the_bundle(school: School) -> None:
    buyer = Buyer(program=BUNDLE)
    await school.hear(buyer.paid(), Buyer(id=buyer.id, program=TRACK).paid(), buyer.refunded())
    assert {slug: row["status"] for slug, row in (await enrollments(school, buyer)).items()} == {
        "web-developer": "active",
        "cpr": "withdrawn",
        "tool-kit": "withdrawn",
    }


async def test_an_underpaid_bundle_opens_none_of_its_parts(school: School) -> None:
    buyer = Buyer(program=BUNDLE)
    await school.hear(buyer.paid(1))
    found = await enrollments(school, buyer)
    assert {(each["status"], each["reason"]) for each in found.values()} == {("pending", "underpaid")}


async def test_a_membership_is_open_from_its_first_payment_and_its_tier_follows(school: School) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await school.hear(buyer.subscription(0), buyer.invoice_paid(1))
    row = await school.enrollment(buyer.id, SILVER.slug)
    assert (row["status"], row["kind"], row["tier"], row["track"]) == ("active", "membership", "silver", None)
    await school.hear(buyer.subscription(2, tier="gold"), buyer.subscription(1, tier="bronze"))
    assert (await school.enrollment(buyer.id, SILVER.slug))["tier"] == "gold", "the last word, not the last that came"
    assert await school.said(buyer.id) == ["1 activated"]


async def test_a_membership_rests_while_its_collection_is_paused(school: School) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await school.hear(buyer.invoice_paid(1), buyer.subscription(1, collection_paused=True))
    assert await school.standing(buyer) == ("paused", "membership_paused")
    await school.hear(buyer.subscription(2))
    assert await school.standing(buyer) == ("active", None)
    assert await school.said(buyer.id) == ["1 activated", "2 paused", "3 resumed"]


async def test_a_membership_is_paused_while_it_is_past_due(school: School) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await school.hear(buyer.invoice_paid(1), buyer.invoice_missed(2))
    assert await school.standing(buyer) == ("paused", "past_due")
    await school.hear(buyer.invoice_paid(2))
    assert await school.standing(buyer) == ("active", None)


async def test_a_membership_that_ends_is_withdrawn_and_may_begin_anew(school: School) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await school.hear(buyer.subscription(0), buyer.invoice_paid(1), buyer.subscription(30, status="canceled"))
    assert await school.standing(buyer) == ("withdrawn", "membership_ended")
    again = Buyer(program=SILVER, price=None, id=buyer.id)
    await school.hear(again.subscription(40, tier="gold"), again.invoice_paid(1))
    row = await school.enrollment(buyer.id, SILVER.slug)
    assert (row["status"], row["tier"], row["purchase_id"]) == ("active", "gold", again.purchase_id)
    assert await school.said(buyer.id) == ["1 activated", "2 withdrawn", "3 activated"]


async def test_a_canceled_purchase_gives_its_enrollment_back_in_either_order(school: School) -> None:
    for order in (0, 1):
        buyer = Buyer()
        events = [buyer.paid(), buyer.canceled()]
        await school.hear(events[order], events[1 - order])
        assert await school.standing(buyer) == ("withdrawn", "canceled")


async def test_a_purchase_after_a_canceled_one_opens_the_enrollment_again(school: School) -> None:
    buyer = Buyer()
    await school.hear(buyer.paid(), buyer.canceled(), Buyer(id=buyer.id).paid())
    assert await school.standing(buyer) == ("active", None)
    assert await school.said(buyer.id) == ["1 activated", "2 withdrawn", "3 activated"]
