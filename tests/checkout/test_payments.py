"""Payments are updated by their events in any order; students and staff can read them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from tests.checkout.payment_steps import PRICE, ask, paid, payment, payments, read, refunds, reported_events
from tests.checkout.service import ADMIN, CASE_MANAGER, Service, bearer, wanted

from checkout.receipts.domain import method_name
from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentFailed,
    PaymentMethodDetails,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)


async def test_a_payment_on_a_checkout_page_is_one_row(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    assert (row["status"], row["amount"], row["currency"], row["refunded"]) == ("succeeded", PRICE, "usd", 0)
    assert (row["item_slug"], row["item_kind"], row["payer"]) == ("cpr", "program", "student")
    assert row["stripe_payment_intent_id"].startswith("pi_") and row["stripe_charge_id"].startswith("ch_")
    assert row["paid_at"] is not None and row["failure_code"] is None and not row["disputed"]
    await service.deliver_stripe_events(student)
    assert await payment(service, student) == row, "a repeated event changes nothing"


async def test_an_intents_payment_is_stored_when_it_is_created(service: Service) -> None:
    student = uuid4()
    headers = bearer("student", student)
    answer = await service.call("POST", "/api/payments/create-intent", json={"itemId": "cpr"}, headers=headers)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    row = await payment(service, student)
    assert (str(row["id"]), row["status"], row["amount"]) == (made["paymentId"], "requires_payment", PRICE)

    intent = made["paymentIntentId"]
    path = f"/api/payments/status/{intent}/"
    view = (await read(service, path, by=student)).json()
    assert (view["status"], view["stripe_status"]) == ("PENDING", "requires_payment_method")
    await service.sandbox.operate(f"/payment_intents/{intent}/pay", card="4000000000009995")
    await service.deliver_stripe_events(student)
    row = await payment(service, student)
    assert (row["status"], row["failure_code"]) == ("failed", "insufficient_funds")

    await service.sandbox.operate(f"/payment_intents/{intent}/pay")
    view = (await read(service, path, by=student)).json()
    assert (view["status"], view["stripe_status"]) == ("FAILED", "succeeded"), (
        "only the verified event changes the status"
    )
    await service.deliver_stripe_events(student)
    row = await payment(service, student)
    assert (str(row["id"]), row["status"], row["failure_code"]) == (made["paymentId"], "succeeded", None)
    view = (await read(service, path, by=student)).json()
    assert view == {
        "payment_id": made["paymentId"],
        "payment_intent_id": intent,
        "status": "SUCCEEDED",
        "stripe_status": "succeeded",
        "refund_status": None,
        "amount": PRICE,
        "currency": "usd",
        "track": None,
        "paid_at": row["paid_at"].isoformat().replace("+00:00", "Z"),
        "created_at": row["created_at"].isoformat().replace("+00:00", "Z"),
    }
    assert (await read(service, path)).status_code == 404, "someone else's"
    assert (await read(service, path, role="admin", by=ADMIN)).status_code == 404, "only the payer's own"
    assert (await read(service, "/api/payments/status/pi_unknown", by=student)).status_code == 404

    await service.sandbox.faults(fail_requests=100)
    view = (await read(service, path, by=student)).json()
    assert (view["status"], view["stripe_status"]) == ("SUCCEEDED", None), "Stripe is unavailable"


async def test_a_bank_debit_is_processing_and_can_fail(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student, method="us_bank_account", account="failing")
    assert (row["status"], row["paid_at"]) == ("processing", None)
    await service.sandbox.operate(f"/payment_intents/{row['stripe_payment_intent_id']}/fail")
    await service.deliver_stripe_events(student)
    assert (await payment(service, student))["status"] == "failed"


async def test_the_fields_that_a_tracks_front_end_reads(service: Service) -> None:
    """Status words in capitals, the track, and the list of payments under its own name."""
    student = uuid4()
    headers = bearer("student", student)
    made = (await service.call("POST", "/api/payments/create-payment/", json={"track": "dp"}, headers=headers)).json()
    intent = made["paymentIntentId"]
    await service.sandbox.operate(f"/payment_intents/{intent}/pay")
    await service.deliver_stripe_events(student)
    row = await payment(service, student)
    mine = (await read(service, "/api/payments/my-payments/", by=student)).json()
    shorter = {
        "payment_intent_id": intent,
        "status": "SUCCEEDED",
        "amount": row["amount"],
        "currency": row["currency"],
        "track": "dp",
        "refunded": False,
        "created_at": row["created_at"].isoformat().replace("+00:00", "Z"),
    }
    assert (mine["payments"], mine["next"]) == ([shorter], None)
    assert (mine["items"][0]["payment_intent_id"], mine["items"][0]["track"]) == (intent, "dp")

    body = {"payment_intent_id": intent, "reason": "ill"}
    requested = await service.call("POST", "/api/payments/request-refund/", json=body, headers=headers)
    assert (requested.status_code, requested.json()["status"]) == (201, "pending") and requested.json()["message"]
    assert (await ask(service, row["id"], by=("student", student))).status_code == 201
    await service.perform(student)
    await service.deliver_stripe_events(student)
    state = (await read(service, f"/api/payments/status/{intent}/", by=student)).json()
    assert (state["status"], state["refund_status"], state["track"]) == ("REFUNDED", "refunded", "dp")
    assert state["created_at"] == shorter["created_at"]
    mine = (await read(service, "/api/payments/my-payments/", by=student)).json()
    assert (mine["payments"][0]["status"], mine["payments"][0]["refunded"]) == ("REFUNDED", True)


async def test_how_it_was_paid_comes_from_the_charge(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)
    details = PaymentMethodDetails(type="card", brand="visa", last4="4242", wallet="apple_pay")
    refs = PaymentRefs(payment_intent=row["stripe_payment_intent_id"], charge=row["stripe_charge_id"])
    await service.publish(PaymentSucceeded(refs=refs, amount=usd(PRICE), details=details))
    view = (await read(service, f"/api/payments/{row['id']}", by=student)).json()
    assert view["method"] == "card"
    assert view["method_details"] == {
        "type": "card", "brand": "visa", "last4": "4242", "bank": None, "wallet": "apple_pay",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("details", "name"),
    [
        (None, "card"),
        ({"type": "card", "brand": "visa", "last4": "4242"}, "Visa ending in 4242"),
        ({"type": "card", "brand": "amex", "last4": "0005"}, "American Express ending in 0005"),
        ({"type": "card", "brand": "visa", "last4": "1", "wallet": "apple_pay"}, "Apple Pay, Visa ending in 1"),
        ({"type": "card"}, "card"),
        ({"type": "us_bank_account", "bank": "STRIPE TEST BANK", "last4": "6789"},
         "bank debit (STRIPE TEST BANK, ending in 6789)"),
        ({"type": "klarna"}, "klarna"),
        ({"type": "cashapp"}, "Cash App"),
    ],
)  # fmt: skip
def test_what_a_receipt_calls_the_method(details: dict[str, str] | None, name: str) -> None:
    assert method_name("card", PaymentMethodDetails(**details) if details else None) == name


async def test_reading_payments(service: Service) -> None:
    student, other = uuid4(), uuid4()
    row = await paid(service, student)
    path = f"/api/payments/{row['id']}"
    view = (await read(service, path, by=student)).json()
    assert (view["id"], view["amount"], view["currency"]) == (str(row["id"]), PRICE, "usd")
    assert view["refunds"] == []
    assert view["refundable"] == {"amount": PRICE, "allowed": True, "code": None}
    refused = await read(service, path, by=other)
    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_payment")
    assert (await read(service, f"/api/payments/{uuid4()}", by=student)).status_code == 404
    assert (await service.call("GET", path)).status_code == 401
    assert (await read(service, path, role="case_manager", by=CASE_MANAGER)).status_code == 404
    await service.assign(student)
    for role in ("case_manager", "admin"):
        assert (await read(service, path, role=role, by=CASE_MANAGER)).json()["id"] == str(row["id"])
    assert (await read(service, path, role="specialist")).status_code == 404
    assert (await read(service, path, role="case_manager", by=CASE_MANAGER)).json()["refundable"]["allowed"] is False


async def test_the_history_is_paged_newest_first(service: Service) -> None:
    student = uuid4()
    first = await paid(service, student)
    await service.buy(student, wanted("hvac", 5000))
    session = (await service.sandbox.sessions_of(student))[0]
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    _, second = await payments(service, student)
    page = (await read(service, "/api/payments/history/customer?limit=1", by=student)).json()
    assert [each["id"] for each in page["items"]] == [str(second["id"])]
    rest = (await read(service, f"/api/payments/history/customer?limit=1&cursor={page['next']}", by=student)).json()
    assert ([each["id"] for each in rest["items"]], rest["next"]) == ([str(first["id"])], None)
    mine = (await read(service, "/api/payments/my-payments/", by=student)).json()
    assert [each["item_slug"] for each in mine["items"]] == ["hvac", "cpr"]
    none = await read(service, "/api/payments/history/customer?status=failed", by=student)
    assert none.json() == {"items": [], "next": None}
    assert (await read(service, "/api/payments/history/customer?status=odd", by=student)).status_code == 422
    assert (await read(service, "/api/payments/history/customer?cursor=odd", by=student)).status_code == 400
    assert (await read(service, "/api/payments/my-payments", role="admin")).json()["items"] == []


async def test_admins_list_all_payments(service: Service) -> None:
    student = uuid4()
    row = await paid(service, student)

    async def found(query: str) -> list[str]:
        answer = await read(service, f"/api/admin/payments?student_id={student}{query}", role="admin")
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["items"]]

    assert await found("") == await found("&status=succeeded") == await found("&item_slug=cpr") == [str(row["id"])]
    assert await found("&status=failed") == await found("&item_slug=hvac") == []
    assert await found("&from=2020-01-01T00:00:00Z&to=2999-01-01T00:00:00Z") == [str(row["id"])]
    assert await found("&to=2020-01-01T00:00:00Z") == []
    for role in ("student", "case_manager", "specialist"):
        assert (await read(service, "/api/admin/payments", role=role)).status_code == 403
    assert (await read(service, "/api/admin/payments?from=2020-01-01", role="admin")).status_code == 422


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    names = (*names, "id", "payment_id", "purchase_id", "student_id", "created_at", "updated_at")
    return {name: value for name, value in row.items() if name not in names}


async def _rows(service: Service, student: UUID) -> list[list[dict[str, Any]]]:
    """The student's payments, refunds and disputes, without generated ids and times."""
    kept = []
    for table, order in (("payments", "refs"), ("refunds", "stripe_refund_id"), ("disputes", "stripe_dispute_id")):
        rows = await service.rows(f"SELECT * FROM {table} WHERE student_id = :id ORDER BY {order}", id=student)
        kept.append([_without(row) for row in rows])
    return kept


def _at(minute: int) -> datetime:
    return datetime(2026, 10, 1, 12, minute, tzinfo=UTC)


def _story(purchase_id: UUID, student: UUID, tag: str) -> list[Envelope[Any]]:
    """An invoice that is declined, then paid by an intent which another event links to it; refunds; disputes."""
    ours = {"purchase_id": purchase_id, "student_id": student}
    invoice = PaymentRefs(invoice=f"in_{tag}", subscription=f"sub_{tag}")
    intent = PaymentRefs(payment_intent=f"pi_{tag}", charge=f"ch_{tag}")
    link = PaymentRefs(invoice=f"in_{tag}", payment_intent=f"pi_{tag}")
    charge = PaymentRefs(charge=f"ch_{tag}")
    second = PaymentRefs(payment_intent=f"pi_{tag}_2", charge=f"ch_{tag}_2")
    due = _at(59)

    def dispute(status: Any, **more: Any) -> PaymentDisputeOpened:
        fields = {"dispute_id": f"du_{tag}", "amount": usd(40_000), "reason": "fraudulent", "evidence_due_by": due}
        return PaymentDisputeOpened(refs=charge, status=status, **{**fields, **more})

    def refund(id: str, status: Any, amount: int) -> PaymentRefunded:
        return PaymentRefunded(refs=charge, refund_id=id, amount=usd(amount), status=status)

    events: list[PaymentEvent] = [
        PaymentFailed(refs=invoice, amount=usd(PRICE), code="card_declined", **ours),
        PaymentSucceeded(refs=invoice, amount=usd(PRICE), tax=usd(500), **ours),
        PaymentSucceeded(refs=intent, amount=usd(PRICE), method="card", **ours),
        PaymentSucceeded(refs=link, amount=usd(PRICE)),
        refund(f"re_{tag}_1", "pending", 1_000),
        refund(f"re_{tag}_1", "succeeded", 1_000),
        PaymentRefunded(refs=charge, total=usd(1_000), before=usd(0), of=usd(PRICE)),
        refund(f"re_{tag}_2", "succeeded", 2_000),
        refund(f"re_{tag}_2", "failed", 2_000),
        dispute("warning_needs_response"),
        dispute("needs_response", evidence_due_by=_at(58)),
        dispute("needs_response", funds="withdrawn"),
        PaymentDisputeClosed(refs=charge, dispute_id=f"du_{tag}", status="won", amount=usd(40_000), funds="reinstated"),
        PaymentPending(refs=second, amount=usd(PRICE), method="us_bank_account", **ours),
        PaymentFailed(refs=second, amount=usd(PRICE), code="insufficient_funds", final=True, **ours),
    ]
    return [
        Envelope(id=f"evt_{tag}_{n}/{event.type}", source="test", subject=str(purchase_id), time=_at(n), data=event)
        for n, event in enumerate(events)
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_any_order_and_repetition_end_in_the_same_rows(service: Service, seed: int) -> None:
    ended = []
    shuffle = random.Random(seed)
    tag = uuid4().hex[:12]
    for attempt in ("as it happened", "shuffled"):
        student = uuid4()
        await service.buy(student)
        purchase_id = (await service.purchase(student))["id"]
        story = _story(purchase_id, student, tag)
        events = story if attempt == "as it happened" else shuffle.sample(story, len(story)) + story[:5]
        await service.deliver(*events)
        ended.append(await _rows(service, student))
        await _reset(service, tag, student)
    assert ended[0] == ended[1]
    payments, refunds, disputes = ended[0]
    first = next(row for row in payments if row["stripe_invoice_id"])
    assert (first["status"], first["amount"], first["tax"], first["refunded"]) == ("succeeded", PRICE, 500, 1_000)
    assert first["refs"] == sorted((f"in_{tag}", f"pi_{tag}", f"ch_{tag}"))
    assert first["paid_at"] == _at(1) and not first["disputed"]
    other = next(row for row in payments if not row["stripe_invoice_id"])
    assert (other["status"], other["failure_code"]) == ("failed", "insufficient_funds")
    assert [(row["amount"], row["status"], row["origin"]) for row in refunds] == [
        (1_000, "succeeded", "stripe"),
        (2_000, "failed", "stripe"),
    ]
    (dispute,) = disputes
    assert (dispute["status"], dispute["funds"], dispute["closed_at"]) == ("won", "reinstated", _at(12))
    assert (dispute["evidence_due_by"], len(dispute["history"])) == (_at(59), 4)


async def _reset(service: Service, tag: str, student: UUID) -> None:
    """Deletes everything, so that the same events can be delivered again."""
    async with service.database.transaction() as db:
        for table in ("payments", "refunds", "disputes"):
            await db.execute(text(f"DELETE FROM {table} WHERE student_id = :id"), {"id": student})
        await db.execute(text("DELETE FROM facts WHERE event_id LIKE :tag"), {"tag": f"evt_{tag}%"})
        await db.execute(text("DELETE FROM inbox WHERE event_id LIKE :tag"), {"tag": f"evt_{tag}%"})
        await db.execute(text("DELETE FROM fact_keys WHERE key LIKE :tag"), {"tag": f"%{tag}%"})
        await db.execute(text("DELETE FROM documents WHERE student_id = :id"), {"id": student})


async def test_two_rows_of_one_payment_are_merged(service: Service) -> None:
    """What belongs to the younger row moves to the older one."""
    student, tag = uuid4(), uuid4().hex[:12]
    await service.buy(student)
    story = _story((await service.purchase(student))["id"], student, tag)
    await service.deliver(story[1], story[2], story[5])
    older, younger = await payments(service, student)
    assert await refunds(service, younger["id"]), "the refund names the charge only"
    await service.deliver(story[3])
    row = await payment(service, student)
    assert (row["id"], row["refunded"], row["tax"]) == (older["id"], 1_000, 500)
    (moved,) = await refunds(service, row["id"])
    assert moved["payment_id"] == row["id"]
    view = (await read(service, f"/api/payments/{row['id']}", by=student)).json()
    assert [each["amount"] for each in view["refunds"]] == [1_000]


async def test_all_stripe_events_of_a_payment_in_any_order(service: Service) -> None:
    """The sandbox's events: paid, refunded in part by us and in Stripe, disputed, won."""
    student = uuid4()
    await service.buy(student, wanted("cpr", 575))
    session = (await service.sandbox.sessions_of(student))[0]
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    row = await payment(service, student)
    assert (await ask(service, row["id"], by=("admin", ADMIN), amount=700)).status_code == 201
    await service.perform(student)
    charge = row["stripe_charge_id"]
    await service.sandbox.operate(f"/charges/{charge}/refund", amount=300)
    dispute = await service.sandbox.operate(f"/charges/{charge}/dispute")
    await service.sandbox.operate(f"/disputes/{dispute['id']}/review")
    await service.sandbox.operate(f"/disputes/{dispute['id']}/close", status="won")
    events = await reported_events(service, student, {charge})
    for each in random.Random(7).sample(events, len(events)):
        await service.deliver(each)
    row = await payment(service, student)
    assert (row["refunded"], row["disputed"], row["status"]) == (1_000, False, "succeeded")
    assert sorted(
        (r["amount"], r["origin"], r["status"], r["reported"]) for r in await refunds(service, row["id"])
    ) == [
        (300, "stripe", "succeeded", True),
        (700, "admin", "succeeded", True),
    ]
