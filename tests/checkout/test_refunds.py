"""Refunds: who may make them, when not, once at Stripe, and never more than was paid."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.payment_steps import (
    BY_ADMIN,
    PRICE,
    ask,
    crash_before_recording,
    deliver_published,
    paid,
    payment,
    read,
    refunds,
    refused,
    reported_events,
    standing,
    stripes,
)
from tests.checkout.service import CASE_MANAGER, Service, bearer

from checkout.payments import refund_service
from contracts.money import usd
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.problems import Problem


async def test_an_admin_refunds_in_full(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answer = await ask(service, f"{row['id']}", by=BY_ADMIN)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["amount"], made["currency"], made["status"], made["origin"]) == (PRICE, "usd", "pending", "admin")
    assert await stripes(service, row["stripe_payment_intent_id"]) == [], "the relay makes it at Stripe"

    for attempt in (1, 2, 3):  # a lease that ran out, a crash before the record
        await service.perform(student, refund_service.REFUND, attempt=attempt)
    (at_stripe,) = await stripes(service, row["stripe_payment_intent_id"])
    assert at_stripe.amount == PRICE
    assert at_stripe.metadata.to_dict() == {"refund_id": made["id"], "purchase_id": str(row["purchase_id"])}
    (kept,) = await refunds(service, row["id"])
    assert (str(kept["id"]), kept["stripe_refund_id"], kept["status"]) == (made["id"], at_stripe.id, "succeeded")

    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == PRICE
    assert (await service.purchase(student))["state"] == "canceled"
    (ended,) = await service.published(student, "purchase.ended.v1")
    assert (ended["by"], ended["reason"]) == ("school", "refunded")
    view = (await read(service, f"/api/payments/{row['id']}", by=student)).json()
    assert [(each["id"], each["status"]) for each in view["refunds"]] == [(made["id"], "succeeded")]
    assert view["refundable"] == {"amount": 0, "allowed": False, "code": "nothing_to_refund"}
    refused(await ask(service, row["id"], by=BY_ADMIN), 409, "nothing_to_refund")


async def test_an_admin_refunds_in_part_and_the_enrollment_stays(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answer = await ask(service, row["id"], by=BY_ADMIN, amount=10_000)
    assert (answer.status_code, answer.json()["origin"], answer.json()["amount"]) == (201, "admin", 10_000)
    assert answer.json()["purchase_ended"] is False
    too_much = await ask(service, row["id"], by=BY_ADMIN, amount=PRICE)
    refused(too_much, 422, "amount_too_large")
    assert (too_much.json()["left"], too_much.json()["currency"]) == (PRICE - 10_000, "usd"), (
        "includes what is reserved"
    )
    await service.rows(
        "UPDATE payments SET paid_at = now() - interval '900 days' WHERE id = :id RETURNING id", id=row["id"]
    )
    assert (await ask(service, row["id"], by=BY_ADMIN, amount=1)).status_code == 201, (
        "the window does not apply to admins"
    )
    assert await service.published(student, "purchase.ended.v1") == []
    view = (await read(service, f"/api/payments/{row['id']}", role="admin")).json()
    assert view["refund_status"] is None, "no event has arrived yet"
    await service.perform(student, refund_service.REFUND)
    await service.deliver_stripe_events(student)
    view = (await read(service, f"/api/payments/{row['id']}", role="admin")).json()
    assert (view["status"], view["refund_status"], view["refunded"]) == ("succeeded", "partially_refunded", 10_001)
    assert (await service.purchase(student))["state"] == "paid"


async def test_an_admin_refunds_everything_left_of_a_purchase_and_it_ends(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    assert (await ask(service, row["id"], by=BY_ADMIN, amount=1_000)).json()["purchase_ended"] is False
    assert (await ask(service, row["id"], by=BY_ADMIN, amount=PRICE - 1_000)).json()["purchase_ended"] is True
    assert len(await service.published(student, "purchase.ended.v1")) == 1


async def test_an_admin_refunds_in_full_and_keeps_the_enrollment(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answer = await ask(service, row["id"], by=BY_ADMIN, keep_enrollment=True)
    assert (answer.status_code, answer.json()["purchase_ended"]) == (201, False)
    assert await service.published(student, "purchase.ended.v1") == []
    (accepted,) = await service.published(student, "purchase.accepted.v1")
    assert accepted["amount"] == {"amount": PRICE, "currency": "usd"}
    await deliver_published(service, student)
    await service.perform(student, refund_service.REFUND)
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == PRICE
    assert await standing(service, student) == ("active", None)


async def test_others_cannot_refund(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    refused(await ask(service, row["id"], by=("student", uuid4())), 404, "unknown_payment")
    refused(await ask(service, uuid4(), by=BY_ADMIN), 404, "unknown_payment")
    refused(await ask(service, row["id"], by=("case_manager", CASE_MANAGER)), 404, "unknown_payment")
    await service.assign(student)
    refused(await ask(service, row["id"], by=("case_manager", CASE_MANAGER)), 403, "forbidden")
    refused(await ask(service, row["id"], by=("specialist", uuid4())), 404, "unknown_payment")
    answer = await service.call("POST", f"/api/payments/{row['id']}/refund", json={"reason": "x"})
    assert answer.status_code == 401
    assert (await ask(service, "not-an-id", by=BY_ADMIN)).status_code in (404, 405)
    assert await refunds(service, row["id"]) == []


@pytest.mark.parametrize(
    "body",
    [
        {"amount": 0},
        {"amount": -1},
        {"amount": 10.5},
        {"amount": "100"},
        {"amount": True},
        {"amount": 10**30},
        {"reason": ""},
        {"reason": None},
        {"reason": "NUL \x00"},
        {"amonut": 1},
    ],
)
async def test_invalid_refunds(service: Service, body: dict[str, Any]) -> None:
    refused(await ask(service, await _paid_payment(service), by=BY_ADMIN, **body), 422, "invalid_request")


async def _paid_payment(service: Service) -> UUID:
    return UUID(str((await paid(service, uuid4()))["id"]))


async def test_an_unpaid_payment_cannot_be_refunded(service: Service) -> None:
    student = uuid4()
    body, headers = {"itemId": "cpr"}, bearer("student", student)
    made = (await service.call("POST", "/api/payments/create-intent", json=body, headers=headers)).json()
    refused(await ask(service, made["paymentId"], by=BY_ADMIN), 409, "payment_not_succeeded")


async def test_a_rejection_by_stripe_releases_the_reserved_amount(service: Service) -> None:
    """The dispute is opened before its event arrives."""
    student = uuid4()
    row = await paid(service, student)
    dispute = await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute")
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201
    await service.perform(student, refund_service.REFUND)
    (kept,) = await refunds(service, row["id"])
    assert (kept["status"], kept["failure"], kept["stripe_refund_id"]) == ("failed", "charge_disputed", None)
    for _ in range(2):  # a retry
        (event,) = await service.published(student, "refund.failed.v1")
        assert event == {
            "refund_id": str(kept["id"]),
            "payment_id": str(row["id"]),
            "purchase_id": str(row["purchase_id"]),
            "student_id": str(student),
            "amount": {"amount": PRICE, "currency": "usd"},
            "code": "charge_disputed",
            "payer": "student",
        }
        await service.perform(student, refund_service.REFUND)
    await service.sandbox.operate(f"/disputes/{dispute['id']}/close", status="won")
    await service.deliver_stripe_events(student)
    assert (await ask(service, row["id"], by=BY_ADMIN)).json()["amount"] == PRICE, "the purchase has ended all the same"
    await service.perform(student, refund_service.REFUND)
    assert len(await stripes(service, row["stripe_payment_intent_id"])) == 1


async def test_stripe_is_unavailable_and_then_back(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    await ask(service, row["id"], by=BY_ADMIN)
    await service.sandbox.faults(fail_requests=100)
    await service.perform(student, refund_service.REFUND)
    (kept,) = await refunds(service, row["id"])
    assert (kept["status"], kept["failure"]) == ("pending", None)
    await service.sandbox.faults()
    await service.perform(student, refund_service.REFUND, attempt=2)
    (kept,) = await refunds(service, row["id"])
    assert kept["status"] == "succeeded"


async def test_a_lost_response_is_found_even_after_the_idempotency_key_expired(service: Service) -> None:
    """Stripe forgets idempotency keys after a day, so a retry looks for the refund itself."""
    student = uuid4()
    row = await paid(service, student)
    made = (await ask(service, row["id"], by=BY_ADMIN, amount=500)).json()
    metadata = {"refund_id": made["id"], "purchase_id": str(row["purchase_id"])}
    lost = await service.sandbox.api.refunds.create_async(  # as we did, under a key that is forgotten
        {"payment_intent": row["stripe_payment_intent_id"], "amount": 500, "metadata": metadata}
    )
    await service.perform(student, refund_service.REFUND, attempt=2)
    (only,) = await stripes(service, row["stripe_payment_intent_id"])
    (kept,) = await refunds(service, row["id"])
    assert (kept["stripe_refund_id"], kept["status"]) == (only.id, "succeeded") == (lost.id, "succeeded")


async def test_a_pending_refund_that_fails(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student, card="4000000000007726")
    await ask(service, row["id"], by=BY_ADMIN)
    await service.perform(student, refund_service.REFUND)
    (kept,) = await refunds(service, row["id"])
    assert kept["status"] == "pending"
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == PRICE, "on its way"
    await service.sandbox.operate(f"/refunds/{kept['stripe_refund_id']}/fail")
    await service.deliver_stripe_events(student)
    (kept,) = await refunds(service, row["id"])
    assert kept["status"] == "failed"
    (event,) = await service.published(student, "refund.failed.v1")
    assert (event["refund_id"], event["code"]) == (str(kept["id"]), "failed")
    await service.deliver_stripe_events(student)
    assert len(await service.published(student, "refund.failed.v1")) == 1
    assert (await payment(service, student))["refunded"] == 0
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201


@pytest.mark.parametrize("order", list(permutations(("perform", "deliver", "deliver_reversed"))))
async def test_our_refunds_and_stripes_are_distinguished_in_any_order(service: Service, order: tuple[str, ...]) -> None:
    """Someone refunds in Stripe while our refund is pending, and the webhooks arrive before Stripe's response."""
    student = uuid4()
    row = await paid(service, student)
    made = (await ask(service, row["id"], by=BY_ADMIN, amount=700)).json()
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/refund", amount=300)
    for step in order:
        if step == "perform":
            await service.perform(student, refund_service.REFUND)
        else:
            await crash_before_recording(service, made["id"])
            events = await reported_events(service, student, {row["stripe_charge_id"]})
            await service.deliver(*(events if step == "deliver" else reversed(events)))
    kept = await refunds(service, row["id"])
    assert sorted((each["amount"], each["origin"], each["status"], each["reported"]) for each in kept) == [
        (300, "stripe", "succeeded", True),
        (700, "admin", "succeeded", True),
    ]
    assert made["id"] in [str(each["id"]) for each in kept]
    assert (await payment(service, student))["refunded"] == 1_000
    refused(await ask(service, row["id"], by=BY_ADMIN, amount=PRICE - 999), 422, "amount_too_large")
    assert (await ask(service, row["id"], by=BY_ADMIN, amount=PRICE - 1_000)).status_code == 201


async def test_events_jobs_and_requests_at_once(service: Service) -> None:
    """Consumers, the relay and the API change one payment at once: no deadlock, and nothing is counted twice."""
    student = uuid4()
    row = await paid(service, student)
    for amount in (100, 200, 300):
        made = (await ask(service, row["id"], by=BY_ADMIN, amount=amount)).json()
        await crash_before_recording(service, made["id"])
    await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/refund", amount=400)
    events = await reported_events(service, student, {row["stripe_charge_id"]})
    await asyncio.gather(
        *(service.deliver(each) for each in events * 2),
        *(service.perform(student, refund_service.REFUND) for _ in range(3)),
        *(ask(service, row["id"], by=BY_ADMIN, amount=1) for _ in range(5)),
    )
    await service.perform(student, refund_service.REFUND)
    kept = await refunds(service, row["id"])
    assert sorted((each["amount"], each["origin"]) for each in kept) == sorted(
        [(100, "admin"), (200, "admin"), (300, "admin"), (400, "stripe"), *[(1, "admin")] * 5]
    )
    assert {each["status"] for each in kept} == {"succeeded"}
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == 1_005


async def test_fifty_full_refunds_at_once_are_one(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answers = await asyncio.gather(*(ask(service, row["id"], by=BY_ADMIN) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 49}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"nothing_to_refund"}
    await asyncio.gather(*(service.perform(student, refund_service.REFUND) for _ in range(5)))
    (only,) = await stripes(service, row["stripe_payment_intent_id"])
    assert only.amount == PRICE
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == PRICE


async def test_fifty_partial_refunds_at_once_never_exceed_the_sum(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    answers = await asyncio.gather(*(ask(service, row["id"], by=BY_ADMIN, amount=4_000) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: PRICE // 4_000, 422: 50 - PRICE // 4_000}
    await service.perform(student, refund_service.REFUND)
    sent = await stripes(service, row["stripe_payment_intent_id"])
    assert sum(each.amount for each in sent) == PRICE // 4_000 * 4_000
    assert {each["status"] for each in await refunds(service, row["id"])} == {"succeeded"}


async def test_the_same_idempotency_key_is_the_same_refund(service: Service) -> None:
    row = await paid(service, uuid4())
    key = {"Idempotency-Key": str(uuid4())}
    first = await ask(service, row["id"], by=BY_ADMIN, amount=100, headers=key)
    again = await ask(service, row["id"], by=BY_ADMIN, amount=100, headers=key)
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    other = await ask(service, row["id"], by=BY_ADMIN, amount=200, headers=key)
    refused(other, 422, "idempotency_key_reused")
    assert len(await refunds(service, row["id"])) == 1


async def test_refunds_of_a_cancellation_are_one_transaction(service: Service) -> None:
    """A cancellation refunds in its own transaction: everything, or nothing."""
    student = uuid4()
    row = await paid(service, student)

    async def cancel(amount: int) -> None:
        async with service.database.transaction() as db:
            uow = UnitOfWork(db=db, source="checkout", now=utc_now())
            made = await refund_service.refund(
                uow, row["id"], amount, reason="ill", origin="cancellation", by="admin:1"
            )
            assert made.money == usd(amount)
            await refund_service.refund(uow, row["id"], 1, reason="ill", origin="cancellation", by="admin:1")

    with pytest.raises(Problem) as refused:
        await cancel(PRICE)
    assert refused.value.code == "nothing_to_refund"
    assert await refunds(service, row["id"]) == []
    await cancel(PRICE - 1)
    assert sum(each["amount"] for each in await refunds(service, row["id"])) == PRICE


async def test_a_payment_with_only_its_invoice(service: Service) -> None:
    """invoice.paid was delivered and the link to its intent was not, so Stripe is asked for the intent."""
    student = uuid4()
    await service.fund(student)
    await service.sandbox.operate(f"/invoices/{(await service.invoice(student)).id}/pay")
    events = await reported_events(service, student, set())
    await service.deliver(*(each for each in events if each.data.refs.invoice and not each.data.refs.payment_intent))
    row = await payment(service, student)
    assert (row["stripe_payment_intent_id"], row["status"]) == (None, "succeeded")
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201
    await service.perform(student, refund_service.REFUND)
    (kept,) = await refunds(service, row["id"])
    assert kept["status"] == "succeeded"
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["refunded"] == row["amount"]
