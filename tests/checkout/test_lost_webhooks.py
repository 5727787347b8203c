"""A lost webhook heals: where Stripe contradicts a row, the events of the object are asked for, once a day."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from tests.checkout.external_steps import events_about
from tests.checkout.installment_steps import School
from tests.checkout.payment_steps import payments
from tests.checkout.service import Service, bearer, wanted

from checkout.installments.open_invoices import open_installments
from checkout.purchases.jobs import INTENT_EXPIRY
from checkout.purchases.lost_events import OPEN_TOO_LONG, LostEvents, open_purchases
from checkout.stripe_client import StripeUnavailable
from kit.db.unit_of_work import utc_now

REQUESTED = "stripe_events.requested.v1"
URLS = {"success_url": "https://school.example/a", "cancel_url": "https://school.example/b"}


async def _requests(service: Service, object_id: str) -> list[str]:
    rows = await service.rows(
        "SELECT headers->>'cloudEvents:id' AS id FROM outbox_messages WHERE routing_key = :type "
        "AND convert_from(body, 'UTF8')::jsonb->>'object' = :object",
        type=REQUESTED,
        object=object_id,
    )
    return [row["id"] for row in rows]


def _sweeps(service: Service) -> LostEvents:
    return LostEvents(service.database, service.stripe, [open_purchases(), open_installments()])


async def _sweep(service: Service, at: datetime) -> None:
    """Until nothing is due at that time: other tests leave open purchases behind."""
    while await _sweeps(service).sweep(now=at):
        pass


async def _later(service: Service, object_id: str) -> datetime:
    """When the object is looked at next."""
    rows = await service.rows("SELECT next_at FROM stripe_checks WHERE object_id = :id", id=object_id)
    return rows[0]["next_at"] if rows else utc_now() + OPEN_TOO_LONG + timedelta(minutes=1)


async def _fetched(service: Service, object_id: str) -> None:
    """What webhook-gateway does about the request."""
    await service.deliver(*await events_about(service, object_id))


async def _open_page(service: Service) -> tuple[Any, str]:
    student = uuid4()
    assert (await service.buy(student, wanted("cpr", 575))).status_code == 200
    (session,) = await service.sandbox.sessions_of(student)
    return student, session.id


async def _open_intent(service: Service) -> tuple[Any, str]:
    student = uuid4()
    answer = await service.call(
        "POST", "/api/payments/create-payment/", json={"track": "dp"}, headers=bearer("student", student)
    )
    return student, answer.json()["paymentIntentId"]


async def test_a_paid_page_whose_event_was_lost(service: Service) -> None:
    student, session = await _open_page(service)
    await service.sandbox.pay(session)
    again = await service.buy(student, wanted("cpr", 575))
    assert (again.status_code, again.json()["code"]) == (409, "payment_in_progress")
    assert len(await _requests(service, session)) == 1
    await service.buy(student, wanted("cpr", 575))
    assert len(await _requests(service, session)) == 1, "one event, however often somebody asks that day"
    await _fetched(service, session)
    await _fetched(service, session)
    assert (await service.purchase(student))["state"] == "paid"
    assert len(await payments(service, student)) == 1


async def test_a_paid_intent_that_is_replaced_by_a_page(service: Service) -> None:
    student, intent = await _open_intent(service)
    await service.sandbox.operate(f"/payment_intents/{intent}/pay")
    path = "/api/payments/create-checkout-session/"
    answer = await service.call("POST", path, json={"track": "dp", **URLS}, headers=bearer("student", student))
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_in_progress")
    assert len(await _requests(service, intent)) == 1


async def test_a_paid_intent_that_was_to_expire(service: Service) -> None:
    student, intent = await _open_intent(service)
    await service.sandbox.operate(f"/payment_intents/{intent}/pay")
    await service.perform(student, INTENT_EXPIRY)
    assert len(await _requests(service, intent)) == 1
    await _fetched(service, intent)
    assert (await service.purchase(student))["state"] == "paid"


async def test_ten_of_ten_are_found_by_the_sweep(service: Service) -> None:
    pages = await asyncio.gather(*(_open_page(service) for _ in range(5)))
    intents = await asyncio.gather(*(_open_intent(service) for _ in range(5)))
    for _, session in pages:
        await service.sandbox.pay(session)
    for _, intent in intents:
        await service.sandbox.operate(f"/payment_intents/{intent}/pay")
    await _sweep(service, utc_now())
    for _, object_id in (*pages, *intents):
        assert await _requests(service, object_id) == [], "it has not been open for long"
    await _sweep(service, utc_now() + OPEN_TOO_LONG + timedelta(minutes=1))
    for student, object_id in (*pages, *intents):
        assert len(await _requests(service, object_id)) == 1
        await _fetched(service, object_id)
        assert (await service.purchase(student))["state"] == "paid"
        assert len(await payments(service, student)) == 1


async def test_what_is_open_at_stripe_is_looked_at_less_and_less_often(service: Service) -> None:
    _, session = await _open_page(service)
    times: list[datetime] = []
    for _ in range(9):
        at = await _later(service, session)
        times.append(at)
        await _sweep(service, at)
    assert await _requests(service, session) == []
    waits = [after - before for before, after in pairwise(times)]
    assert waits == sorted(waits) and waits[-1] == timedelta(days=1)


async def test_a_request_that_was_not_answered_is_repeated_the_next_day(service: Service) -> None:
    _, session = await _open_page(service)
    await service.sandbox.pay(session)
    for _ in range(8):
        await _sweep(service, await _later(service, session))
    ids = await _requests(service, session)
    assert len(ids) == len(set(ids)) > 1


async def test_a_debit_whose_success_was_lost(service: Service) -> None:
    student, session = await _open_page(service)
    await service.sandbox.pay(session, method="us_bank_account")
    await _fetched(service, session)
    assert (await service.purchase(student))["state"] == "processing"
    await _sweep(service, await _later(service, session))
    assert await _requests(service, session) == [], "it is being processed at Stripe too"
    (payment,) = await payments(service, student)
    await service.sandbox.operate(f"/payment_intents/{payment['stripe_payment_intent_id']}/settle")
    await _sweep(service, await _later(service, session))
    assert len(await _requests(service, session)) == 1
    await _fetched(service, session)
    assert (await service.purchase(student))["state"] == "paid"


async def test_an_expired_page_whose_event_was_lost(service: Service) -> None:
    student, session = await _open_page(service)
    await service.sandbox.api.checkout.sessions.expire_async(session)
    await _sweep(service, await _later(service, session))
    assert len(await _requests(service, session)) == 1
    await _fetched(service, session)
    assert (await service.purchase(student))["state"] == "expired"


async def test_stripe_is_down_during_the_sweep(service: Service) -> None:
    _, session = await _open_page(service)
    await service.sandbox.pay(session)
    await service.sandbox.faults(fail_requests=1_000)
    with pytest.raises(StripeUnavailable):
        await _sweep(service, await _later(service, session))
    await service.sandbox.faults()
    await _sweep(service, await _later(service, session))
    assert len(await _requests(service, session)) == 1


async def test_a_paid_first_installment_that_is_asked_for_again(school: School) -> None:
    enrolled = await school.enrolled("dsp")
    intent = (await school.pay(enrolled["stripe_client_secret"]))["id"]
    answer = await school.enroll("dsp")
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_in_progress")
    assert len(await _requests(school.service, intent)) == 1


async def test_a_paid_first_installment_that_is_replaced_by_a_page(school: School) -> None:
    enrolled = await school.enrolled("dsp")
    intent = (await school.pay(enrolled["stripe_client_secret"]))["id"]
    answer = await school.service.buy(school.student, wanted("dsp", 4325))
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_in_progress")
    assert len(await _requests(school.service, intent)) == 1


async def test_cash_for_an_installment_that_was_paid_at_stripe(school: School) -> None:
    enrolled = await school.enrolled("dsp")
    intent = (await school.pay(enrolled["stripe_client_secret"]))["id"]
    body = {"payment_method": "cash", "transaction_reference": uuid4().hex}
    path = f"/api/admin/payments/schedules/{enrolled['schedules'][0]['id']}/record-payment"
    answer = await school.admin("POST", path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_paid")
    assert len(await _requests(school.service, intent)) == 1


async def test_a_paid_invoice_of_an_installment(school: School) -> None:
    service = school.service
    await school.started("dsp")
    await school.clock.advance(timedelta(days=31))
    await school.timer.sweep()
    await school.perform()  # Stripe has charged the saved card; its events are lost
    second = (await school.installments())[1]
    invoice = second["stripe_invoice_id"]
    assert (second["status"], (await service.stripe.invoice(invoice)).status) == ("processing", "paid")
    await _sweep(service, utc_now() + OPEN_TOO_LONG + timedelta(minutes=1))
    assert len(await _requests(service, invoice)) == 1
    for _ in range(2):
        await _fetched(service, invoice)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert len(await payments(service, school.student)) == 2
