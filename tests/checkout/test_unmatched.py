"""Payments that name nobody or nothing that checkout has: listed, announced once, assigned or refunded."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError
from tests.checkout.external_steps import enveloped, events_about, external_intent, external_page, succeeded
from tests.checkout.installment_steps import School
from tests.checkout.payment_steps import paid, payments
from tests.checkout.service import ADMIN, Service, bearer
from tests.databases import api_database

from checkout.purchases import unmatched
from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Program, purchase_uuid
from contracts.registry import EVENT_TYPES
from kit.jobs import jobs
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker

PATH = "/api/admin/unmatched-payments"
ANNOUNCED = "payment.unmatched.v1"
CPR = Program(slug="cpr", id="cpr")


async def _rows(service: Service, ref: str) -> list[dict[str, Any]]:
    return await service.rows("SELECT * FROM unmatched_payments WHERE :ref = ANY(refs)", ref=ref)


async def _row(service: Service, ref: str) -> dict[str, Any]:
    (row,) = await _rows(service, ref)
    return row


async def _perform(service: Service, kind: str, id: UUID) -> None:
    """Performs the jobs of this kind for the payment, whenever they are due."""
    worker = JobWorker(service.database, "checkout", service.handlers)
    async with service.database.transaction() as db:
        rows = (await db.execute(select(jobs.jobs).where(jobs.jobs.c.kind == kind))).all()
    for row in rows:
        if row.key.split("/")[0] == str(id):
            job = Job(id=row.id, kind=row.kind, key=row.key, payload=row.payload, cause=None, attempt=1)
            await worker.attempt(job)


async def _listed(service: Service, ref: str, **query: str) -> list[dict[str, Any]]:
    answer = await service.call("GET", PATH, params=query, headers=bearer("admin", ADMIN))
    assert answer.status_code == 200, answer.text
    return [each for each in answer.json()["items"] if ref in each["payment_refs"].values()]


async def _announced(service: Service, ref: str) -> list[dict[str, Any]]:
    rows = await service.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM outbox_messages WHERE routing_key = :type",
        type=ANNOUNCED,
    )
    return [row["body"] for row in rows if ref in row["body"]["refs"].values()]


async def _assign(service: Service, id: UUID, student: UUID, item: str, *, role: str = "admin") -> httpx.Response:
    body = {"student_id": str(student), "item": item}
    return await service.call("POST", f"{PATH}/{id}/assign", json=body, headers=bearer(role, ADMIN))


async def _nameless(service: Service, amount: int = 57_500) -> str:
    """A paid intent without metadata."""
    intent = await external_intent(service, amount=amount)
    await service.deliver(*await events_about(service, intent))
    return intent


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({}, "no_student"),
        ({"program_slug": "cpr"}, "no_student"),
        ({"student_id": "s-1"}, "no_item"),
        ({"student_id": "s-1", "program_slug": "underwater-basket-weaving"}, "unknown_item"),
    ],
)
async def test_what_it_does_not_name(service: Service, metadata: dict[str, str], code: str) -> None:
    intent = await external_intent(service, metadata, amount=57_500)
    await service.deliver(*await events_about(service, intent))
    row = await _row(service, intent)
    assert (row["code"], row["status"], row["amount"], row["currency"]) == (code, "pending", 57_500, "usd")
    assert await _listed(service, intent) == [], "its match may still arrive"
    assert await service.rows("SELECT id FROM purchases WHERE id = :id", id=row["purchase_id"]) == []
    await _perform(service, unmatched.ANNOUNCEMENT, row["id"])
    await _perform(service, unmatched.ANNOUNCEMENT, row["id"])
    (event,) = await _announced(service, intent)
    assert (event["code"], event["amount"]) == (code, {"amount": 57_500, "currency": "usd"})
    (listed,) = await _listed(service, intent, status="open", code=code)
    assert (listed["status"], listed["amount"]) == ("open", 57_500)


async def test_the_payer_that_stripe_names_is_listed(service: Service) -> None:
    session = await external_page(service, amount=1_000)
    await service.deliver(*await events_about(service, session))
    assert (await _row(service, session))["email"] == "ada@example.org"


async def test_an_event_that_matches_it_in_time_cancels_the_alert(service: Service) -> None:
    """An intent of an invoice has no metadata; the link to its invoice arrives a moment later."""
    student, name = uuid4(), uuid4().hex
    bare = succeeded(None, None, amount=57_500, refs=PaymentRefs(payment_intent=f"pi_{name}"))
    await service.deliver(bare)
    row = await _row(service, f"pi_{name}")
    link = PaymentSucceeded(refs=PaymentRefs(invoice=f"in_{name}", payment_intent=f"pi_{name}"), amount=usd(57_500))
    named = succeeded(student, CPR, amount=57_500, refs=PaymentRefs(invoice=f"in_{name}"), purchase_id=_derived(name))
    await service.deliver(named, enveloped(link))
    assert await _rows(service, f"pi_{name}") == []
    await _perform(service, unmatched.ANNOUNCEMENT, row["id"])
    assert await _announced(service, f"pi_{name}") == []
    assert (await service.purchase(student))["state"] == "paid"
    assert len(await payments(service, student)) == 1


async def test_money_of_our_own_purchases_is_never_listed(service: Service) -> None:
    student = uuid4()
    payment = await paid(service, student)
    for ref in payment["refs"]:
        assert await _rows(service, ref) == []


async def test_invoices_of_our_own_installments_are_never_listed(school: School) -> None:
    """Their intents name nobody."""
    await school.started("dsp")
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    for payment in await payments(school.service, school.student):
        for ref in payment["refs"]:
            assert await _rows(school.service, ref) == []


async def test_assigned_to_a_student(service: Service) -> None:
    student = uuid4()
    intent = await _nameless(service)
    row = await _row(service, intent)
    await _perform(service, unmatched.ANNOUNCEMENT, row["id"])
    answer = await _assign(service, row["id"], student, "cpr")
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "purchase_id": str(row["purchase_id"]),
        "student_id": str(student),
        "item": "cpr",
        "amount": 57_500,
        "currency": "usd",
    }
    again = await _assign(service, row["id"], student, "cpr")
    assert (again.status_code, again.json()) == (201, answer.json())
    other = await _assign(service, row["id"], uuid4(), "cpr")
    assert (other.status_code, other.json()["code"]) == (409, "payment_resolved")

    (recorded,) = await service.published(student, "purchase.recorded.v1")
    await service.deliver(_own(await _outbox(service, f"{row['id']}/purchase.recorded.v1")))
    purchase = await service.purchase(student)
    assert (purchase["state"], purchase["recorded_by"]) == ("paid", f"admin:{ADMIN}")
    assert recorded["price"] == {"amount": 57_500, "currency": "usd"}
    (payment,) = await payments(service, student)
    assert (payment["status"], payment["stripe_payment_intent_id"]) == ("succeeded", intent)
    (receipt,) = await service.published(student, "receipt.issued.v1")
    assert receipt["amount"]["amount"] == 57_500
    assert (await _row(service, intent))["status"] == "assigned"
    assert len(await service.published(student, "purchase.recorded.v1")) == 1


async def test_who_may_assign_and_what(service: Service) -> None:
    row = await _row(service, await _nameless(service))
    for role in ("student", "case_manager"):
        assert (await _assign(service, row["id"], uuid4(), "cpr", role=role)).status_code == 403
        assert (await service.call("GET", PATH, headers=bearer(role, ADMIN))).status_code == 403
    unknown = await _assign(service, row["id"], uuid4(), "nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_item")
    missing = await _assign(service, uuid4(), uuid4(), "cpr")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_payment")
    assert (await _row(service, (row["refs"])[0]))["status"] == "pending"


async def test_refunded_at_stripe_once(service: Service) -> None:
    intent = await _nameless(service)
    row = await _row(service, intent)
    await _perform(service, unmatched.ANNOUNCEMENT, row["id"])
    for _ in range(2):
        answer = await service.admin("POST", f"{PATH}/{row['id']}/refund")
        assert (answer.status_code, answer.json()["amount"]) == (202, 57_500), answer.text
    assert (await _row(service, intent))["status"] == "refunding"
    await _perform(service, unmatched.REFUND, row["id"])
    await _perform(service, unmatched.REFUND, row["id"])
    made = await service.sandbox.api.refunds.list_async({"payment_intent": intent})
    assert [each.amount for each in made.data] == [57_500]
    await service.deliver(*await events_about(service, intent))
    row = await _row(service, intent)
    assert (row["status"], row["refunded"], row["resolved_by"]) == ("refunded", 57_500, f"admin:{ADMIN}")
    late = await _assign(service, row["id"], uuid4(), "cpr")
    assert (late.status_code, late.json()["code"]) == (409, "payment_resolved")


async def test_a_refund_that_stripe_refuses_is_open_again(service: Service) -> None:
    intent = await _nameless(service)
    row = await _row(service, intent)
    assert (await service.admin("POST", f"{PATH}/{row['id']}/refund")).status_code == 202
    await service.sandbox.api.refunds.create_async({"payment_intent": intent})  # in the Dashboard, meanwhile
    await _perform(service, unmatched.REFUND, row["id"])
    row = await _row(service, intent)
    assert (row["status"], row["failure"]) == ("open", "charge_already_refunded")
    await service.deliver(*await events_about(service, intent))
    assert (await _row(service, intent))["status"] == "refunded"


async def test_a_refund_that_fails_later_can_be_made_again(service: Service) -> None:
    intent = await _nameless(service)
    path = f"{PATH}/{(await _row(service, intent))['id']}/refund"
    assert (await service.admin("POST", path)).status_code == 202
    id = (await _row(service, intent))["id"]
    await _perform(service, unmatched.REFUND, id)
    (failed,) = (await service.sandbox.api.refunds.list_async({"payment_intent": intent})).data
    await service.sandbox.operate(f"/refunds/{failed.id}/fail")
    await service.deliver(*await events_about(service, intent))
    assert (await _row(service, intent))["status"] == "open"
    assert (await service.admin("POST", path)).status_code == 202
    await _perform(service, unmatched.REFUND, id)
    refunds = (await service.sandbox.api.refunds.list_async({"payment_intent": intent})).data
    assert sorted(str(each.status) for each in refunds) == ["failed", "succeeded"]
    assert (await _row(service, intent))["status"] == "refunded"


async def test_only_admins_read_them_in_the_database(service: Service) -> None:
    """Also of one that was assigned: it has the email address of the payer."""
    student, intent = uuid4(), await _nameless(service)
    row = await _row(service, intent)
    assert (await _assign(service, row["id"], student, "cpr")).status_code == 201
    api = api_database(service.server)
    for role, expected in (("student", set()), ("case_manager", set()), ("admin", {row["id"]})):
        async with api.transaction_of(student_id=student, role=role) as db:
            found = set((await db.execute(text("SELECT id FROM unmatched_payments"))).scalars())
        assert found & {row["id"]} == expected
    for table in ("stripe_checks", "enrollment_progress"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with api.transaction_of(student_id=student, role="admin") as db:
                await db.execute(text(f"DELETE FROM {table}"))
    await api.close()


async def test_two_students_are_an_admins_decision(service: Service) -> None:
    first, second, name = uuid4(), uuid4(), uuid4().hex
    refs = PaymentRefs(payment_intent=f"pi_{name}")
    await service.deliver(
        succeeded(first, CPR, amount=57_500, refs=refs, purchase_id=_derived(name)),
        succeeded(second, CPR, amount=57_500, refs=refs, purchase_id=_derived(name)),
    )
    row = await _row(service, f"pi_{name}")
    assert row["code"] == "conflicting_students"
    answer = await _assign(service, row["id"], second, "cpr")
    assert answer.status_code == 201, answer.text
    await service.deliver(_own(await _outbox(service, f"{row['id']}/purchase.recorded.v1")))
    purchase = await service.purchase(second)
    assert purchase["state"] == "paid"
    assert await service.purchases(first) == []


def _derived(name: str) -> UUID:
    return purchase_uuid(f"pi_{name}")


async def _outbox(service: Service, id: str) -> dict[str, Any]:
    (row,) = await service.rows(
        "SELECT headers, convert_from(body, 'UTF8')::jsonb AS body, routing_key FROM outbox_messages "
        "WHERE headers->>'cloudEvents:id' = :id",
        id=id,
    )
    return row


def _own(row: dict[str, Any]) -> Envelope[Any]:
    """An event that checkout has published, as it receives it itself."""
    data = EVENT_TYPES[row["routing_key"]].model_validate(row["body"])
    return enveloped(data, id=row["headers"]["cloudEvents:id"])
