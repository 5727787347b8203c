"""What is compared: the facts with the inbox, assignments with the facts, and instructors' students with both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.payments import PaymentFailed
from instructor_assignment import capacity, repository
from instructor_assignment.domain import Assignment, DesiredAssignment, DesiredStatus, Status, assignment_id
from instructor_assignment.projection import assignments_of
from instructor_assignment.tables import ai_instructor_assignments as assignments
from instructor_assignment.topology import PAYMENTS, SERVICE
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.fact_verification import FactComparison
from kit.messaging.projection_verification import ProjectionComparison
from kit.messaging.verification import Comparison, Difference
from ledger.policy import Policy


def comparisons(policy: Policy) -> Sequence[Comparison]:
    projection = assignments_of(policy)
    facts = FactComparison(
        service=SERVICE, queues=[PAYMENTS], rules=projection.rules, superseded=frozenset({PaymentFailed.type})
    )
    rows = ProjectionComparison(projection=projection, service=SERVICE, derived_id=_id, others=_Instructors())
    return facts, rows, _Students()


def _id(row: DesiredAssignment) -> UUID:
    return assignment_id(row.student_id, row.program_slug)


class _Instructors:
    """Whether there is an instructor follows from the desired status; who it is does not."""

    async def differences(self, db: AsyncConnection, ids: Collection[UUID]) -> Sequence[Difference]:
        return [difference for each in await repository.read(db, ids) for difference in _of(each)]

    async def repair(self, uow: UnitOfWork, ids: Collection[UUID]) -> None:
        """Who should have an instructor and has none is assigned one, as if they had waited."""
        wrong = [each for each in await repository.read(uow.db, ids) if _of(each)]
        for slug in sorted({each.desired.program_slug for each in wrong}):
            await repository.lock_program(uow.db, slug)
        for each in wrong:
            if each.desired.desired_status is DesiredStatus.ASSIGNED:
                row = update(assignments).where(assignments.c.id == each.id)
                await uow.db.execute(row.values(status=Status.WAITING.value, instructor_id=None, updated_at=uow.now))
        if wrong:
            again = await repository.read(uow.db, [each.id for each in wrong])
            await capacity.follow(uow, again, dict.fromkeys((each.id for each in again), None))


def _of(each: Assignment) -> Sequence[Difference]:
    if each.desired.desired_status is DesiredStatus.RELEASED:
        expected = {Status.RELEASED}
    else:
        expected = {Status.ASSIGNED if each.instructor else Status.WAITING}
    found = []
    if each.status not in expected:
        found.append(_difference(each, "status", each.status.value, ", ".join(sorted(expected))))
    if each.desired.desired_status is DesiredStatus.RELEASED and each.instructor is not None:
        found.append(_difference(each, "instructor_id", each.instructor.id, None))
    return found


def _difference(each: Assignment, column: str, stored: object, expected: object) -> Difference:
    return Difference(
        table=assignments.name, row=str(each.id), column=column, stored=stored, expected=expected, unit=""
    )


_COUNTS = """
    SELECT ai_instructors.id, ai_instructors.students, count(ai_instructor_assignments.id) AS counted
    FROM ai_instructors LEFT JOIN ai_instructor_assignments ON instructor_id = ai_instructors.id
    {condition} GROUP BY ai_instructors.id HAVING ai_instructors.students <> count(ai_instructor_assignments.id)
    ORDER BY ai_instructors.id
"""
_ALL = text(_COUNTS.format(condition=""))
_ONE = text(_COUNTS.format(condition="WHERE ai_instructors.id = CAST(:id AS uuid)"))
_LOCK = text("SELECT program_slug FROM ai_instructors WHERE id = CAST(:id AS uuid)")
_COUNT = text(
    "UPDATE ai_instructors SET students = (SELECT count(*) FROM ai_instructor_assignments"
    " WHERE instructor_id = ai_instructors.id) WHERE id = CAST(:id AS uuid)"
)


class _Students:
    """The number of an instructor's students, which a trigger counts."""

    name = "ai_instructors"

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        yield [self._difference(*row) for row in await db.execute(_ALL)]

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        return [self._difference(*row) for row in await db.execute(_ONE, {"id": unit})]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        id = {"id": differences[0].unit}
        for slug in await uow.db.scalars(_LOCK, id):
            await repository.lock_program(uow.db, slug)
        await uow.db.execute(_COUNT, id)

    def _difference(self, id: UUID, stored: int, counted: int) -> Difference:
        row = str(id)
        return Difference(table=self.name, row=row, column="students", stored=stored, expected=counted, unit=row)
