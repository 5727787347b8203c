"""Refunds with late events and crashes: each is made once, and none stays pending."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from uuid import uuid4

from sqlalchemy import text
from tests.checkout.payment_steps import (
    BY_ADMIN,
    ask,
    crash_before_recording,
    paid,
    payment,
    refunds,
    reported_events,
    stripes,
)
from tests.checkout.service import Service, bearer

from checkout.payments import refund_service, repository
from checkout.payments.domain import PaymentRecord, PaymentValues
from kit.db.unit_of_work import utc_now


async def test_a_refund_event_before_the_event_of_its_payment(service: Service) -> None:
    """The link between invoice and intent is late, and the refund's webhook arrives before Stripe's response."""
    student = uuid4()
    await service.fund(student)
    await service.sandbox.operate(f"/invoices/{(await service.invoice(student)).id}/pay")
    events = await reported_events(service, student, set())
    await service.deliver(*(each for each in events if each.data.refs.invoice and not each.data.refs.payment_intent))
    row = await payment(service, student)
    made = (await ask(service, row["id"], by=BY_ADMIN)).json()
    await crash_before_recording(service, made["id"])
    all_of_it = await reported_events(service, student, {row["stripe_invoice_id"]})
    backwards = [each for each in all_of_it if each.type == "payment.refunded.v1"]
    assert backwards
    await service.deliver(*backwards)
    await service.perform(student, refund_service.REFUND, attempt=2)
    await service.deliver(*all_of_it)
    row = await payment(service, student)
    assert row["refunded"] == row["amount"] > 0
    (kept,) = await refunds(service, row["id"])
    assert (str(kept["id"]), kept["status"], kept["reported"]) == (made["id"], "succeeded", True)


async def test_the_same_idempotency_key_after_a_crash_is_the_same_refund(service: Service) -> None:
    """The process crashed before it stored the response; a minute later the key can be used again."""
    row = await paid(service, uuid4())
    key = str(uuid4())
    first = await ask(service, row["id"], by=BY_ADMIN, amount=100, headers={"Idempotency-Key": key})
    await service.rows(
        "UPDATE idempotency_keys SET status = NULL, body = NULL, created_at = now() - interval '2 minutes' "
        "WHERE key = :key RETURNING key",
        key=key,
    )
    again = await ask(service, row["id"], by=BY_ADMIN, amount=100, headers={"Idempotency-Key": key})
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(await refunds(service, row["id"])) == 1


async def test_a_refund_request_for_a_row_that_is_being_merged(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    intent = row["stripe_payment_intent_id"]
    values = {each.name: row[each.name] for each in fields(PaymentValues)}
    values |= {"stripe_payment_intent_id": None, "refs": [f"cs_{uuid4().hex}"]}
    async with service.database.transaction() as db:
        at = {"created_at": row["created_at"], "updated_at": row["created_at"]}
        older = PaymentRecord(**values, id=uuid4(), late=False, **at)
        await repository.add_payments(db, [older])
    body = {"payment_intent_id": intent, "reason": "ill"}
    async with service.database.transaction() as db:
        await repository.merge_payments(db, older.id, row["id"], at=utc_now())
        await db.execute(
            text("UPDATE payments SET stripe_payment_intent_id = :intent WHERE id = :id"),
            {"intent": intent, "id": older.id},
        )
        path, headers = "/api/payments/request-refund", bearer("student", student)
        asking = asyncio.create_task(service.call("POST", path, json=body, headers=headers))
        await asyncio.sleep(0.5)
    answer = await asking
    assert (answer.status_code, answer.json()["payment_id"]) == (201, str(older.id)), answer.text


async def test_a_refund_made_in_stripe_keeps_its_date_in_any_order(service_with_moved_clock: Service) -> None:
    service, student = service_with_moved_clock, uuid4()
    row = await paid(service, student)
    charge = row["stripe_charge_id"]
    await service.sandbox.operate(f"/charges/{charge}/refund", amount=300)
    (made,) = await stripes(service, row["stripe_payment_intent_id"])
    await service.sandbox.operate("/clock/advance", seconds=3 * 86_400)
    await service.sandbox.operate(f"/refunds/{made.id}/fail")
    for each in reversed(await reported_events(service, student, {charge})):
        await service.deliver(each)
    (kept,) = await refunds(service, row["id"])
    assert (kept["created_at"].timestamp(), kept["status"]) == (made.created, "failed")
