"""How a seat follows the facts. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentPending,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.facts import Policy, Purchase, Seat, Standing

PaymentStatus = Literal["pending", "paid", "waived"]
Source = Literal["application", "case_manager", "employer", "self_enroll"]

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
class SeatState:
    """A seat's row, as far as facts decide it."""

    status: Status
    reason: str | None
    payment_status: PaymentStatus
    source: Source
    purchase_id: UUID | None
    funding_source: str | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """The seat becomes `state`; `event` tells the others. None: nothing that they need to know has changed."""

    state: SeatState
    event: type[EnrollmentEvent] | None


def settle(*, seat: Seat, known: SeatState | None, policy: Policy) -> Change | None:
    """What the facts change about the seat. None: nothing (or there is no seat to speak of yet).

    A seat whose studies are completed stays completed, unless its money goes back.
    """
    purchase, standing, reason = seat.decisive(policy)
    if (status := _STATUS_OF.get(standing)) is None:
        return None
    if known and known.status is Status.COMPLETED and status is not Status.WITHDRAWN:
        status, reason = Status.COMPLETED, known.reason
    state = SeatState(
        status=status,
        reason=reason,
        payment_status=_payment_status(purchase),
        source=_source(purchase),
        purchase_id=purchase.id,
        funding_source=purchase.funding_source,
    )
    if state == known:
        return None
    return Change(state=state, event=_event(known.status if known else None, status))


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
            return None  # said when it is completed, not when money moves


def _payment_status(purchase: Purchase) -> PaymentStatus:
    if not purchase.settled_payments:
        return "pending"
    return "waived" if purchase.waived else "paid"


def _source(purchase: Purchase) -> Source:
    if (purchase.funding_source or "").upper() in _EMPLOYER_FUNDED:
        return "employer"
    return "case_manager" if purchase.funding_source or purchase.payer == "sponsor" else "self_enroll"
