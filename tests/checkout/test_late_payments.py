"""Money that arrives after its purchase had ended is sent back, or listed for an admin; it opens nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.payment_steps import (
    BY_ADMIN,
    ask,
    deliver_published,
    paid,
    pay_again,
    pay_cash,
    payments,
    read,
    refunds,
    standing,
    stripes,
)
from tests.checkout.service import ADMIN, Service

from checkout import consumers
from checkout.payments import refund_service


async def _unmatched(service: Service, intent: str) -> list[dict[str, Any]]:
    rows = await service.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM outbox_messages "
        "WHERE routing_key = 'payment.unmatched.v1'"
    )
    return [row["body"] for row in rows if row["body"]["refs"].get("payment_intent") == intent]


async def _settles(service: Service, student: UUID, pending: dict[str, Any]) -> dict[str, Any]:
    intent = pending["stripe_payment_intent_id"]
    await service.sandbox.operate(f"/payment_intents/{intent}/settle")
    await service.deliver_stripe_events(student)
    (row,) = [each for each in await payments(service, student) if each["stripe_payment_intent_id"] == intent]
    return row


@pytest.mark.parametrize("ended_by", ["admin", "dashboard"])
async def test_a_debit_that_settles_after_everything_was_refunded_is_sent_back(
    service_with_moved_clock: Service, ended_by: str
) -> None:
    service, student = service_with_moved_clock, uuid4()
    row = await paid(service, student)
    pending = await pay_again(service, student, amount=20_000, settled=False)
    if ended_by == "admin":
        assert (await ask(service, row["id"], by=BY_ADMIN)).json()["purchase_ended"] is True
        await service.perform(student, refund_service.REFUND)
        await deliver_published(service, student)
    else:
        await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/refund")
    await service.deliver_stripe_events(student)
    assert (await standing(service, student))[0] == "withdrawn"
    await service.sandbox.operate("/clock/advance", seconds=600)

    late = await _settles(service, student, pending)
    assert (late["late"], late["status"]) == (True, "succeeded")
    (made,) = await refunds(service, late["id"])
    assert (made["amount"], made["origin"], made["requested_by"]) == (20_000, "late", "system")
    (alert,) = await _unmatched(service, late["stripe_payment_intent_id"])
    assert (alert["code"], alert["amount"]) == ("after_end", {"amount": 20_000, "currency": "usd"})
    await service.perform(student, refund_service.REFUND)
    await service.deliver_stripe_events(student)
    (at_stripe,) = await stripes(service, late["stripe_payment_intent_id"])
    assert at_stripe.amount == 20_000
    assert (await standing(service, student))[0] == "withdrawn"
    await service.deliver_stripe_events(student)
    assert len(await refunds(service, late["id"])) == 1
    assert len(await _unmatched(service, late["stripe_payment_intent_id"])) == 1


async def test_a_payment_after_a_lost_dispute_of_everything_is_sent_back(service_with_moved_clock: Service) -> None:
    service, student = service_with_moved_clock, uuid4()
    row = await paid(service, student)
    dispute = await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute")
    await service.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await service.deliver_stripe_events(student)
    (ended,) = await service.published(student, "purchase.ended.v1")
    assert (ended["by"], ended["reason"]) == ("dispute", "dispute_lost")
    (key,) = await service.rows(
        "SELECT message_key FROM outbox_messages WHERE routing_key = 'purchase.ended.v1' AND message_key LIKE :id",
        id=f"{row['purchase_id']}%",
    )
    assert key["message_key"] == f"{row['purchase_id']}/{dispute['id']}/purchase.ended.v1"
    await deliver_published(service, student)
    await service.deliver_stripe_events(student)
    assert len(await service.published(student, "purchase.ended.v1")) == 1, "once"
    await service.sandbox.operate("/clock/advance", seconds=600)
    late = await pay_again(service, student, amount=20_000)
    assert late["late"]
    assert [each["origin"] for each in await refunds(service, late["id"])] == ["late"]
    assert await refunds(service, row["id"]) == []


async def test_an_admin_may_decide_about_late_money(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    pending = await pay_again(service, student, amount=20_000, settled=False)
    await ask(service, row["id"], by=BY_ADMIN)
    service.consumers = (consumers.payment_events(late_payments="review"), *service.consumers[1:])
    late = await _settles(service, student, pending)
    assert late["late"] and await refunds(service, late["id"]) == []
    assert len(await _unmatched(service, late["stripe_payment_intent_id"])) == 1
    listed = await read(service, f"/api/admin/payments?late=true&student_id={student}", role="admin", by=ADMIN)
    assert [each["id"] for each in listed.json()["items"]] == [str(late["id"])]
    assert (await ask(service, late["id"], by=BY_ADMIN)).status_code == 201


async def test_nobody_hands_out_cash_automatically(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    await ask(service, row["id"], by=BY_ADMIN)
    late = await pay_cash(service, row, amount=30_000)
    assert late["late"] and await refunds(service, late["id"]) == []
    assert await service.published(student, "payment.refunded.v1") == []


async def test_an_automatic_refund_that_stripe_refuses_is_not_repeated(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    pending = await pay_again(service, student, amount=20_000, settled=False)
    await ask(service, row["id"], by=BY_ADMIN)
    late = await _settles(service, student, pending)
    await service.sandbox.operate(f"/charges/{late['stripe_charge_id']}/dispute")
    await service.perform(student, refund_service.REFUND)
    await service.deliver_stripe_events(student)
    await deliver_published(service, student)
    (made,) = await refunds(service, late["id"])
    assert made["status"] == "failed"
    failed = await service.published(student, "refund.failed.v1")
    assert [each["refund_id"] for each in failed] == [str(made["id"])]
