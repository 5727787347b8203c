"""The settings of reporting."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from kit.runtime import service
from ledger.policy import PolicySettings
from reporting.invariant import Deadlines


class InvariantSettings(PolicySettings):
    """How long each part of the invariant may take after a payment, in seconds."""

    enrolled_seconds: int = Field(default=300, ge=0)
    instructor_seconds: int = Field(default=3_600, ge=0)
    provider_seconds: int = Field(default=86_400, ge=0)
    notified_seconds: int = Field(default=3_600, ge=0)
    booked_seconds: int = Field(default=3_600, ge=0)
    stripe_seconds: int = Field(default=86_400, ge=0)

    @property
    def deadlines(self) -> Deadlines:
        return Deadlines(
            enrolled=timedelta(seconds=self.enrolled_seconds),
            instructor=timedelta(seconds=self.instructor_seconds),
            provider=timedelta(seconds=self.provider_seconds),
            notified=timedelta(seconds=self.notified_seconds),
            booked=timedelta(seconds=self.booked_seconds),
            stripe=timedelta(seconds=self.stripe_seconds),
        )


class ApiSettings(InvariantSettings, service.ApiSettings):
    """
    The API. Targets of figures, beside which their values are shown:

    target_payment_success:         the least share of payments that succeed, in basis points
    target_refunds:                 the largest share of payments of which something is paid back, in basis points
    target_processing_milliseconds: from a payment event to its enrollment, on average
    target_enrolled_milliseconds:   from a payment at Stripe to the active enrollment, on average
    """

    target_payment_success: int = Field(default=9_800, ge=0, le=10_000)
    target_refunds: int = Field(default=200, ge=0, le=10_000)
    target_processing_milliseconds: int = Field(default=2_000, gt=0)
    target_enrolled_milliseconds: int = Field(default=30_000, gt=0)


class WorkerSettings(InvariantSettings, service.WorkerSettings):
    """Consumers, migrate and the commands."""


class RelaySettings(WorkerSettings):
    """
    keep_events_days:        older months of events are dropped. Audit records are kept forever
    invariant_every_seconds: from one verification of all students to the next
    invariant_processes:     that share them
    """

    keep_events_days: int = Field(default=7 * 366, ge=60)
    invariant_every_seconds: int = Field(default=900, ge=10)
    invariant_processes: int = Field(default=2, ge=1, le=64)
