"""Enrollments follow payment facts, and provider enrollments follow enrollments, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Change, Lock, Projection
from ledger.facts import implied_keys, keys, superseded
from ledger.policy import Policy
from milady_integration import domain, repository
from milady_integration.domain import EnrollmentRecord, MiladyProgram, Mode
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
    slugs = {change.after.program_slug for change in changes}
    programs = await repository.read_programs(uow.db, slugs)
    new = {
        change.after.program_slug: change
        for change in changes
        if domain.is_milady_program(change.after.program) and not _is_registered(programs, change.after.program_slug)
    }
    for slug in sorted(new):
        await repository.register_program(replace(uow, cause=new[slug].cause), new[slug].after.program)
    if new:
        programs = await repository.read_programs(uow.db, slugs)
    await reconcile_all(uow, [(change.after, change.cause) for change in changes], programs, mode)


def _is_registered(programs: Mapping[str, MiladyProgram], slug: str) -> bool:
    return slug in programs and programs[slug].program_id is not None
