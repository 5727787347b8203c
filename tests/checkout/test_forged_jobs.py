"""Jobs that somebody has inserted with the password of a request's login: the worker checks what they ask for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from tests.checkout.payment_steps import paid, payment, refunds, stripes
from tests.checkout.service import Service
from tests.databases import api_database

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.failures import Permanent


@pytest.fixture
async def stolen(service: Service) -> AsyncIterator[Database]:
    database = api_database(service.server)
    yield database
    await database.close()


async def execute(stolen: Database, caller: UUID, sql: str, **values: Any) -> None:
    async with stolen.transaction_of(student_id=caller, role="student") as db:
        await db.execute(text(sql), values)


INSERT_JOB = "INSERT INTO jobs (kind, key, payload) VALUES (:kind, :key, CAST(:payload AS jsonb))"


async def refund_of(stolen: Database, row: dict[str, Any], amount: int = 100) -> UUID:
    id = uuid4()
    await execute(
        stolen,
        row["student_id"],
        "INSERT INTO refunds "
        "(id, payment_id, purchase_id, student_id, amount, currency, reason, origin, requested_by, status) "
        "VALUES (:id, :payment, :purchase, :student, :amount, 'usd', 'r', 'student', 'me', 'pending')",
        id=id,
        payment=row["id"],
        purchase=row["purchase_id"],
        student=row["student_id"],
        amount=amount,
    )
    return id


async def test_a_refund_job_must_agree_with_its_refund(service: Service, stolen: Database) -> None:
    mine, other = await paid(service, uuid4()), await paid(service, uuid4())
    refund = await refund_of(stolen, mine)
    right = {
        "refund_id": str(refund),
        "purchase_id": str(mine["purchase_id"]),
        "amount": 100,
        "payment_intent": mine["stripe_payment_intent_id"],
        "charge": None,
        "invoice": None,
    }
    forged: list[tuple[str, dict[str, Any], str]] = [
        (str(uuid4()), right, "no_refund_for_job"),
        (str(refund), right | {"payment_intent": other["stripe_payment_intent_id"]}, "job_differs_from_refund"),
        (str(refund), right | {"charge": other["stripe_charge_id"] or "ch_other"}, "job_differs_from_refund"),
        (str(refund), right | {"amount": 57_500}, "job_differs_from_refund"),
        (str(refund), right | {"refund_id": str(uuid4())}, "job_differs_from_refund"),
        (str(refund), right | {"purchase_id": str(other["purchase_id"])}, "job_differs_from_refund"),
    ]
    for key, payload, code in forged:
        job = Job(id=uuid4(), kind="refund", key=key, payload=payload, cause=None, attempt=1)
        with pytest.raises(Permanent, match=code) as refused:
            await service.handlers["refund"].perform(job)
        async with service.database.transaction() as db:
            uow = UnitOfWork(db=db, source="checkout", now=utc_now())
            await service.handlers["refund"].give_up(job, refused.value, uow)
    for each in (mine, other):
        assert await stripes(service, each["stripe_payment_intent_id"]) == []


async def test_what_was_never_paid_is_not_refunded(service: Service, stolen: Database) -> None:
    """A payment that a request has made up names another student's intent."""
    victim, student = await paid(service, uuid4()), uuid4()
    made_up = {**victim, "id": uuid4(), "student_id": student, "purchase_id": uuid4()}
    await execute(
        stolen,
        student,
        "INSERT INTO payments (id, purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency, "
        "status, refs, stripe_charge_id) VALUES (:id, :purchase, :student, 's', 'S', 'program', 'student', 100, 'usd', "
        "'requires_payment', ARRAY[CAST(:intent AS text)], 'ch_other')",
        id=made_up["id"],
        purchase=made_up["purchase_id"],
        student=student,
        intent=victim["stripe_payment_intent_id"],
    )
    refund = await refund_of(stolen, made_up)
    payload = {
        "refund_id": str(refund),
        "purchase_id": str(made_up["purchase_id"]),
        "amount": 100,
        "payment_intent": victim["stripe_payment_intent_id"],
        "charge": None,
        "invoice": None,
    }
    await execute(stolen, student, INSERT_JOB, kind="refund", key=str(refund), payload=json.dumps(payload))
    job = Job(id=uuid4(), kind="refund", key=str(refund), payload=payload, cause=None, attempt=1)
    with pytest.raises(Permanent, match="no_refund_for_job"):
        await service.handlers["refund"].perform(job)
    assert await stripes(service, victim["stripe_payment_intent_id"]) == []
    assert await refunds(service, victim["id"]) == []
    assert (await payment(service, victim["student_id"]))["status"] == "succeeded"


@pytest.mark.parametrize("code", [None, "NOSUCHCODE", "EXPIRED"])
async def test_what_has_a_price_is_not_free(service: Service, stolen: Database, code: str | None) -> None:
    student, purchase = uuid4(), uuid4()
    if code == "EXPIRED":
        code = f"C{uuid4().hex[:12].upper()}"
        await service.admin("POST", "/api/admin/promotions", code=code, percent_off=100)
        await service.rows("UPDATE promotion_codes SET valid_until = now() WHERE code = :code RETURNING id", code=code)
    await execute(
        stolen,
        student,
        "INSERT INTO purchases (id, student_id, program_id, program_slug, program_name, covers, payment_flow, amount, "
        "currency, payer, payment_type, state, promotion_code) VALUES (:id, :student, 'cpr', 'cpr', 'CPR', '{cpr}', "
        "'intent', 0, 'usd', 'student', 'full', 'awaiting_payment', :code)",
        id=purchase,
        student=student,
        code=code,
    )
    payload = {"purchase_id": str(purchase)}
    await execute(stolen, student, INSERT_JOB, kind="free_payment", key=str(purchase), payload=json.dumps(payload))
    await service.perform(student, "free_payment")
    assert await service.published(student, "payment.succeeded.v1") == []
    assert (await service.purchase(student))["state"] == "expired"
