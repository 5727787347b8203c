"""Refunds between Stripe's answer, its webhooks and a crash: each is one, and none is left hanging."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from sqlalchemy import text
from tests.checkout.payment_steps import PRICE, ask, paid, payment, refunds, stripes, told
from tests.checkout.service import ADMIN, Service, bearer, wanted

from checkout.payments import refund_service, repository
from kit.db.unit_of_work import utc_now
from kit.jobs.jobs import Job

BY_ADMIN = ("admin", ADMIN)


async def _die_before_the_record(service: Service, refund_id: str) -> None:
    (row,) = await service.rows("SELECT * FROM jobs WHERE kind = 'refund' AND key = :key", key=refund_id)
    job = Job(id=row["id"], kind="refund", key=row["key"], payload=row["payload"], cause=None, attempt=1)
    await service.handlers["refund"].perform(job)


async def test_a_refund_that_is_heard_before_anyone_has_said_of_which_payment(service: Service) -> None:
    """The link between invoice and intent is late, the refund's webhook is faster than Stripe's answer."""
    student = uuid4()
    await service.buy(student, wanted("cpr", 575, paymentType="plan"))
    session = (await service.sandbox.sessions_of(student))[0]
    await service.sandbox.pay(session.id)
    heard = await told(service, student, set())
    await service.hear(*(each for each in heard if each.data.refs.invoice and not each.data.refs.payment_intent))
    row = await payment(service, student)
    made = (await ask(service, row["id"], by=BY_ADMIN)).json()
    await _die_before_the_record(service, made["id"])
    all_of_it = await told(service, student, {row["stripe_invoice_id"]})
    backwards = [each for each in all_of_it if each.type == "payment.refunded.v1"]
    assert backwards
    await service.hear(*backwards)
    await service.perform(student, refund_service.KIND, attempt=2)
    await service.hear(*all_of_it)
    row = await payment(service, student)
    assert row["refunded"] == PRICE // 4
    (kept,) = await refunds(service, row["id"])
    assert (str(kept["id"]), kept["status"], kept["told"]) == (made["id"], "succeeded", True)


async def test_the_same_key_after_a_crash_is_the_same_refund(service: Service) -> None:
    """Committed, and the process died before it could keep its answer: a minute later the key is free again."""
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


async def test_a_request_for_a_row_that_is_just_joined_to_another(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    older = {**row, "id": uuid4(), "stripe_payment_intent_id": None, "refs": [f"cs_{uuid4().hex}"]}
    intent = row["stripe_payment_intent_id"]
    async with service.database.transaction() as db:
        await repository.add_payment(db, older)
    body = {"payment_intent_id": intent, "reason": "ill"}
    async with service.database.transaction() as db:
        await repository.join_payments(db, older["id"], row["id"], at=utc_now())
        await db.execute(
            text("UPDATE payments SET stripe_payment_intent_id = :intent WHERE id = :id"),
            {"intent": intent, "id": older["id"]},
        )
        path, headers = "/api/payments/request-refund", bearer("student", student)
        asking = asyncio.create_task(service.call("POST", path, json=body, headers=headers))
        await asyncio.sleep(0.5)
    answer = await asking
    assert (answer.status_code, answer.json()["payment_id"]) == (201, str(older["id"])), answer.text


async def test_a_refund_made_at_stripe_has_its_day_whatever_was_heard_first(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    charge = row["stripe_charge_id"]
    await service.sandbox.operate(f"/charges/{charge}/refund", amount=300)
    (made,) = await stripes(service, row["stripe_payment_intent_id"])
    await service.sandbox.operate("/clock/advance", seconds=3 * 86_400)
    await service.sandbox.operate(f"/refunds/{made.id}/fail")
    for each in reversed(await told(service, student, {charge})):
        await service.hear(each)
    (kept,) = await refunds(service, row["id"])
    assert (kept["created_at"].timestamp(), kept["status"]) == (made.created, "failed")
