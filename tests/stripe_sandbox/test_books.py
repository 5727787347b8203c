"""Money that comes and goes: disputes from beginning to end, refunds at the same time, and books that add up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import Operator, new_session
from tests.stripe_sandbox.inside import DAY, Inside

PAID = 489_000


def charge(inside: Inside, **params: Any) -> Any:
    intent = inside.api.payment_intents.create(
        {"amount": PAID, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True, **params}
    )
    inside.told()
    return inside.api.charges.retrieve(intent.latest_charge)


def test_a_dispute_is_answered_and_won(inside: Inside) -> None:
    bought = charge(inside)
    opened = inside.operate_now(f"/charges/{bought.id}/dispute", amount=100_000)
    assert opened["evidence_details"]["due_by"] == opened["created"] + 9 * DAY
    assert inside.types() == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    with pytest.raises(stripe.InvalidRequestError) as raised:
        inside.api.refunds.create({"charge": bought.id})
    assert raised.value.code == "charge_disputed"
    inside.api.disputes.update(opened["id"], {"metadata": {"case": "7"}})
    inside.api.disputes.update(opened["id"], {"evidence": {"uncategorized_text": "attended"}, "submit": True})
    assert inside.types() == ["charge.dispute.updated"] * 2
    assert inside.api.disputes.retrieve(opened["id"]).status == "under_review"
    inside.advance(30 * DAY)
    inside.operate_now(f"/disputes/{opened['id']}/close", status="won")
    assert inside.types() == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
    assert inside.api.refunds.create({"charge": bought.id}).amount == PAID
    assert sum(t.amount for t in inside.ledger()) == 0


@pytest.mark.parametrize(("kind", "end"), [("chargeback", "lost"), ("inquiry", "warning_closed")])
def test_what_nobody_answers_is_decided_when_it_is_due(inside: Inside, kind: str, end: str) -> None:
    opened = inside.operate_now(f"/charges/{charge(inside).id}/dispute", kind=kind)
    inside.told()
    inside.advance(8 * DAY)
    assert inside.types() == []
    inside.advance(2 * DAY)
    (data,) = inside.of("charge.dispute.closed")
    assert (data["object"]["status"], data["object"]["evidence_details"]["past_due"]) == (end, True)
    assert data["object"]["id"] == opened["id"]
    assert sum(t.amount for t in inside.ledger()) == (0 if end == "lost" else PAID)


def test_an_inquiry_can_become_a_chargeback(inside: Inside) -> None:
    bought = charge(inside)
    inquiry = inside.operate_now(f"/charges/{bought.id}/dispute", kind="inquiry")
    assert inside.types() == ["charge.dispute.created"]
    assert inside.api.refunds.create({"charge": bought.id, "amount": 9_000}).status == "succeeded"
    inside.told()
    inside.operate_now(f"/disputes/{inquiry['id']}/escalate")
    assert inside.types() == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
    inside.api.disputes.close(inquiry["id"])
    assert inside.types() == ["charge.dispute.closed"]


def test_the_books_add_up_to_the_cent(inside: Inside) -> None:
    kept = charge(inside)
    part = charge(inside)
    failed = charge(inside)
    bank = charge_by_bank(inside)
    lost, won = charge(inside), charge(inside)
    inside.api.refunds.create({"charge": part.id, "amount": 1_001})
    inside.api.refunds.create({"charge": part.id, "amount": 2_002})
    refund = inside.api.refunds.create({"charge": failed.id})
    inside.operate_now(f"/refunds/{refund.id}/fail")
    back = inside.api.refunds.create({"charge": bank, "amount": 500})
    inside.operate_now(f"/refunds/{back.id}/succeed")
    for bought, verdict in ((lost, "lost"), (won, "won")):
        dispute = inside.operate_now(f"/charges/{bought.id}/dispute", amount=30_000)
        inside.operate_now(f"/disputes/{dispute['id']}/close", status=verdict)
    entries = inside.ledger()
    assert sum(t.amount for t in entries) == 6 * PAID - 1_001 - 2_002 - 500 - 30_000
    assert all(t.net == t.amount - t.fee for t in entries)
    by_type: dict[str, int] = {}
    for entry in entries:
        by_type[entry.type] = by_type.get(entry.type, 0) + entry.amount
    assert by_type == {
        "charge": 5 * PAID,
        "payment": PAID,
        "refund": -PAID - 3_003,
        "refund_failure": PAID,
        "payment_refund": -500,
        "adjustment": -30_000,
    }
    assert {t.reporting_category for t in entries if t.type == "adjustment"} == {"dispute", "dispute_reversal"}
    assert inside.api.balance_transactions.retrieve(kept.balance_transaction).source == kept.id
    (only,) = inside.api.balance_transactions.list({"type": "payment"}).data
    assert only.reporting_category == "charge"


def charge_by_bank(inside: Inside) -> str:
    pending = charge(inside, payment_method="pm_usBankAccount")
    inside.operate_now(f"/payment_intents/{pending.payment_intent}/settle")
    return str(pending.id)


def test_of_fifty_refunds_at_once_one_succeeds(client: stripe.StripeClient, operator: Operator) -> None:
    intent = operator.pay(new_session(client).id)["payment_intent"]

    def refund(n: int) -> str | None:
        try:
            client.v1.refunds.create({"payment_intent": intent}, {"idempotency_key": f"{intent}-{n}"})
        except stripe.InvalidRequestError as error:
            return error.code
        return None

    with ThreadPoolExecutor(50) as pool:
        codes = list(pool.map(refund, range(50)))
    assert sorted(codes, key=str) == [None, *["charge_already_refunded"] * 49]
    (made,) = client.v1.refunds.list({"payment_intent": intent}).data
    assert made.amount == PAID
