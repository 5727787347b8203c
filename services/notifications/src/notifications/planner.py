"""Schedules the messages that the facts require."""

from __future__ import annotations

from collections.abc import Sequence

from kit.db.unit_of_work import UnitOfWork
from kit.runtime.trace import Cause
from notifications import db, domain
from notifications.db import Planned
from notifications.domain import Rules
from notifications.student_facts import StudentFacts


async def plan(groups: Sequence[tuple[StudentFacts, Cause | None]], rules: Rules, uow: UnitOfWork) -> None:
    """Of each group of facts, and what has caused them. The caller has locked the facts, so nobody else decides about
    the same messages at the same time."""
    found = [(domain.candidates(facts, rules), cause) for facts, cause in groups]
    covered = await db.covered_topics(
        uow.db, frozenset[str]().union(*(domain.relevant_topics(messages) for messages, _ in found))
    )
    planned = [
        Planned(message=message, due=uow.now + rules.duration(message.delay), cause=cause)
        for messages, cause in found
        for message in domain.sendable(messages, covered)
    ]
    await db.schedule(uow, planned)
