"""An erased student: what stands in the way, when it is complete, and that they cannot bring themselves back."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout import erasure_steps as steps
from tests.checkout.external_steps import events_about, external_plan, succeeded
from tests.checkout.payment_steps import paid, refused
from tests.checkout.service import ADMIN, Service, bearer, wanted
from tests.waiting import until

from checkout.erasures import repository
from checkout.erasures.repository import SERVICES
from checkout.purchases.customer_events import DELETION, REPLACEMENT
from checkout.purchases.repository import lock_student
from checkout.receipts.domain import method_name
from contracts.payments import CustomerDeleted, PaymentMethodDetails, PaymentRefs
from contracts.people import Contact
from kit.http.erasure import refuse_erased
from kit.http.problems import Problem
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker

ANN = {"email": "ann.vanish@example.com", "name": "Ann Vanish"}
PORTAL = "/api/payments/billing-portal"


async def shows(service: Service, student: UUID) -> dict[str, Any]:
    answer = await service.call("GET", steps.path_of(student), headers=bearer("admin", ADMIN))
    found: dict[str, Any] = answer.json()
    return found


async def perform(service: Service, kind: str, customer: str) -> None:
    worker = JobWorker(service.database, "checkout", service.handlers)
    for row in await service.rows("SELECT * FROM jobs WHERE kind = :kind AND done_at IS NULL", kind=kind):
        if row["payload"].get("customer") == customer:
            job = Job(id=row["id"], kind=kind, key=row["key"], payload=row["payload"], cause=None, attempt=1)
            await worker.attempt(job)


async def at_stripe(service: Service, customer: str) -> Any:
    return await service.sandbox.api.customers.retrieve_async(customer)


async def customers(service: Service, student: UUID) -> list[str]:
    rows = await service.rows("SELECT stripe_customer_id AS id FROM customers WHERE student_id = :id", id=student)
    return [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", PORTAL, {}),
        ("POST", "/api/create-checkout-session", wanted("cpr", 575)),
        ("POST", "/api/enrollments", {"product_id": "dsp"}),
        ("POST", "/api/payments/request-refund", {"reason": "I am Ann Vanish"}),
        ("POST", "/api/payments/{payment}/refund", {"reason": "I am Ann Vanish"}),
        ("POST", "/api/referral-code", {}),
    ],
)
async def test_an_erased_student_changes_nothing(
    service: Service, method: str, path: str, body: dict[str, Any]
) -> None:
    """Their token is valid for a while."""
    student = uuid4()
    payment = await paid(service, student)
    await steps.erased(service, student)
    if path.endswith("request-refund"):
        body = {**body, "payment_intent_id": payment["stripe_payment_intent_id"]}
    headers = bearer("student", student, **ANN)
    refused(
        await service.call(method, path.format(payment=payment["id"]), json=body, headers=headers),
        409,
        "student_erased",
    )
    assert await customers(service, student) == []
    assert not await service.rows("SELECT 1 FROM refund_requests WHERE student_id = :id", id=student)
    assert (await service.call("GET", "/api/payments/my-payments", headers=headers)).status_code == 200


async def test_nobody_assigns_a_payment_to_an_erased_student(service: Service) -> None:
    student = uuid4()
    await steps.has_contact(service, student)
    await steps.erased(service, student)
    body = {"student_id": str(student), "item": "cpr"}
    path = f"/api/admin/unmatched-payments/{uuid4()}/assign"
    refused(await service.call("POST", path, json=body, headers=bearer("admin", ADMIN)), 409, "student_erased")


async def test_every_customer_that_an_erasure_deletes_is_deleted_at_stripe(service: Service) -> None:
    """Also one that a request has stored which had begun before: the job is done once more."""
    student = uuid4()
    first = await service.create_customer(student)
    request = await steps.erased(service, student)
    second = str((await service.sandbox.api.customers.create_async({"metadata": {"student_id": str(student)}})).id)
    await service.rows(
        "INSERT INTO customers (student_id, stripe_customer_id, email, created_at, updated_at)"
        " VALUES (:student, :customer, 'ann@vanish.example', now(), now()) RETURNING 1",
        student=student,
        customer=second,
    )
    await steps.erase_again(service, request)
    for customer in (first, second):
        await perform(service, DELETION, customer)
        assert (await at_stripe(service, customer)).deleted
    assert await customers(service, student) == []


async def test_a_customer_of_a_request_that_had_started_before_is_deleted(service: Service) -> None:
    student = uuid4()
    await steps.has_contact(service, student)
    await steps.requested(service, student)
    with pytest.raises(Problem, match="erased"):
        await service.create_customer(student)
    made = await service.stripe.create_customer(metadata={"student_id": str(student)}, key=f"customer/{student}")
    assert (await at_stripe(service, made)).deleted
    assert await customers(service, student) == []


async def test_a_replacement_that_was_enqueued_before_makes_no_new_customer(service: Service) -> None:
    student = uuid4()
    customer = await service.create_customer(student)
    await service.publish(CustomerDeleted(customer=customer))
    await steps.erased(service, student)
    await perform(service, REPLACEMENT, customer)
    assert await customers(service, student) == []
    jobs = await service.rows(
        "SELECT 1 FROM jobs WHERE kind = :kind AND payload ->> 'customer' = :id AND done_at IS NOT NULL",
        kind=REPLACEMENT,
        id=customer,
    )
    assert len(jobs) == 1


async def test_from_its_request_on_nothing_is_bought_for_the_student(service: Service) -> None:
    """Before any service has heard of it."""
    student = uuid4()
    await steps.has_contact(service, student)
    await steps.requested(service, student)
    headers = bearer("student", student, **ANN)
    body = {"product_id": "dsp", "user_id": str(student)}
    refused(await service.call("POST", "/api/enrollments", json=body, headers=headers), 409, "student_erased")
    refused(await service.fund(student), 409, "student_erased")
    assert await service.purchases(student) == []


async def test_a_request_waits_for_a_purchase_that_is_being_created_and_sees_it(service: Service) -> None:
    student = uuid4()
    await service.create_customer(student)

    async def waiting(number: int) -> None:
        async def waits() -> bool:
            query = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return bool((await service.rows(query))[0]["n"] == number)

        await until(waits, what="a lock to be waited for")

    async with service.database.transaction() as db:
        await lock_student(db, student)
        buying = asyncio.create_task(service.buy(student, wanted("cpr", 575)))
        await waiting(1)
        asking = asyncio.create_task(steps.ask(service, student))
        await waiting(2)
    answer = await asking
    refused(answer, 409, "erasure_blocked")
    assert answer.json()["blocks"] == ["payment_in_progress"]
    assert (await buying).status_code == 200


async def test_a_refused_request_erases_nobody(service: Service) -> None:
    student = uuid4()
    assert (await service.buy(student, wanted("cpr", 575))).status_code == 200
    refused(await steps.ask(service, student), 409, "erasure_blocked")
    async with service.database.transaction() as db:
        await refuse_erased(db, student)


async def unmatched(service: Service, email: str) -> str:
    """The id of a payment at Stripe that nobody can be found for."""
    event = succeeded(None, None, contact=Contact(email=email, name="Ben Stays"))
    await service.deliver(event)
    return str(event.data.refs.payment_intent)


@pytest.mark.parametrize("status", ["pending", "open", "refunding"])
async def test_an_unmatched_payment_with_the_students_address_blocks(service: Service, status: str) -> None:
    """It may be another person's who has the same address: an admin decides that first."""
    student, name = uuid4(), uuid4().hex
    await steps.has_contact(service, student, f"ann.{name}@family.example")
    intent = await unmatched(service, f"Ann.{name}@Family.example")
    await service.rows(
        "UPDATE unmatched_payments SET status = :status WHERE :ref = ANY (refs) RETURNING 1", status=status, ref=intent
    )
    answer = await steps.ask(service, student)
    refused(answer, 409, "erasure_blocked")
    assert answer.json()["blocks"] == ["payment_unmatched"]


async def test_a_payment_that_is_assigned_to_somebody_else_is_not_erased(service: Service) -> None:
    student, other, email = uuid4(), uuid4(), f"{uuid4().hex}@family.example"
    await steps.has_contact(service, student, email)
    intent = await unmatched(service, email)
    (row,) = await service.rows("SELECT id FROM unmatched_payments WHERE :ref = ANY (refs)", ref=intent)
    path = f"/api/admin/unmatched-payments/{row['id']}/assign"
    answer = await service.admin("POST", path, student_id=str(other), item="cpr")
    assert answer.status_code == 201, answer.text
    request = await steps.erased(service, student)
    assert intent not in request.data.identifiers
    (row,) = await service.rows("SELECT * FROM unmatched_payments WHERE :ref = ANY (refs)", ref=intent)
    assert row["email"] == email

    async with service.database.transaction() as db:
        assert intent in await repository.identifiers(db, other), "an admin has decided whose it is"


async def test_a_plan_that_stripe_collects_blocks_and_its_customer_is_erased(service: Service) -> None:
    student, sponsored = uuid4(), uuid4()
    purchase = await external_plan(service, student)
    answer = await steps.ask(service, student)
    refused(answer, 409, "erasure_blocked")
    assert answer.json()["blocks"] == ["subscription_active"]
    subscription = await service.sandbox.api.subscriptions.cancel_async(purchase["stripe_subscription_id"])
    await service.deliver(*await events_about(service, subscription.id))

    customer = str(subscription.customer)
    await service.deliver(succeeded(sponsored, None, refs=PaymentRefs(payment_intent="pi_0other", customer=customer)))
    async with service.database.transaction() as db:
        assert customer not in await repository.identifiers(db, student), "it has paid for another student, too"
    await service.rows("DELETE FROM facts WHERE body ->> 'student_id' = :id RETURNING 1", id=str(sponsored))
    request = await steps.erased(service, student)
    assert customer in request.data.identifiers
    await perform(service, DELETION, customer)
    assert (await at_stripe(service, customer)).deleted


async def test_receipts_belong_to_a_request_whatever_the_clocks_say(service: Service) -> None:
    student = uuid4()
    await steps.has_contact(service, student)
    request = await steps.requested(service, student)
    for source in SERVICES:
        assert not (await shows(service, student))["complete"]
        await service.deliver(steps.receipt(request, source, behind=timedelta(seconds=5)))
    assert (await shows(service, student))["complete"]

    again = await steps.requested(service, student)
    assert not (await shows(service, student))["complete"]
    for source in SERVICES:
        await service.deliver(steps.receipt(again, source, behind=timedelta(minutes=5)))
        await service.deliver(steps.receipt(request, source))
    assert (await shows(service, student))["complete"], "a late receipt of the earlier request changes nothing"


async def test_a_receipt_of_an_earlier_request_does_not_count(service: Service) -> None:
    student = uuid4()
    await steps.has_contact(service, student)
    request = await steps.requested(service, student)
    await steps.requested(service, student)
    for source in SERVICES:
        await service.deliver(steps.receipt(request, source, behind=timedelta(minutes=-5)))
    found = await shows(service, student)
    assert not found["complete"] and not any(each["erased_at"] for each in found["services"])


@pytest.mark.parametrize(
    ("details", "left"),
    [
        ({"type": "us_bank_account", "last4": "6789"}, "bank debit"),
        ({"type": "us_bank_account", "bank": "STRIPE TEST BANK (US)", "last4": "6789"}, "bank debit"),
        ({"type": "card", "brand": "visa", "last4": "4242", "wallet": "apple_pay"}, "Apple Pay, Visa"),
        ({"type": "cashapp"}, "Cash App"),
    ],
)
async def test_a_receipt_keeps_the_kind_of_method_only(service: Service, details: dict[str, str], left: str) -> None:
    student = uuid4()
    await paid(service, student)
    method = method_name(None, PaymentMethodDetails.model_validate(details))
    await service.rows(
        "UPDATE documents SET content = jsonb_set(content, '{method}', to_jsonb(CAST(:method AS text)))"
        " WHERE student_id = :id RETURNING 1",
        method=method,
        id=student,
    )
    await steps.erased(service, student)
    (row,) = await service.rows("SELECT content FROM documents WHERE student_id = :id", id=student)
    assert (row["content"]["method"], row["content"]["buyer"]) == (left, {})
