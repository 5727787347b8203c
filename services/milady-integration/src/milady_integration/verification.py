"""What is compared: the facts with the inbox, enrollments with the facts, provider enrollments with enrollments."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.payments import PaymentFailed
from contracts.people import enrollment_uuid
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.fact_verification import FactComparison
from kit.messaging.projection_verification import ProjectionComparison
from kit.messaging.verification import Comparison, Difference
from ledger.policy import Policy
from milady_integration import domain, repository
from milady_integration.domain import DesiredState, EnrollmentRecord, Mode, ProviderEnrollment, Status
from milady_integration.projection import enrollments_of
from milady_integration.reconciler import ENROLL, WITHDRAW, reconcile_all
from milady_integration.tables import provider_enrollments
from milady_integration.topology import PAYMENTS, SERVICE


def comparisons(policy: Policy, mode: Mode) -> Sequence[Comparison]:
    projection = enrollments_of(policy, mode)
    facts = FactComparison(
        service=SERVICE, queues=[PAYMENTS], rules=projection.rules, superseded=frozenset({PaymentFailed.type})
    )
    rows = ProjectionComparison(
        projection=projection,
        service=SERVICE,
        derived_id=_id,
        without_facts=_is_unpaid,
        personal=frozenset({"contact_name", "contact_email"}),
        others=_ProviderEnrollments(mode),
    )
    return facts, rows


def _id(row: EnrollmentRecord) -> UUID:
    return enrollment_uuid(row.student_id, row.program_slug)


def _is_unpaid(row: EnrollmentRecord) -> bool:
    """Of a purchase that was only started: its event is not kept as a fact."""
    return row.desired_state is None and row.id == _id(row)


_HISTORY = text(
    """
    SELECT
        (SELECT max(split_part(key, '/', 2)::int) FROM jobs
            WHERE kind = ANY (CAST(:kinds AS text[])) AND key LIKE :prefix) AS generation,
        (SELECT max(split_part(message_key, '/', 2)::int) FROM outbox_messages
            WHERE message_key LIKE :prefix) AS revision
    """
)


_PENDING = text(
    "SELECT key FROM jobs WHERE kind = ANY (CAST(:kinds AS text[])) AND key = ANY (CAST(:keys AS text[]))"
    " AND done_at IS NULL AND failed_at IS NULL"
)


class _ProviderEnrollments:
    """What `reconcile` would change differs; and a step in progress has a job that is not done."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode

    async def differences(self, db: AsyncConnection, ids: Collection[UUID]) -> Sequence[Difference]:
        found: list[Difference] = []
        for enrollment, before, after in await self._changed(db, ids):
            row = str(enrollment.id)
            if before is None:
                found.append(_difference(row, None, None, _values(after)))
                continue
            old, new = _values(before), _values(after)
            found += [_difference(row, name, old[name], new[name]) for name in new if old[name] != new[name]]
        for enrollment, stored in await self._stopped(db, ids):
            found.append(_difference(str(enrollment.id), "step", stored.step, "a step whose job is not done"))
        return found

    async def repair(self, uow: UnitOfWork, ids: Collection[UUID]) -> None:
        """A deleted row goes on from its last step and its last event: the same again would have no effect."""
        locked = await repository.read_enrollments(uow.db, ids)
        for slug, student_id in sorted((each.program_slug, each.student_id) for each in locked):
            await repository.lock_enrollment(uow.db, student_id, slug)
        for enrollment, stored in await self._stopped(uow.db, ids):
            last = await _last(uow.db, enrollment)
            again = replace(stored, step=None, generation=max(stored.generation, last.generation))
            again = replace(again, revision=max(stored.revision, last.revision))
            await repository.write_provider_enrollments(uow, [(enrollment, again)])
        changed = await self._changed(uow.db, ids)
        deleted = [enrollment for enrollment, before, _ in changed if before is None]
        await repository.write_provider_enrollments(uow, [(each, await _last(uow.db, each)) for each in deleted])
        programs = await repository.read_programs(uow.db, {each.program_slug for each, _, _ in changed})
        await reconcile_all(uow, [(each, None) for each, _, _ in changed], programs, self._mode)

    async def _changed(
        self, db: AsyncConnection, ids: Collection[UUID]
    ) -> Sequence[tuple[EnrollmentRecord, ProviderEnrollment | None, ProviderEnrollment]]:
        """What `reconcile` would change: nothing, if all are right."""
        stored = await repository.read_provider_enrollments(db, ids)
        enrollments = await repository.read_enrollments(db, ids)
        programs = await repository.read_programs(db, {each.program_slug for each in enrollments})
        found = []
        for each in enrollments:
            program, before = programs.get(each.program_slug), stored.get(each.id)
            served = program is not None and program.is_active
            change = domain.reconcile(enrollment=each, existing=before, served=served, mode=self._mode)
            if change is not None:
                found.append((each, before, change.after))
        return found

    async def _stopped(
        self, db: AsyncConnection, ids: Collection[UUID]
    ) -> Sequence[tuple[EnrollmentRecord, ProviderEnrollment]]:
        stored = await repository.read_provider_enrollments(db, ids)
        steps = {id: f"{id}/{each.generation}" for id, each in stored.items() if each.step is not None}
        if not steps:
            return ()
        values = {"kinds": [ENROLL, WITHDRAW], "keys": list(steps.values())}
        pending = set(await db.scalars(_PENDING, values))
        stopped = [id for id, key in steps.items() if key not in pending]
        return [(each, stored[each.id]) for each in await repository.read_enrollments(db, stopped)]


async def _last(db: AsyncConnection, enrollment: EnrollmentRecord) -> ProviderEnrollment:
    desired = enrollment.desired_state or DesiredState.WITHDRAWN
    values = {"kinds": [ENROLL, WITHDRAW], "prefix": f"{enrollment.id}/%"}
    row = (await db.execute(_HISTORY, values)).one()
    return ProviderEnrollment(
        status=Status.WANTED if desired is DesiredState.ENROLLED else Status.WITHDRAWN,
        desired_state=desired,
        generation=row.generation or 0,
        revision=row.revision or 0,
    )


def _values(each: ProviderEnrollment) -> Mapping[str, object]:
    """Without what counts steps and events."""
    links = tuple(link.model_dump() for link in each.links)
    values = asdict(replace(each, links=())) | {"links": links}
    return {name: value for name, value in values.items() if name not in ("generation", "revision")}


def _difference(row: str, column: str | None, stored: object, expected: object) -> Difference:
    return Difference(
        table=provider_enrollments.name, row=row, column=column, stored=stored, expected=expected, unit=""
    )
