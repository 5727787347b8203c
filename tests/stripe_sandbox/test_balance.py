"""Disputes, concurrent refunds, and the sum of all balance transactions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import RETURN_URL, Operator, new_session
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox

PAID = 489_000


def charge(sandbox: InProcessSandbox, **params: Any) -> Any:
    intent = sandbox.api.payment_intents.create(
        {
            "amount": PAID,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "return_url": RETURN_URL,
            **params,
        }
    )
    sandbox.new_events()
    return sandbox.api.charges.retrieve(intent.latest_charge)


def test_submitted_evidence_can_win_a_dispute(sandbox: InProcessSandbox) -> None:
    bought = charge(sandbox)
    opened = sandbox.operate_now(f"/charges/{bought.id}/dispute", amount=100_000)
    assert opened["evidence_details"]["due_by"] == opened["created"] + 9 * DAY
    assert sandbox.types() == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    with pytest.raises(stripe.InvalidRequestError) as raised:
        sandbox.api.refunds.create({"charge": bought.id})
    assert raised.value.code == "charge_disputed"
    sandbox.api.disputes.update(opened["id"], {"metadata": {"case": "7"}})
    sandbox.api.disputes.update(opened["id"], {"evidence": {"uncategorized_text": "attended"}, "submit": True})
    assert sandbox.types() == ["charge.dispute.updated"] * 2
    assert sandbox.api.disputes.retrieve(opened["id"]).status == "under_review"
    sandbox.advance(30 * DAY)
    sandbox.operate_now(f"/disputes/{opened['id']}/close", status="won")
    assert sandbox.types() == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
    assert sandbox.api.refunds.create({"charge": bought.id}).amount == PAID
    assert sum(t.amount for t in sandbox.balance_transactions()) == 0


@pytest.mark.parametrize(("kind", "end"), [("chargeback", "lost"), ("inquiry", "warning_closed")])
def test_a_dispute_without_evidence_is_closed_at_its_deadline(sandbox: InProcessSandbox, kind: str, end: str) -> None:
    opened = sandbox.operate_now(f"/charges/{charge(sandbox).id}/dispute", kind=kind)
    sandbox.new_events()
    sandbox.advance(8 * DAY)
    assert sandbox.types() == []
    sandbox.advance(2 * DAY)
    (data,) = sandbox.of("charge.dispute.closed")
    assert (data["object"]["status"], data["object"]["evidence_details"]["past_due"]) == (end, True)
    assert data["object"]["id"] == opened["id"]
    assert sum(t.amount for t in sandbox.balance_transactions()) == (0 if end == "lost" else PAID)


def test_an_inquiry_can_be_escalated_to_a_chargeback(sandbox: InProcessSandbox) -> None:
    bought = charge(sandbox)
    inquiry = sandbox.operate_now(f"/charges/{bought.id}/dispute", kind="inquiry")
    assert sandbox.types() == ["charge.dispute.created"]
    assert sandbox.api.refunds.create({"charge": bought.id, "amount": 9_000}).status == "succeeded"
    sandbox.new_events()
    sandbox.operate_now(f"/disputes/{inquiry['id']}/escalate")
    assert sandbox.types() == ["charge.dispute.updated", "charge.dispute.funds_withdrawn"]
    sandbox.api.disputes.close(inquiry["id"])
    assert sandbox.types() == ["charge.dispute.closed"]


def test_balance_transactions_add_up_to_the_cent(sandbox: InProcessSandbox) -> None:
    kept = charge(sandbox)
    part = charge(sandbox)
    failed = charge(sandbox)
    bank = charge_by_bank(sandbox)
    lost, won = charge(sandbox), charge(sandbox)
    sandbox.api.refunds.create({"charge": part.id, "amount": 1_001})
    sandbox.api.refunds.create({"charge": part.id, "amount": 2_002})
    refund = sandbox.api.refunds.create({"charge": failed.id})
    sandbox.operate_now(f"/refunds/{refund.id}/fail")
    back = sandbox.api.refunds.create({"charge": bank, "amount": 500})
    sandbox.operate_now(f"/refunds/{back.id}/succeed")
    for bought, outcome in ((lost, "lost"), (won, "won")):
        dispute = sandbox.operate_now(f"/charges/{bought.id}/dispute", amount=30_000)
        sandbox.operate_now(f"/disputes/{dispute['id']}/close", status=outcome)
    entries = sandbox.balance_transactions()
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
    assert sandbox.api.balance_transactions.retrieve(kept.balance_transaction).source == kept.id
    (only,) = sandbox.api.balance_transactions.list({"type": "payment"}).data
    assert only.reporting_category == "charge"


def charge_by_bank(sandbox: InProcessSandbox) -> str:
    pending = charge(sandbox, payment_method="pm_usBankAccount")
    sandbox.operate_now(f"/payment_intents/{pending.payment_intent}/settle")
    return str(pending.id)


def test_one_of_fifty_concurrent_refunds_succeeds(client: stripe.StripeClient, operator: Operator) -> None:
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
    (created,) = client.v1.refunds.list({"payment_intent": intent}).data
    assert created.amount == PAID
