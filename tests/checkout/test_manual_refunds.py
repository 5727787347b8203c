"""Refunds of payments that an admin recorded: cash goes back by hand, and what was waived cannot."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.payment_steps import (
    BY_ADMIN,
    ask,
    payment,
    refunds,
    refused,
)
from tests.checkout.service import Service, wanted

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentRefunded, PaymentSucceeded
from kit.db.unit_of_work import utc_now


async def _manual(service: Service, student: UUID, *, method: str, amount: int = 30_000) -> dict[str, Any]:
    """A payment that an admin recorded, as checkout publishes it."""
    await service.buy(student, wanted("cpr", 575))
    purchase_id = (await service.purchase(student))["id"]
    event = PaymentSucceeded(
        refs=PaymentRefs(manual=f"m_{student}"), purchase_id=purchase_id, student_id=student, amount=usd(amount),
        method=method,
    )  # fmt: skip
    await service.publish(event)
    return await payment(service, student)


async def test_cash_is_refunded_by_hand(service: Service) -> None:
    student = uuid4()
    row = await _manual(service, student, method="cash")
    assert (row["status"], row["manual_id"], row["method"]) == ("succeeded", f"m_{student}", "cash")
    made = (await ask(service, row["id"], by=BY_ADMIN, amount=10_000)).json()
    assert made["status"] == "succeeded"
    (event,) = await service.published(student, "payment.refunded.v1")
    assert event.pop("as_of")
    assert event == {
        "refs": {"manual": f"m_{student}"},
        "purchase_id": str(row["purchase_id"]),
        "student_id": str(student),
        "refund_id": made["id"],
        "amount": {"amount": 10_000, "currency": "usd"},
        "status": "succeeded",
    }
    (key,) = await service.rows(
        "SELECT message_key FROM outbox_messages WHERE message_key LIKE :id", id=f"%{made['id']}%"
    )
    assert key["message_key"] == f"refund/{made['id']}/payment.refunded.v1"
    refused(await ask(service, row["id"], by=BY_ADMIN, amount=20_001), 422, "amount_too_large")

    events: Envelope[Any] = Envelope(
        id=key["message_key"], source="checkout", subject=str(row["purchase_id"]), time=utc_now(),
        data=PaymentRefunded.model_validate(event),
    )  # fmt: skip
    await service.deliver(events)
    (kept,) = await refunds(service, row["id"])
    assert (kept["status"], kept["reported"], kept["origin"]) == ("succeeded", True, "admin")
    assert (await payment(service, student))["refunded"] == 10_000
    assert (await ask(service, row["id"], by=BY_ADMIN)).json()["amount"] == 20_000


@pytest.mark.parametrize(("method", "amount"), [("waiver", 30_000), ("promotion", 0), ("cash", 0)])
async def test_a_waiver_cannot_be_refunded(service: Service, method: str, amount: int) -> None:
    row = await _manual(service, uuid4(), method=method, amount=amount)
    refused(await ask(service, row["id"], by=BY_ADMIN), 409, "nothing_was_paid")
