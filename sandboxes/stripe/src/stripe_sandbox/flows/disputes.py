"""Disputes: a chargeback withdraws funds immediately, a win reinstates them; an inquiry withdraws nothing."""

from __future__ import annotations

from typing import Any

import stripe

from stripe_sandbox.clock import DAY
from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import balance_transactions, mandates
from stripe_sandbox.ids import new_id
from stripe_sandbox.shapes import build, part
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

OPEN = (
    "needs_response",
    "under_review",
    "warning_needs_response",
    "warning_under_review",
    "appeal_needs_response",
    "appeal_under_review",
)
_CLOSED = {"won": "chargeback", "lost": "chargeback", "warning_closed": "inquiry"}
_RAISED_BY_CUSTOMER = ("customer_initiated", "debit_not_authorized")


def open_dispute(
    sandbox: Sandbox, charge: Obj, *, amount: int | None = None, reason: str = "fraudulent", inquiry: bool = False
) -> Obj:
    """Opens a dispute. Emits charge.dispute.created, and funds_withdrawn unless it is an inquiry."""
    dispute = _dispute(sandbox, charge, amount, reason, "warning_needs_response" if inquiry else "needs_response")
    charge["disputed"] = not inquiry
    if inquiry:
        sandbox.emit("charge.dispute.created", dispute)
    else:
        _withdraw(sandbox, dispute, event="charge.dispute.created")
    return dispute


def return_debit(sandbox: Sandbox, charge: Obj, reason: str) -> Obj:
    """Returns a settled bank debit, which is a dispute that is lost at once and for good.

    A return that the customer caused also revokes the mandate (Stripe support, "Respond to or contest an ACH Direct
    Debit dispute"). Emits charge.dispute.created, funds_withdrawn and closed, and mandate.updated.
    """
    if charge["payment_method_details"]["type"] != "us_bank_account":
        raise StripeError("Only a bank debit can be returned.")
    dispute = _dispute(sandbox, charge, None, reason, "lost")
    charge["disputed"] = True
    _withdraw(sandbox, dispute, event="charge.dispute.created")
    sandbox.emit("charge.dispute.closed", dispute)
    mandate = mandates.of_method(sandbox, charge["payment_method"])
    if mandate is not None and reason in _RAISED_BY_CUSTOMER:
        mandates.revoke(sandbox, mandate)
    return dispute


def allow_appeal(sandbox: Sandbox, dispute: Obj) -> None:
    """Makes a lost card dispute eligible for an appeal. Emits charge.dispute.updated."""
    if dispute["status"] != "lost" or dispute["payment_method_details"]["type"] != "card":
        raise StripeError("Only a lost dispute of a card payment can be appealed.")
    before = copy_of(dispute)
    dispute["status"] = "appeal_needs_response"
    sandbox.emit("charge.dispute.updated", dispute, before)


def _dispute(sandbox: Sandbox, charge: Obj, amount: int | None, reason: str, status: str) -> Obj:
    """Raises unless the charge can be disputed."""
    if charge["status"] != "succeeded":
        raise StripeError("Only a succeeded charge can be disputed.")
    if any(dispute["status"] in OPEN for dispute in sandbox.store.where("dispute", charge=charge["id"])):
        raise StripeError("This charge is already disputed.")
    inquiry = status.startswith("warning_")
    kind = charge["payment_method_details"]["type"]
    dispute = build(
        stripe.Dispute,
        id=new_id("du"),
        amount=amount or charge["amount"] - charge["amount_refunded"] or charge["amount"],
        balance_transactions=[],
        charge=charge["id"],
        created=sandbox.clock.now_for(charge["customer"]),
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence=part(stripe.Dispute.Evidence, enhanced_evidence={}),
        evidence_details=part(
            stripe.Dispute.EvidenceDetails,
            due_by=sandbox.clock.now_for(charge["customer"]) + 9 * DAY,
            enhanced_eligibility={},
            has_evidence=False,
            past_due=False,
            submission_count=0,
            submission_method="not_submitted",
        ),
        is_charge_refundable=inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method_details={"type": kind, **_card_details(charge, inquiry)},
        reason=reason,
        status=status,
    )
    return sandbox.store.add(dispute)


def escalate(sandbox: Sandbox, dispute: Obj) -> None:
    """Turns an inquiry into a chargeback. Emits charge.dispute.updated and funds_withdrawn."""
    if not dispute["status"].startswith("warning_") or dispute["status"] == "warning_closed":
        raise StripeError("Only an open inquiry can be escalated.")
    before = copy_of(dispute)
    dispute.update(status="needs_response", is_charge_refundable=False)
    sandbox.store.get("charge", dispute["charge"])["disputed"] = True
    _withdraw(sandbox, dispute, event="charge.dispute.updated", before=before)


def submit_evidence(sandbox: Sandbox, dispute: Obj, evidence: dict[str, Any], *, final: bool) -> None:
    """Adds evidence, and submits it if `final`. Emits charge.dispute.updated."""
    if dispute["status"] not in OPEN:
        raise StripeError("This dispute is already closed.")
    before = copy_of(dispute)
    dispute["evidence"].update(evidence)
    details = dispute["evidence_details"]
    details["has_evidence"] = True
    if final:
        details["submission_count"] += 1
        details["submission_method"] = "manual"
        dispute["status"] = dispute["status"].replace("needs_response", "under_review")
    sandbox.emit("charge.dispute.updated", dispute, before)


def close(sandbox: Sandbox, dispute: Obj, status: str) -> None:
    """Closes the dispute as won, lost or (an inquiry) warning_closed. A win reinstates the funds and the fee."""
    if dispute["status"] not in OPEN:
        raise StripeError("This dispute is already closed.")
    inquiry = dispute["status"].startswith("warning_")
    if _CLOSED.get(status) != ("inquiry" if inquiry else "chargeback"):
        raise StripeError(f"A dispute with status {dispute['status']} cannot be closed as {status}.", param="status")
    before = copy_of(dispute)
    dispute["status"] = status
    dispute["is_charge_refundable"] = status != "lost"
    if status == "won":
        movement = balance_transactions.post(
            sandbox, "adjustment", dispute["amount"], dispute["currency"], dispute["id"],
            fee=-balance_transactions.DISPUTE_FEE, category="dispute_reversal",
        )  # fmt: skip
        dispute["balance_transactions"].append(movement)
    sandbox.emit("charge.dispute.closed", dispute, before)
    if status == "won":
        sandbox.emit("charge.dispute.funds_reinstated", dispute)


def response_deadline(dispute: Obj) -> int | None:
    """When the dispute is closed without a response; None if evidence was submitted."""
    if dispute["status"] not in ("needs_response", "warning_needs_response"):
        return None
    deadline: int = dispute["evidence_details"]["due_by"]
    return deadline


def close_unanswered(sandbox: Sandbox, dispute: Obj) -> None:
    """Closes a dispute without a response in time: a chargeback is lost, an inquiry closed."""
    dispute["evidence_details"]["past_due"] = True
    close(sandbox, dispute, "warning_closed" if dispute["status"].startswith("warning_") else "lost")


def _withdraw(sandbox: Sandbox, dispute: Obj, *, event: str, before: Obj | None = None) -> None:
    movement = balance_transactions.post(
        sandbox, "adjustment", -dispute["amount"], dispute["currency"], dispute["id"],
        fee=balance_transactions.DISPUTE_FEE, category="dispute",
    )  # fmt: skip
    dispute["balance_transactions"].append(movement)
    sandbox.emit(event, dispute, before)
    sandbox.emit("charge.dispute.funds_withdrawn", dispute)


def _card_details(charge: Obj, inquiry: bool) -> Obj:
    details = charge["payment_method_details"]
    if details["type"] != "card":
        return {}
    case = "inquiry" if inquiry else "chargeback"
    return {"card": {"brand": details["card"]["brand"], "case_type": case, "network_reason_code": "10.4"}}
