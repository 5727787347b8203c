"""A payment that was not started here has books: a purchase, its payment, a receipt, and what follows from them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.external_steps import enveloped, events_about, external_intent, external_page, external_plan
from tests.checkout.payment_steps import BY_ADMIN, ask, payments
from tests.checkout.service import ADMIN, Service, bearer

from checkout.payments import refund_service
from checkout.purchases.repository import SUBSCRIPTION_CANCEL
from contracts.payments import PurchaseRecorded

RECORDED = "purchase.recorded.v1"


async def _recorded(service: Service, student: UUID) -> dict[str, Any]:
    (event,) = await service.published(student, RECORDED)
    return event


@pytest.mark.parametrize(
    "metadata",
    [
        {"program_slug": "barber-apprenticeship", "program_id": "theirs-1"},
        {"program_id": "5f0c0e0a-6a51-4c5e-9a30-0d4b1f6f0a01"},
        {"program_id": "barber-apprenticeship"},
    ],
)
async def test_a_external_page_is_a_purchase_with_a_payment_and_a_receipt(
    service: Service, metadata: dict[str, str]
) -> None:
    student = uuid4()
    session = await external_page(service, {"student_id": str(student), **metadata}, amount=489_000)
    await service.deliver(*await events_about(service, session))
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["payment_flow"], purchase["payment_type"]) == ("paid", "external", "full")
    assert (purchase["program_slug"], purchase["amount"], purchase["list_price"]) == (
        "barber-apprenticeship",
        489_000,
        489_000,
    )
    assert (purchase["recorded_by"], purchase["state_reason"], purchase["id"].version) == ("system", None, 5)
    (payment,) = await payments(service, student)
    assert (payment["status"], payment["amount"], payment["purchase_id"]) == ("succeeded", 489_000, purchase["id"])
    assert session in payment["refs"]
    (receipt,) = await service.published(student, "receipt.issued.v1")
    assert receipt["amount"] == {"amount": 489_000, "currency": "usd"}
    event = await _recorded(service, student)
    assert event["purchase_id"] == str(purchase["id"])
    assert event["price"] == {"amount": 489_000, "currency": "usd"}
    assert (event["payer"], event["program"]["slug"]) == ("student", "barber-apprenticeship")
    assert event["program"]["provider"] == "milady", "the whole item from the catalog"
    assert await service.rows("SELECT id FROM unmatched_payments WHERE purchase_id = :id", id=purchase["id"]) == []


async def test_its_own_record_comes_back_and_changes_nothing(service: Service) -> None:
    student = uuid4()
    session = await external_page(service, {"student_id": str(student), "program_slug": "cpr"}, amount=57_500)
    await service.deliver(*await events_about(service, session))
    before = await service.purchase(student)
    rows = await service.rows(
        "SELECT headers->>'cloudEvents:id' AS id, convert_from(body, 'UTF8') AS body FROM outbox_messages "
        "WHERE routing_key = :type AND headers->>'cloudEvents:subject' = :subject",
        type=RECORDED,
        subject=str(before["id"]),
    )
    for row in rows:
        await service.deliver(enveloped(PurchaseRecorded.model_validate_json(row["body"]), id=row["id"]))
    assert await service.purchase(student) == before
    assert len(await service.published(student, RECORDED)) == len(rows) == 1
    assert len(await payments(service, student)) == 1


async def test_a_purchase_id_that_nobody_has_here_is_external_too(service: Service) -> None:
    student, purchase = uuid4(), uuid4()
    named = {"student_id": str(student), "program_slug": "cpr", "purchase_id": str(purchase)}
    intent = await external_intent(service, named, amount=50)
    await service.deliver(*await events_about(service, intent))
    row = await service.purchase(student)
    assert (row["id"], row["state_reason"], row["shortfall"]) == (purchase, "underpaid", 57_450)


async def test_an_intent_that_names_a_track_by_its_code(service: Service) -> None:
    student = uuid4()
    intent = await external_intent(service, {"student_id": str(student), "track": "DP"}, amount=49_900)
    await service.deliver(*await events_about(service, intent))
    purchase = await service.purchase(student)
    assert (purchase["program_slug"], purchase["item_kind"], purchase["state"]) == ("dp", "track", "paid")
    (payment,) = await payments(service, student)
    assert payment["stripe_payment_intent_id"] == intent


async def test_a_course_that_names_its_buyer_by_another_systems_ids(service: Service) -> None:
    course = f"course-{uuid4().hex[:8]}"
    added = await service.admin(
        "POST", "/api/admin/items", kind="course", slug=course, name="Theirs", price=100, external_id=f"ext-{course}"
    )
    assert added.status_code == 201, added.text
    session = await external_page(service, {"userId": f"user-{course}", "courseId": f"ext-{course}"}, amount=10_000)
    await service.deliver(*await events_about(service, session))
    (purchase,) = await service.rows("SELECT * FROM purchases WHERE program_slug = :slug", slug=course)
    assert (purchase["state"], purchase["amount"]) == ("paid", 10_000)


async def test_an_external_sponsor_has_a_funding_row_and_an_invoice(service: Service) -> None:
    student = uuid4()
    session = await external_page(
        service,
        {"student_id": str(student), "program_slug": "dsp", "program_id": "p-1", "funding_source": "wioa"},
        amount=432_500,
    )
    await service.deliver(*await events_about(service, session))
    purchase = await service.purchase(student)
    assert (purchase["payer"], purchase["funding_source"], purchase["state"]) == ("sponsor", "WIOA", "paid")
    funding = await service.funding(student)
    assert (funding["id"], funding["status"], funding["funding_source"]) == (purchase["id"], "paid", "WIOA")
    assert (str(funding["amount"]), funding["stripe_checkout_session_id"]) == ("4325.00", session)
    assert funding["paid_at"] is not None
    (invoice,) = await service.published(student, "receipt.issued.v1")
    assert invoice["kind"] == "invoice"
    assert (await _recorded(service, student))["payer"] == "sponsor"


async def test_the_external_cent_is_underpaid(service: Service) -> None:
    student = uuid4()
    session = await external_page(service, {"student_id": str(student), "program_slug": "hvac"}, amount=50)
    await service.deliver(*await events_about(service, session))
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["state_reason"], purchase["shortfall"]) == (
        "processing",
        "underpaid",
        499_950,
    )
    assert (await _recorded(service, student))["price"] == {"amount": 500_000, "currency": "usd"}


async def test_refund_status_history_and_cancel_work_on_it(service: Service) -> None:
    student = uuid4()
    intent = await external_intent(service, {"student_id": str(student), "program_slug": "cpr"}, amount=57_500)
    await service.deliver(*await events_about(service, intent))
    headers = bearer("student", student)
    history = await service.call("GET", "/api/payments/history/customer", headers=headers)
    (payment,) = history.json()["items"]
    assert payment["item_slug"] == "cpr"
    status = await service.call("GET", f"/api/payments/status/{intent}", headers=headers)
    assert (status.status_code, status.json()["amount"]) == (200, 57_500)
    (listed,) = (await service.call("GET", "/api/purchases", headers=headers)).json()["items"]
    overview = await service.call("GET", f"/api/enrollments/{listed['id']}/payment", headers=headers)
    assert overview.status_code == 200, overview.text

    answer = await ask(service, payment["id"], by=BY_ADMIN)
    assert answer.status_code == 201, answer.text
    await service.perform(student, refund_service.REFUND)
    await service.deliver(*await events_about(service, intent))
    assert (await service.purchase(student))["state"] in ("withdrawn", "canceled")
    assert (await payments(service, student))[0]["refunded"] == 57_500


async def test_canceling_an_external_plan_cancels_its_subscription(service: Service) -> None:
    student = uuid4()
    purchase = await external_plan(service, student)
    assert (purchase["payment_type"], purchase["installments"], purchase["state"]) == ("plan", 4, "paid")
    event = await _last_recorded(service, student)
    assert (event["installments"], event["due"]["amount"], event["price"]["amount"]) == (4, 122_250, 489_000)
    subscription = purchase["stripe_subscription_id"]
    assert subscription is not None
    canceled = await service.call(
        "POST",
        f"/api/admin/enrollments/{purchase['id']}/cancel",
        json={"reason": "moved away", "refund_amount": 0},
        headers=bearer("admin", ADMIN),
    )
    assert canceled.status_code == 200, canceled.text
    await service.perform(student, SUBSCRIPTION_CANCEL)
    ended = await service.sandbox.api.subscriptions.retrieve_async(subscription)
    assert ended.status == "canceled"


async def _last_recorded(service: Service, student: UUID) -> dict[str, Any]:
    return (await service.published(student, RECORDED))[-1]


async def test_an_external_membership(service: Service) -> None:
    student = uuid4()
    session = await external_page(
        service,
        {
            "student_id": str(student),
            "program_slug": "membership",
            "program_id": "student-membership",
            "program_kind": "membership",
            "tier": "student",
        },
        amount=1_900,
        mode="subscription",
    )
    await service.deliver(*await events_about(service, session))
    purchase = await service.purchase(student)
    assert (purchase["payment_flow"], purchase["tier"], purchase["interval"]) == ("membership", "student", "month")
    (membership,) = await service.rows("SELECT * FROM memberships WHERE student_id = :id", id=student)
    assert (membership["status"], membership["tier"]) == ("active", "student")
    assert (await _last_recorded(service, student)).get("price") is None
