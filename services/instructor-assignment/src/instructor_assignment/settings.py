"""What instructor-assignment is told by its environment."""

from __future__ import annotations

from contracts.facts import Policy
from kit import service


class WorkerSettings(service.WorkerSettings):
    """Consumers, relay and migrate. The policy is the school's: see contracts.facts."""

    past_due_pauses: bool = True
    full_refund_withdraws: bool = True
    lost_dispute_withdraws: bool = True

    @property
    def policy(self) -> Policy:
        return Policy(
            past_due_pauses=self.past_due_pauses,
            full_refund_withdraws=self.full_refund_withdraws,
            lost_dispute_withdraws=self.lost_dispute_withdraws,
        )


ApiSettings = service.ApiSettings
