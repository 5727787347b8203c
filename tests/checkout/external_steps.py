"""Steps for tests of payments that were not started here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from tests.checkout.service import Service

from contracts.envelope import Envelope, Event
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.db.unit_of_work import utc_now


async def external_page(
    service: Service, metadata: Mapping[str, str] = MappingProxyType({}), *, amount: int, mode: str = "payment"
) -> str:
    """A page that another system has opened at Stripe, with its metadata; paid."""
    price: dict[str, Any] = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Theirs"}}
    if mode == "subscription":
        price["recurring"] = {"interval": "month"}
    params: dict[str, Any] = {
        "mode": mode,
        "line_items": [{"quantity": 1, "price_data": price}],
        "metadata": dict(metadata),
        "success_url": "https://theirs.example/done",
        "cancel_url": "https://theirs.example/back",
    }
    if mode == "subscription":
        params["subscription_data"] = {"metadata": dict(metadata)}
    session = await service.sandbox.api.checkout.sessions.create_async(params)  # type: ignore[arg-type]
    await service.sandbox.pay(session.id)
    return str(session.id)


async def external_plan(service: Service, student: UUID) -> dict[str, Any]:
    """The purchase of a monthly subscription that another system has started; its first payment is received."""
    metadata = {"student_id": str(student), "program_slug": "barber-apprenticeship"}
    session = await external_page(service, metadata, amount=122_250, mode="subscription")
    await service.deliver(*await events_about(service, session))
    return await service.purchase(student)


async def external_intent(service: Service, metadata: Mapping[str, str] = MappingProxyType({}), *, amount: int) -> str:
    """An intent that another system has made at Stripe; paid."""
    params: dict[str, Any] = {"amount": amount, "currency": "usd", "metadata": dict(metadata)}
    intent = await service.sandbox.api.payment_intents.create_async(params)  # type: ignore[arg-type]
    await service.sandbox.operate(f"/payment_intents/{intent.id}/pay")
    return str(intent.id)


async def events_about(service: Service, ref: str) -> list[Envelope[Any]]:
    """The gateway's events that share a reference with this one, directly or through others, oldest first."""
    events = [each for each in await service.sandbox.gateway_events() if isinstance(each.data, PaymentEvent)]
    refs, before = {ref}, None
    while refs != before:
        before = set(refs)
        for each in events:
            names = each.data.refs.of_payment() | ({each.data.refs.subscription} - {None})
            if names & refs:
                refs |= names
    return [e for e in events if (e.data.refs.of_payment() | {e.data.refs.subscription}) & refs]


def succeeded(student: UUID | None, program: Program | None, *, amount: int = 489_000, **other: Any) -> Any:
    """`payment.succeeded.v1` of an intent of its own."""
    name = uuid4().hex
    data = PaymentSucceeded(
        **{
            "refs": PaymentRefs(payment_intent=f"pi_{name}", charge=f"ch_{name}"),
            "student_id": student,
            "program": program,
            "amount": usd(amount),
            "as_of": utc_now(),
            **other,
        }
    )
    return enveloped(data)


def enveloped(data: Event, id: str | None = None) -> Envelope[Any]:
    return Envelope(
        id=id or f"evt_{uuid4().hex}/{data.type}", source="webhook-gateway", subject="x", time=utc_now(), data=data
    )
