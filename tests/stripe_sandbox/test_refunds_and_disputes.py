"""Refunds and disputes, and their balance transactions."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import Operator, events_of, last_event, new_session, plain


class Paid:
    """A payment of $4,890."""

    def __init__(self, client: stripe.StripeClient, operator: Operator, **form: Any) -> None:
        self.client = client
        self.intent = operator.pay(new_session(client).id, **form)["payment_intent"]
        if form.get("method") == "us_bank_account":
            operator.do(f"/payment_intents/{self.intent}/settle")
        self.since = last_event(client)

    def charge(self) -> Any:
        return self.client.v1.charges.list({"payment_intent": self.intent}).data[0]

    def events(self) -> list[Any]:
        return events_of(self.client, self.since)

    def net(self) -> int:
        """The net of this payment, its refunds and disputes, in cents."""
        charge, client = self.charge(), self.client
        sources = [charge.id]
        sources += [r.id for r in client.v1.refunds.list({"charge": charge.id}).data]
        sources += [d.id for d in client.v1.disputes.list({"charge": charge.id}).data]
        entries = [t for s in sources for t in client.v1.balance_transactions.list({"source": s}).data]
        assert all(t.net == t.amount - t.fee for t in entries)
        return sum(t.net for t in entries)


@pytest.fixture
def paid(client: stripe.StripeClient, operator: Operator) -> Paid:
    return Paid(client, operator)


FEE = round(489_000 * 0.029) + 30


def test_partial_refunds_add_up(client: stripe.StripeClient, paid: Paid) -> None:
    for amount in (100_000, 50_000):
        assert client.v1.refunds.create({"payment_intent": paid.intent, "amount": amount}).status == "succeeded"
    events = paid.events()
    assert [e.type for e in events] == ["refund.created", "charge.refunded"] * 2
    totals = [
        (
            e.data.object["amount_refunded"],
            plain(e.data)["previous_attributes"]["amount_refunded"],
            e.data.object["refunded"],
        )
        for e in events
        if e.type == "charge.refunded"
    ]
    assert totals == [(100_000, 0, False), (150_000, 100_000, False)]
    rest = client.v1.refunds.create({"charge": paid.charge().id, "reason": "requested_by_customer"})
    assert rest.amount == 339_000 and paid.charge().refunded
    assert paid.net() == -FEE
    expanded: Any = client.v1.charges.retrieve(paid.charge().id, {"expand": ["refunds"]})
    assert len(expanded.refunds.data) == 3


def test_refunds_beyond_the_amount_are_rejected(client: stripe.StripeClient, paid: Paid) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded amount"):
        client.v1.refunds.create({"payment_intent": paid.intent, "amount": 489_001})
    client.v1.refunds.create({"payment_intent": paid.intent})
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.refunds.create({"payment_intent": paid.intent})
    assert raised.value.code == "charge_already_refunded"


def test_a_refund_of_a_bank_debit_pends_and_succeeds(client: stripe.StripeClient, operator: Operator) -> None:
    paid = Paid(client, operator, method="us_bank_account")
    refund = client.v1.refunds.create({"payment_intent": paid.intent})
    assert refund.status == "pending"
    operator.do(f"/refunds/{refund.id}/succeed")
    assert [e.type for e in paid.events()][-1] == "refund.updated"
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"


def test_a_failed_refund_returns_the_funds(client: stripe.StripeClient, paid: Paid, operator: Operator) -> None:
    before = paid.net()
    refund = client.v1.refunds.create({"payment_intent": paid.intent, "amount": 1_000})
    operator.do(f"/refunds/{refund.id}/fail", reason="lost_or_stolen_card")
    assert [e.type for e in paid.events()][-2:] == ["refund.updated", "refund.failed"]
    failed = client.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "lost_or_stolen_card")
    assert paid.charge().amount_refunded == 0 and paid.net() == before


def test_a_pending_refund_can_be_canceled(client: stripe.StripeClient, paid: Paid, operator: Operator) -> None:
    operator.faults(pending_refunds=True)
    refund = client.v1.refunds.create({"payment_intent": paid.intent})
    assert refund.status == "pending"
    assert client.v1.refunds.cancel(refund.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.cancel(refund.id)


@pytest.mark.parametrize(("outcome", "last", "net"), [("won", 0, 489_000 - FEE), ("lost", 1, -FEE - 1_500)])
def test_a_dispute_is_won_or_lost(
    client: stripe.StripeClient, paid: Paid, operator: Operator, outcome: str, last: int, net: int
) -> None:
    dispute = operator.do(f"/charges/{paid.charge().id}/dispute")
    assert dispute["status"] == "needs_response" and paid.charge().disputed
    with pytest.raises(stripe.InvalidRequestError) as raised:
        client.v1.refunds.create({"payment_intent": paid.intent})
    assert raised.value.code == "charge_disputed"
    operator.do(f"/disputes/{dispute['id']}/review")
    assert operator.close_dispute(dispute["id"], outcome)["status"] == outcome
    expected = [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
    ]
    assert [e.type for e in paid.events()] == expected[: len(expected) - last]
    assert paid.net() == net
    assert client.v1.disputes.list({"payment_intent": paid.intent}).data[0].status == outcome


def test_an_inquiry_withdraws_no_funds_and_can_be_closed_or_escalated(
    client: stripe.StripeClient, paid: Paid, operator: Operator
) -> None:
    inquiry = operator.do(f"/charges/{paid.charge().id}/dispute", kind="inquiry")
    assert inquiry["status"] == "warning_needs_response" and paid.net() == 489_000 - FEE
    operator.do(f"/disputes/{inquiry['id']}/escalate")
    assert paid.net() == -FEE - 1_500
    assert client.v1.disputes.close(inquiry["id"]).status == "lost"
    other = Paid(client, operator)
    second = operator.do(f"/charges/{other.charge().id}/dispute", kind="inquiry")
    assert client.v1.disputes.close(second["id"]).status == "warning_closed"
    assert [e.type for e in other.events()] == ["charge.dispute.created", "charge.dispute.closed"]


def test_a_settled_bank_debit_can_be_disputed(client: stripe.StripeClient, operator: Operator) -> None:
    paid = Paid(client, operator, method="us_bank_account")
    dispute = operator.do(f"/charges/{paid.charge().id}/dispute", reason="debit_not_authorized")
    assert (dispute["payment_intent"], dispute["reason"]) == (paid.intent, "debit_not_authorized")
