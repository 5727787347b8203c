"""Rules of disputes."""

from __future__ import annotations

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values

_UPDATE = "POST /v1/disputes/{id}"
_APPEALS = (
    "docs.stripe.com/changelog/endive/2026-10-28/evidence-submission-appeal-dispute-decisions (message: believed)"
)


def _status(call: Call) -> str:
    dispute = call.sandbox.store.find(call.id)
    return str(dispute["status"]) if dispute is not None else ""


def _evidence(call: Call) -> set[str]:
    return set(call.params.get("evidence") or {})


def _evidence_during_appeal(call: Call) -> Values | None:
    return {} if _status(call).startswith("appeal_") and _evidence(call) - {"appeal"} else None


def _appeal_not_open(call: Call) -> Values | None:
    return {} if "appeal" in _evidence(call) and _status(call) != "appeal_needs_response" else None


RULES = [
    Rule(
        name="evidence_during_appeal",
        calls=(_UPDATE,),
        check=_evidence_during_appeal,
        message="You cannot update other dispute evidence during the appeal stage.",
        param="evidence",
        source=_APPEALS,
    ),
    Rule(
        name="appeal_without_eligibility",
        calls=(_UPDATE,),
        check=_appeal_not_open,
        message="Appeal evidence can only be submitted for a dispute with a status of `appeal_needs_response`.",
        param="evidence[appeal]",
        source=_APPEALS,
    ),
]
