"""Enrollments follow payment facts, and provider enrollments follow enrollments, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Change, Lock, Projection
from ledger.facts import implied_keys, keys, superseded
from ledger.policy import Policy
from milady_integration import domain, repository
from milady_integration.domain import EnrollmentRecord, Mode
from milady_integration.reconciler import reconcile_all
from milady_integration.tables import enrollments
from milady_integration.topology import PAYMENTS


def enrollments_of(policy: Policy, mode: Mode) -> Projection[EnrollmentRecord, EnrollmentRecord]:
    return Projection(
        queue=PAYMENTS,
        table=enrollments,
        row=EnrollmentRecord,
        rules=FactRules(keys=keys, implied_keys=implied_keys, superseded=superseded),
        wanted=partial(domain.wanted, policy=policy),
        becomes=domain.becomes,
        locks=_programs_and_enrollments,
        then=partial(_reconcile, mode=mode),
    )


def _programs_and_enrollments(changes: Sequence[Change[EnrollmentRecord]]) -> Iterable[Lock]:
    """Programs shared: one that becomes Milady's meanwhile finds these enrollments, or they find it."""
    for change in changes:
        slug, student_id = change.after.program_slug, change.after.student_id
        yield Lock(name=repository.program_lock(slug), shared=True)
        yield Lock(name=repository.enrollment_lock(slug, student_id))


async def _reconcile(uow: UnitOfWork, changes: Sequence[Change[EnrollmentRecord]], *, mode: Mode) -> None:
    named = [(change.after.program, change.cause) for change in changes]
    programs = await repository.register_programs(uow, named)
    await reconcile_all(uow, [(change.after, change.cause) for change in changes], programs, mode)
