"""What can be refunded through Stripe, what by hand, and what is resolved with the payer's bank."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.checkout.payment_steps import (
    BY_ADMIN,
    PRICE,
    ask,
    deliver_published,
    paid,
    payment,
    refunds,
    refused,
    stripes,
)
from tests.checkout.service import Service

from checkout.payments import refund_service


async def test_students_cannot_refund_a_sponsors_payment(service: Service) -> None:
    student = uuid4()
    await service.fund(student)
    await service.sandbox.operate(f"/invoices/{(await service.invoice(student)).id}/pay")
    await service.deliver_stripe_events(student)
    row = await payment(service, student)
    assert row["payer"] == "sponsor"
    refused(await ask(service, row["id"], by=("student", student)), 403, "forbidden")
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201


async def test_an_invoice_that_was_paid_outside_stripe_is_refunded_by_hand(service: Service) -> None:
    """Nothing is promised that Stripe cannot do: the refusal comes first."""
    student = uuid4()
    await service.fund(student)
    invoice = await service.invoice(student)
    await service.sandbox.api.invoices.pay_async(invoice.id, {"paid_out_of_band": True})
    await service.deliver_stripe_events(student)
    row = await payment(service, student)
    assert (row["status"], row["stripe_payment_intent_id"]) == ("succeeded", None)
    answer = await ask(service, row["id"], by=BY_ADMIN)
    refused(answer, 409, "refund_channel_unknown")
    assert "by_hand" in answer.json()["detail"]
    assert await refunds(service, row["id"]) == []

    answer = await ask(service, row["id"], by=BY_ADMIN, by_hand=True)
    assert (answer.status_code, answer.json()["status"], answer.json()["amount"]) == (201, "succeeded", row["amount"])
    await deliver_published(service, student)
    assert (await payment(service, student))["refunded"] == row["amount"]
    (kept,) = await refunds(service, row["id"])
    assert (kept["reported"], kept["origin"]) == (True, "admin")


async def test_an_inquiry_is_resolved_by_a_refund(service: Service) -> None:
    """Stripe SDK 16.1, Dispute.is_charge_refundable. An inquiry has withdrawn nothing."""
    student = uuid4()
    row = await paid(service, student)
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute", kind="inquiry")
    await service.deliver_stripe_events(student)
    refused(await ask(service, row["id"], by=("student", student)), 409, "payment_disputed")
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201
    await service.perform(student, refund_service.REFUND)
    (made,) = await stripes(service, row["stripe_payment_intent_id"])
    assert made.amount == PRICE


@pytest.mark.parametrize("outcome", [None, "won", "lost"])
async def test_a_disputed_payment_cannot_be_refunded(service: Service, outcome: str | None) -> None:
    student = uuid4()
    row = await paid(service, student)
    dispute = await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute")
    if outcome:
        await service.sandbox.operate(f"/disputes/{dispute['id']}/close", status=outcome)
    await service.deliver_stripe_events(student)
    answer = await ask(service, row["id"], by=BY_ADMIN)
    if outcome == "won":
        assert answer.status_code == 201
    else:
        refused(answer, 409, "payment_disputed")
