"""Operator actions of banks and card issuers: refunds, disputes, returned debits, mandates and fraud warnings."""

from __future__ import annotations

from typing import Literal

import stripe

from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import disputes, mandates, refunds
from stripe_sandbox.ids import new_id
from stripe_sandbox.operator_action import Action, EmptyBody
from stripe_sandbox.shapes import build
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


class Refund(EmptyBody):
    amount: int | None = None
    status: Literal["succeeded", "pending"] = "succeeded"
    reason: Literal["duplicate", "fraudulent", "requested_by_customer"] | None = None


class RefundFailure(EmptyBody):
    reason: str = "expired_or_canceled_card"


class Dispute(EmptyBody):
    amount: int | None = None
    reason: str = "fraudulent"
    kind: Literal["chargeback", "inquiry"] = "chargeback"


class DisputeOutcome(EmptyBody):
    status: Literal["won", "lost", "warning_closed"]


class DebitReturn(EmptyBody):
    reason: Literal[
        "bank_cannot_process",
        "check_returned",
        "customer_initiated",
        "debit_not_authorized",
        "incorrect_account_details",
        "insufficient_funds",
    ] = "insufficient_funds"


class FraudWarning(EmptyBody):
    fraud_type: str = "unauthorized_use_of_card"


def refund_charge(sandbox: Sandbox, id: str, body: Refund) -> Obj:
    charge = sandbox.store.get("charge", id)
    return refunds.create(sandbox, charge, amount=body.amount, reason=body.reason, status=body.status)


def succeed_refund(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    refund = sandbox.store.get("refund", id)
    refunds.succeed(sandbox, refund)
    return refund


def fail_refund(sandbox: Sandbox, id: str, body: RefundFailure) -> Obj:
    refund = sandbox.store.get("refund", id)
    refunds.fail(sandbox, refund, body.reason)
    return refund


def dispute_charge(sandbox: Sandbox, id: str, body: Dispute) -> Obj:
    charge = sandbox.store.get("charge", id)
    inquiry = body.kind == "inquiry"
    return disputes.open_dispute(sandbox, charge, amount=body.amount, reason=body.reason, inquiry=inquiry)


def escalate_dispute(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    dispute = sandbox.store.get("dispute", id)
    disputes.escalate(sandbox, dispute)
    return dispute


def review_dispute(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    """Submits evidence; the dispute is under review."""
    dispute = sandbox.store.get("dispute", id)
    disputes.submit_evidence(sandbox, dispute, {"uncategorized_text": "Submitted by the operator."}, final=True)
    return dispute


def close_dispute(sandbox: Sandbox, id: str, body: DisputeOutcome) -> Obj:
    dispute = sandbox.store.get("dispute", id)
    disputes.close(sandbox, dispute, body.status)
    return dispute


def appeal_dispute(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    """Makes a lost dispute eligible for an appeal."""
    dispute = sandbox.store.get("dispute", id)
    disputes.allow_appeal(sandbox, dispute)
    return dispute


def return_debit(sandbox: Sandbox, id: str, body: DebitReturn) -> Obj:
    """Returns a settled bank debit: a dispute that is lost at once."""
    charge = sandbox.store.get("charge", id)
    return disputes.return_debit(sandbox, charge, body.reason)


def revoke_mandate(sandbox: Sandbox, id: str, _: EmptyBody) -> Obj:
    """Revokes a mandate, given its id or that of its payment method."""
    mandate = mandates.of_method(sandbox, id) or sandbox.store.get("mandate", id)
    mandates.revoke(sandbox, mandate)
    return mandate


def warn_of_fraud(sandbox: Sandbox, id: str, body: FraudWarning) -> Obj:
    charge = sandbox.store.get("charge", id)
    if charge["payment_method_details"]["type"] != "card":
        raise StripeError("Only the issuer of a card warns of fraud.")
    warning = build(
        stripe.radar.EarlyFraudWarning,
        id=new_id("issfr"),
        actionable=not (charge["disputed"] or charge["refunded"]),
        charge=charge["id"],
        created=sandbox.clock.now_for(charge["customer"]),
        fraud_type=body.fraud_type,
        payment_intent=charge["payment_intent"],
    )
    sandbox.emit("radar.early_fraud_warning.created", sandbox.store.add(warning))
    return warning


ACTIONS = [
    Action("/charges/{id}/refund", Refund, refund_charge),
    Action("/charges/{id}/dispute", Dispute, dispute_charge),
    Action("/refunds/{id}/succeed", EmptyBody, succeed_refund),
    Action("/refunds/{id}/fail", RefundFailure, fail_refund),
    Action("/disputes/{id}/escalate", EmptyBody, escalate_dispute),
    Action("/disputes/{id}/review", EmptyBody, review_dispute),
    Action("/disputes/{id}/close", DisputeOutcome, close_dispute),
    Action("/disputes/{id}/appeal", EmptyBody, appeal_dispute),
    Action("/charges/{id}/return", DebitReturn, return_debit),
    Action("/charges/{id}/fraud_warning", FraudWarning, warn_of_fraud),
    Action("/mandates/{id}/revoke", EmptyBody, revoke_mandate),
]
