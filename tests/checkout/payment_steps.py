"""Steps for tests of payments: buy and pay in the sandbox, deliver the events, look at the rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
from tests.checkout.service import ADMIN, Service, bearer, wanted

from checkout.payments.refund_service import REFUND
from contracts.envelope import Envelope, parse
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.registry import EVENT_TYPES, PAYMENT_EVENTS
from kit.jobs.jobs import Job
from kit.messaging import fact_store
from ledger.facts import fold

PRICE = 57_500
BY_ADMIN = ("admin", ADMIN)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def paid(
    service: Service, student: UUID, *, slug: str = "cpr", price: Any = 575, **choice: Any
) -> dict[str, Any]:
    """A payment on a Checkout page, with all its events delivered."""
    answer = await service.buy(student, wanted(slug, price))
    assert answer.status_code == 200, answer.text
    session = (await service.sandbox.sessions_of(student))[0]
    await service.sandbox.pay(session.id, **choice)
    await service.deliver_stripe_events(student)
    return await payment(service, student)


async def payments(service: Service, student: UUID) -> list[dict[str, Any]]:
    return await service.rows(
        "SELECT * FROM payments WHERE student_id = :student ORDER BY created_at, id", student=student
    )


async def payment(service: Service, student: UUID) -> dict[str, Any]:
    (found,) = await payments(service, student)
    return found


async def refunds(service: Service, payment_id: UUID) -> list[dict[str, Any]]:
    return await service.rows("SELECT * FROM refunds WHERE payment_id = :id ORDER BY created_at, id", id=payment_id)


async def ask(
    service: Service, payment_id: object, *, by: tuple[str, UUID], headers: dict[str, str] | None = None, **body: Any
) -> httpx.Response:
    """POST /api/payments/{id}/refund"""
    body = {"reason": "moved away", **body}
    sent = bearer(*by) | (headers or {})
    return await service.call("POST", f"/api/payments/{payment_id}/refund", json=body, headers=sent)


async def read(service: Service, path: str, *, role: str = "student", by: UUID | None = None) -> httpx.Response:
    return await service.call("GET", path, headers=bearer(role, by or uuid4()))


async def stripes(service: Service, intent: str) -> list[Any]:
    """The refunds that Stripe has made."""
    return list((await service.sandbox.api.refunds.list_async({"payment_intent": intent, "limit": 100})).data)


async def reported_events(service: Service, student: UUID, refs: set[str]) -> list[Envelope[Any]]:
    """The gateway's events about the student or these references, oldest first."""
    found = await service.sandbox.gateway_events()
    before: set[str] = set()
    while before != refs:
        before = set(refs)
        for each in found:
            if each.data.student_id == student or each.data.refs.of_payment() & refs:
                refs |= each.data.refs.of_payment()
    return [e for e in found if e.data.student_id == student or e.data.refs.of_payment() & refs]


async def pay_again(service: Service, student: UUID, *, amount: int, settled: bool = True) -> dict[str, Any]:
    """Another Stripe payment for the student's purchase, by card, or by a bank debit that has not settled yet."""
    first = (await payments(service, student))[0]
    api = service.sandbox.api.payment_intents
    metadata = (await api.retrieve_async(first["stripe_payment_intent_id"])).metadata.to_dict()
    made = await api.create_async({"amount": amount, "currency": first["currency"], "metadata": metadata})
    choice = {} if settled else {"method": "us_bank_account"}
    await service.sandbox.operate(f"/payment_intents/{made.id}/pay", **choice)
    await service.deliver_stripe_events(student)
    (row,) = [each for each in await payments(service, student) if each["stripe_payment_intent_id"] == made.id]
    return row


async def refunded_and_disputed(service: Service, student: UUID) -> dict[str, Any]:
    """A payment of which an admin has refunded a part, and which is disputed; as it was before both."""
    row = await paid(service, student)
    made = await ask(service, row["id"], by=BY_ADMIN, amount=1_000)
    assert made.status_code == 201, made.text
    await service.perform(student, REFUND)
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute")
    await service.deliver_stripe_events(student)
    return row


async def crash_before_recording(service: Service, refund_id: str) -> None:
    """Performs the job that makes the refund at Stripe, and records nothing."""
    (row,) = await service.rows("SELECT * FROM jobs WHERE kind = 'refund' AND key = :key", key=refund_id)
    job = Job(id=row["id"], kind=REFUND, key=row["key"], payload=row["payload"], cause=None, attempt=1)
    await service.handlers[REFUND].perform(job)


async def pay_cash(service: Service, other: dict[str, Any], *, amount: int) -> dict[str, Any]:
    """A payment in cash for the purchase of another payment."""
    student = other["student_id"]
    cash = PaymentSucceeded(
        refs=PaymentRefs(manual=f"m_{student}"),
        purchase_id=other["purchase_id"],
        student_id=student,
        amount=usd(amount),
        method="cash",
    )
    await service.publish(cash)
    (row,) = [each for each in await payments(service, student) if each["manual_id"]]
    return row


async def deliver_published(service: Service, student: UUID) -> None:
    """Delivers what checkout itself has published about the student's purchases."""
    ids = [row["id"] for row in await service.purchases(student)]
    rows = await service.rows("SELECT headers, body FROM outbox_messages WHERE routing_key = ANY(:types) ORDER BY id",
                              types=[event.type for event in PAYMENT_EVENTS])  # fmt: skip
    events = [parse(row["headers"], bytes(row["body"]), EVENT_TYPES) for row in rows]
    await service.deliver(*(each for each in events if getattr(each.data, "purchase_id", None) in ids))


async def standing(service: Service, student: UUID) -> tuple[str, str | None]:
    """As every service derives it from the events that have been delivered."""
    purchase_id = (await service.purchase(student))["id"]
    async with service.database.transaction() as db:
        group = await fact_store.group_of(db, f"purchase:{purchase_id}")
    facts = {each.event_id: EVENT_TYPES[each.type].model_validate_json(each.body) for each in group}
    (purchase,) = [each for each in fold(facts) if each.id == purchase_id]  # type: ignore[arg-type]  # payment events
    found, reason = purchase.standing()
    return found.value, reason
