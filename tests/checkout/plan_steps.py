"""Steps of the tests of plans, at Stripe's side."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import stripe
from tests.checkout.service import Service, wanted

DAY = 86_400


async def plan(service: Service, student: UUID, slug: str, price: Any) -> stripe.checkout.Session:
    answer = await service.buy(student, wanted(slug, price, paymentType="plan"))
    assert answer.status_code == 200, answer.text
    (session,) = await service.sandbox.sessions_of(student)
    return session


async def pay(service: Service, session: stripe.checkout.Session) -> str:
    await service.sandbox.pay(session.id)
    paid = await service.sandbox.api.checkout.sessions.retrieve_async(session.id)
    assert isinstance(paid.subscription, str)
    return paid.subscription


async def schedules(service: Service, subscription: str) -> list[stripe.SubscriptionSchedule]:
    found = await service.sandbox.api.subscription_schedules.list_async({"limit": 100})
    return [s async for s in found.auto_paging_iter() if s.subscription == subscription]


async def invoices(service: Service, subscription: str) -> list[stripe.Invoice]:
    """Newest first."""
    found = await service.sandbox.api.invoices.list_async({"subscription": subscription, "limit": 100})
    return [invoice async for invoice in found.auto_paging_iter()]


async def charge_of(service: Service, invoice: stripe.Invoice) -> str:
    (link,) = (await service.sandbox.api.invoice_payments.list_async({"invoice": invoice.id})).data
    assert isinstance(link.payment.payment_intent, str)
    intent = await service.sandbox.api.payment_intents.retrieve_async(link.payment.payment_intent)
    assert isinstance(intent.latest_charge, str)
    return intent.latest_charge


async def refund(service: Service, subscription: str) -> str:
    """Refunds the newest invoice; the refund's id."""
    charge = await charge_of(service, (await invoices(service, subscription))[0])
    await service.sandbox.operate(f"/charges/{charge}/refund")
    (made,) = (await service.sandbox.api.refunds.list_async({"charge": charge})).data
    return made.id


async def cancels(service: Service, subscription: str) -> int:
    """The number of Stripe's events for the end of the subscription."""
    ended = [e for e in await service.sandbox.events() if e["type"] == "customer.subscription.deleted"]
    return sum(event["data"]["object"]["id"] == subscription for event in ended)
