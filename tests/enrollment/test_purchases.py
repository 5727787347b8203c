"""Bundles, memberships and canceled purchases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.enrollment.harness import BUNDLE, SILVER, TRACK, Buyer, Service, curriculum

from contracts.payments import PaymentFailed, PaymentPending, PaymentRefs


async def enrollments(service: Service, buyer: Buyer) -> dict[str, dict[str, Any]]:
    found = await service.rows("SELECT * FROM enrollments WHERE student_id = :student", student=buyer.id)
    return {row["program_slug"]: row for row in found}


async def test_a_bundle_gives_an_enrollment_in_each_of_its_parts(service: Service) -> None:
    buyer = Buyer(program=BUNDLE)
    await service.deliver(curriculum(), buyer.paid(), buyer.paid())
    found = await enrollments(service, buyer)
    assert {slug: row["kind"] for slug, row in found.items()} == {
        "web-developer": "track",
        "cpr": "course",
        "tool-kit": "product",
    }
    assert {(row["status"], row["purchase_id"]) for row in found.values()} == {("active", buyer.purchase_id)}
    for slug in found:
        assert await service.published(buyer.id, slug) == ["1 activated"]
    assert len((await service.progress(Buyer(id=buyer.id)))["projects"]) == 2, "the track in it can be studied"


async def test_a_refund_withdraws_all_of_a_bundle(service: Service) -> None:
    buyer = Buyer(program=BUNDLE)
    await service.deliver(buyer.paid(), buyer.refunded())
    found = await enrollments(service, buyer)
    assert {(row["status"], row["reason"]) for row in found.values()} == {("withdrawn", "refunded")}
    for slug in found:
        assert await service.published(buyer.id, slug) == ["1 activated", "2 withdrawn"]


async def test_a_part_bought_separately_survives_the_bundles_refund(service: Service) -> None:
    buyer = Buyer(program=BUNDLE)
    await service.deliver(buyer.paid(), Buyer(id=buyer.id, program=TRACK).paid(), buyer.refunded())
    assert {slug: row["status"] for slug, row in (await enrollments(service, buyer)).items()} == {
        "web-developer": "active",
        "cpr": "withdrawn",
        "tool-kit": "withdrawn",
    }


async def test_an_underpaid_bundle_activates_none_of_its_parts(service: Service) -> None:
    buyer = Buyer(program=BUNDLE)
    await service.deliver(buyer.paid(1))
    found = await enrollments(service, buyer)
    assert {(each["status"], each["reason"]) for each in found.values()} == {("pending", "underpaid")}


async def test_a_membership_is_active_from_its_first_payment_with_its_current_tier(service: Service) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await service.deliver(buyer.subscription(0), buyer.invoice_paid(1))
    row = await service.enrollment(buyer.id, SILVER.slug)
    assert (row["status"], row["kind"], row["tier"], row["track"]) == ("active", "membership", "silver", None)
    await service.deliver(buyer.subscription(2, tier="gold"), buyer.subscription(1, tier="bronze"))
    assert (await service.enrollment(buyer.id, SILVER.slug))["tier"] == "gold", "the last word, not the last that came"
    assert await service.published(buyer.id) == ["1 activated"]


async def test_a_membership_is_paused_while_its_collection_is_paused(service: Service) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await service.deliver(buyer.invoice_paid(1), buyer.subscription(1, collection_paused=True))
    assert await service.standing(buyer) == ("paused", "membership_paused")
    await service.deliver(buyer.subscription(2))
    assert await service.standing(buyer) == ("active", None)
    assert await service.published(buyer.id) == ["1 activated", "2 paused", "3 resumed"]


async def test_a_membership_is_paused_while_it_is_past_due(service: Service) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await service.deliver(buyer.invoice_paid(1), buyer.invoice_missed(2))
    assert await service.standing(buyer) == ("paused", "past_due")
    await service.deliver(buyer.invoice_paid(2))
    assert await service.standing(buyer) == ("active", None)


async def test_an_ended_membership_is_withdrawn_and_can_start_again(service: Service) -> None:
    buyer = Buyer(program=SILVER, price=None)
    await service.deliver(buyer.subscription(0), buyer.invoice_paid(1), buyer.subscription(30, status="canceled"))
    assert await service.standing(buyer) == ("withdrawn", "membership_ended")
    again = Buyer(program=SILVER, price=None, id=buyer.id)
    await service.deliver(again.subscription(40, tier="gold"), again.invoice_paid(1))
    row = await service.enrollment(buyer.id, SILVER.slug)
    assert (row["status"], row["tier"], row["purchase_id"]) == ("active", "gold", again.purchase_id)
    assert await service.published(buyer.id) == ["1 activated", "2 withdrawn", "3 activated"]


async def test_a_canceled_purchase_withdraws_in_either_order(service: Service) -> None:
    for order in (0, 1):
        buyer = Buyer()
        events = [buyer.paid(), buyer.canceled()]
        await service.deliver(events[order], events[1 - order])
        assert await service.standing(buyer) == ("withdrawn", "canceled")


async def test_a_purchase_after_a_canceled_one_activates_again(service: Service) -> None:
    buyer = Buyer()
    await service.deliver(buyer.paid(), buyer.canceled(), Buyer(id=buyer.id).paid())
    assert await service.standing(buyer) == ("active", None)
    assert await service.published(buyer.id) == ["1 activated", "2 withdrawn", "3 activated"]


async def test_an_enrollment_shows_when_it_was_paid_for(service: Service) -> None:
    buyer, other = Buyer(), Buyer()
    received = datetime(2026, 11, 3, tzinfo=UTC)
    await service.deliver(buyer.paid().model_copy(update={"as_of": received}), other.paid(1))
    rows = {row["student_id"]: row["enrolled_at"] for row in await service.rows("SELECT * FROM enrollments")}
    assert (rows[buyer.id], rows[other.id]) == (received, None)


async def test_a_shortfall_is_published_after_the_pending_debit(service: Service) -> None:
    """The price can arrive after the money; until then it is only pending."""
    buyer = Buyer()
    refs = PaymentRefs(payment_intent=f"pi_{buyer.purchase_id}")
    pending = PaymentPending(refs=refs, purchase_id=buyer.purchase_id, student_id=buyer.id, program=buyer.program)
    await service.deliver(pending, buyer.paid(1))
    assert await service.published(buyer.id) == ["1 pending", "2 pending"]
    assert await service.standing(buyer) == ("pending", "underpaid")


async def test_a_debit_that_failed_before_it_was_reported_is_not_published(service: Service) -> None:
    buyer = Buyer()
    refs = PaymentRefs(payment_intent=f"pi_{buyer.purchase_id}", charge="py_1")
    fields: dict[str, Any] = {"purchase_id": buyer.purchase_id, "student_id": buyer.id, "program": buyer.program}
    failed = PaymentFailed(refs=refs, final=True, **fields)
    await service.deliver(failed, PaymentPending(refs=refs, **fields))
    assert await service.standing(buyer) == ("withdrawn", "payment_failed")
    assert await service.published(buyer.id) == []
