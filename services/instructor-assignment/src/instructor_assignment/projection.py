"""Assignments follow payment facts; instructors are assigned and released under their program's lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from instructor_assignment import capacity, domain, repository
from instructor_assignment.domain import DesiredAssignment
from instructor_assignment.tables import ai_instructor_assignments
from instructor_assignment.topology import PAYMENTS
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Change, Lock, Projection
from ledger.facts import implied_keys, keys, superseded
from ledger.policy import Policy


def assignments_of(policy: Policy) -> Projection[DesiredAssignment, DesiredAssignment]:
    return Projection(
        queue=PAYMENTS,
        table=ai_instructor_assignments,
        row=DesiredAssignment,
        rules=FactRules(keys=keys, implied_keys=implied_keys, superseded=superseded),
        wanted=partial(domain.wanted, policy=policy),
        becomes=domain.becomes,
        locks=_programs,
        then=_assign_and_release,
    )


def _programs(changes: Sequence[Change[DesiredAssignment]]) -> Iterable[Lock]:
    return [
        Lock(name=repository.lock_name(change.after.program_slug))
        for change in changes
        if domain.changes_assignment(change.before, change.after)
    ]


async def _assign_and_release(uow: UnitOfWork, changes: Sequence[Change[DesiredAssignment]]) -> None:
    causes = {each.after.id: each.cause for each in changes if domain.changes_assignment(each.before, each.after)}
    if causes:
        await capacity.follow(uow, await repository.read(uow.db, causes), causes)
