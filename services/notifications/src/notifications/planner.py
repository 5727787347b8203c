"""Schedules the messages that the facts require."""

from __future__ import annotations

from kit.db.unit_of_work import UnitOfWork
from notifications import db, domain
from notifications.domain import Rules
from notifications.student_facts import StudentFacts


async def plan(facts: StudentFacts, rules: Rules, uow: UnitOfWork) -> None:
    """The caller has locked the facts, so nobody else decides about the same messages at the same time."""
    found = domain.candidates(facts, rules)
    messages = domain.sendable(found, await db.covered_topics(uow.db, domain.relevant_topics(found)))
    due = {message.id: uow.now + rules.duration(message.delay) for message in messages}
    await db.schedule(uow, messages, due=due)
