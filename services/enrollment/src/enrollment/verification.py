"""What is compared: the facts with the inbox, and enrollments with the facts."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from contracts.payments import PaymentFailed
from contracts.people import enrollment_uuid
from enrollment.domain import Enrollment
from enrollment.projection import enrollments_of
from enrollment.topology import PAYMENTS, SERVICE
from kit.messaging.fact_verification import FactComparison
from kit.messaging.projection_verification import ProjectionComparison
from kit.messaging.verification import Comparison
from ledger.policy import Policy


def comparisons(policy: Policy) -> Sequence[Comparison]:
    projection = enrollments_of(policy)
    facts = FactComparison(
        service=SERVICE, queues=[PAYMENTS], rules=projection.rules, superseded=frozenset({PaymentFailed.type})
    )
    return facts, ProjectionComparison(projection=projection, service=SERVICE, derived_id=_id)


def _id(row: Enrollment) -> UUID:
    return enrollment_uuid(row.student_id, row.program_slug)
