"""How an enrollment follows the facts. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.people import ItemKind, Program
from ledger.enrollments_tmp import Enrollment
from ledger.policy import Policy
from ledger.purchase import Purchase, Standing

PaymentStatus = Literal["pending", "paid", "waived"]
Source = Literal["application", "case_manager", "employer", "self_enroll"]

UNDERPAID = "underpaid"

_EMPLOYER_FUNDED = frozenset({"OJT", "WEX", "EMPLOYER"})


class Status(StrEnum):
    PENDING = "pending"
    ACTIVE = "active"
    COMPLETED = "completed"
    WITHDRAWN = "withdrawn"
    PAUSED = "paused"


_STATUS_OF = {
    Standing.PENDING: Status.PENDING,
    Standing.ACTIVE: Status.ACTIVE,
    Standing.PAUSED: Status.PAUSED,
    Standing.WITHDRAWN: Status.WITHDRAWN,
}


@dataclass(frozen=True, kw_only=True)
class EnrollmentState:
    """An enrollment's row, as far as facts decide it.

    track: the slug, when it is one
    tier:  what a membership gives access to
    """

    kind: ItemKind
    track: str | None
    tier: str | None
    status: Status
    reason: str | None
    payment_status: PaymentStatus
    source: Source
    purchase_id: UUID | None
    funding_source: str | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """The enrollment becomes `state`; `event` tells the others. None: nothing that they need to know has changed."""

    state: EnrollmentState
    event: type[EnrollmentEvent] | None


def is_track(program: Program) -> bool:
    return program.kind == "track"


def settle(*, enrollment: Enrollment, known: EnrollmentState | None, finished: bool, policy: Policy) -> Change | None:
    """What the facts change about the enrollment. None: nothing (or there is no enrollment to speak of yet).

    `finished`: all there is to do in it is done. Such an enrollment is completed for as long as its money stays.
    """
    purchase, standing, reason = _decisive(enrollment, policy)
    if (status := _STATUS_OF.get(standing)) is None:
        return None
    if finished and status in (Status.ACTIVE, Status.PAUSED):
        status, reason = Status.COMPLETED, None
    state = EnrollmentState(
        kind=enrollment.program.kind or "program",
        track=enrollment.program.slug if is_track(enrollment.program) else None,
        tier=_tier(enrollment.program, purchase),
        status=status,
        reason=reason,
        payment_status="pending" if reason == UNDERPAID else _payment_status(purchase),
        source=_source(purchase),
        purchase_id=purchase.id,
        funding_source=purchase.funding_source,
    )
    if state == known:
        return None
    return Change(state=state, event=_event(known.status if known else None, status))


def _decisive(enrollment: Enrollment, policy: Policy) -> tuple[Purchase, Standing, str | None]:
    """The purchase that decides, as `Enrollment.decisive` says it; but what is underpaid opens nothing by itself.

    It is the facts of each purchase that are judged, so it does not matter which of them came first.
    """
    short = tuple(purchase for purchase in enrollment.purchases if _underpaid(enrollment.program, purchase))
    rest = tuple(purchase for purchase in enrollment.purchases if purchase not in short)
    verdicts = []
    if short:
        purchase, standing, reason = replace(enrollment, purchases=short).decisive(policy)
        if standing in (Standing.ACTIVE, Standing.PAUSED):
            standing, reason = Standing.PENDING, UNDERPAID
        verdicts.append((purchase, standing, reason))
    if rest:
        verdicts.append(replace(enrollment, purchases=rest).decisive(policy))
    return max(verdicts, key=lambda verdict: verdict[1].rank)


def _underpaid(program: Program, purchase: Purchase) -> bool:
    """Whether a track was paid in one sum, and with less than it costs. (What the school waives is not owed.)"""
    if not is_track(program) or purchase.price is None or purchase.installments or purchase.waived:
        return False
    return bool(purchase.settled_payments) and purchase.paid.get(purchase.price.currency, 0) < purchase.price.amount


def _tier(program: Program, purchase: Purchase) -> str | None:
    subscription = purchase.subscription if program.kind == "membership" else None
    return subscription.tier if subscription else None


def _event(before: Status | None, after: Status) -> type[EnrollmentEvent] | None:
    if before is after:
        return None
    match after:
        case Status.PENDING:
            return EnrollmentPending
        case Status.ACTIVE:
            return EnrollmentResumed if before is Status.PAUSED else EnrollmentActivated
        case Status.PAUSED:
            return EnrollmentPaused
        case Status.WITHDRAWN:
            return EnrollmentWithdrawn
        case Status.COMPLETED:
            return EnrollmentCompleted  # again: the money had gone back, and was paid again


def _payment_status(purchase: Purchase) -> PaymentStatus:
    if not purchase.settled_payments:
        return "pending"
    return "waived" if purchase.waived else "paid"


def _source(purchase: Purchase) -> Source:
    if (purchase.funding_source or "").upper() in _EMPLOYER_FUNDED:
        return "employer"
    return "case_manager" if purchase.funding_source or purchase.payer == "sponsor" else "self_enroll"
