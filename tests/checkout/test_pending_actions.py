"""An intent whose payer has started to pay is not canceled under them: micro-deposits take days."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.installment_steps import NEEDS_ACTION, School
from tests.checkout.service import Service, bearer

from checkout.purchases.jobs import INTENT_EXPIRY

MICRO_DEPOSITS = {"method": "us_bank_account", "account": "microdeposits"}
THREE_D_SECURE = {"card": NEEDS_ACTION}


async def _intent(service: Service, student: UUID, choice: dict[str, Any]) -> str:
    """Opens an intent, and starts to pay it; its id."""
    answer = await service.call(
        "POST", "/api/payments/create-payment", json={"track": "dp"}, headers=bearer("student", student)
    )
    assert answer.status_code == 200, answer.text
    id = str(answer.json()["paymentIntentId"])
    await service.sandbox.operate(f"/payment_intents/{id}/pay", **choice)
    assert await _status(service, id) == "requires_action"
    return id


async def _status(service: Service, id: str) -> str:
    return (await service.sandbox.api.payment_intents.retrieve_async(id)).status


async def _started(service: Service, student: UUID, days: int) -> None:
    """The purchase was started this many days ago."""
    await service.rows(
        "UPDATE purchases SET created_at = now() - make_interval(days => :days) WHERE student_id = :s RETURNING 1",
        days=days,
        s=student,
    )


@pytest.mark.parametrize(("choice", "days"), [(MICRO_DEPOSITS, 9), (THREE_D_SECURE, 1)])
async def test_an_intent_that_waits_for_its_payer_is_not_canceled(
    service: Service, choice: dict[str, Any], days: int
) -> None:
    student = uuid4()
    intent = await _intent(service, student, choice)
    await _started(service, student, days)
    await service.perform(student, INTENT_EXPIRY)
    assert await _status(service, intent) == "requires_action"
    purchase = await service.purchase(student)
    assert purchase["state"] == "awaiting_payment"
    jobs = await service.rows(
        "SELECT * FROM jobs WHERE kind = 'intent_expiry' AND payload->>'purchase_id' = :id AND done_at IS NULL",
        id=str(purchase["id"]),
    )
    assert len(jobs) == 1, "it is looked at again"


@pytest.mark.parametrize(("choice", "days"), [(MICRO_DEPOSITS, 11), (THREE_D_SECURE, 3)])
async def test_in_the_end_it_is_canceled(service: Service, choice: dict[str, Any], days: int) -> None:
    student = uuid4()
    intent = await _intent(service, student, choice)
    await _started(service, student, days)
    await service.perform(student, INTENT_EXPIRY)
    assert await _status(service, intent) == "canceled"
    assert (await service.purchase(student))["state"] == "expired"


async def test_an_enrollment_waits_for_the_verification_of_its_bank_account(school: School) -> None:
    enrolled = await school.enrolled()
    intent = await school.pay(enrolled["stripe_client_secret"], **MICRO_DEPOSITS)
    await school.later(days=8)
    assert await school.state() == "awaiting_payment"
    assert set(await school.statuses()) == {"open"}
    await _started(school.service, school.student, 11)
    await school.later(days=2)
    assert await school.state() == "expired"
    assert await _status(school.service, intent["id"]) == "canceled"
