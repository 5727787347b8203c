"""Enrollments follow payment facts; a track that becomes active gets its copy of the curriculum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from enrollment import curricula, domain, progress_repository, repository
from enrollment.domain import Enrollment, Status
from enrollment.tables import enrollments
from enrollment.topology import PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Change, Lock, Projection
from ledger.facts import implied_keys, keys, superseded
from ledger.policy import Policy


def enrollments_of(policy: Policy) -> Projection[Enrollment, Enrollment]:
    return Projection(
        queue=PAYMENTS,
        table=enrollments,
        row=Enrollment,
        rules=FactRules(keys=keys, implied_keys=implied_keys, superseded=superseded),
        wanted=partial(domain.wanted, policy=policy),
        becomes=domain.becomes,
        consequences=repository.consequences,
        locks=_curricula,
        then=_start_tracks,
    )


def _curricula(changes: Sequence[Change[Enrollment]]) -> Iterable[Lock]:
    """Either a curriculum published concurrently includes this enrollment, or this enrollment reads it."""
    return [Lock(name=curricula.lock_name(change.after.track), shared=True) for change in changes if change.after.track]


async def _start_tracks(uow: UnitOfWork, changes: Sequence[Change[Enrollment]]) -> None:
    for change in changes:
        enrollment = change.after
        if enrollment.track and enrollment.status is Status.ACTIVE:
            waiting = await curricula.without_progress(uow.db, enrollment.track, [enrollment.id])
            projects = await curricula.projects_of(uow.db, enrollment.track) if waiting else ()
            await progress_repository.start(uow.db, waiting, projects=projects)
