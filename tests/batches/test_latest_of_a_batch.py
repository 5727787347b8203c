"""Rows that keep the latest event: the events of one row may come in any order, in one batch or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from tests.databases import migrated, opened
from tests.deliveries import deliver_together

import checkout
import checkout.consumers
import notifications
import notifications.consumers
from contracts.checkout import StudentUpdated
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentProgressed,
    EnrollmentResumed,
)
from contracts.envelope import Envelope, Event
from contracts.people import Contact, Program, enrollment_uuid
from kit.db.database import Database
from notifications.domain import Rules
from testkit import postgres_server as pg

START = datetime(2026, 11, 1, 12, tzinfo=UTC)
SLUG = "barber-apprenticeship"


@pytest.fixture
def checkout_url(postgres_server: pg.PostgresServer) -> str:
    return migrated(postgres_server, "latest_checkout", checkout.__file__).url


@pytest.fixture
def notifications_url(postgres_server: pg.PostgresServer) -> str:
    return migrated(postgres_server, "latest_notifications", notifications.__file__).url


def envelope(event: Event, seconds: int = 0) -> Envelope[Any]:
    at = START + timedelta(seconds=seconds)
    return Envelope(id=f"{uuid4()}", source="tests", subject=f"{uuid4()}", time=at, data=event)


def cuts(events: Sequence[Envelope[Any]]) -> Iterator[Sequence[Sequence[Envelope[Any]]]]:
    """Every order of the events, in one batch and in two."""
    for order in permutations(events):
        yield [order]
        yield [order[:1], order[1:]]


def again(events: Sequence[Envelope[Any]], student: UUID) -> list[Envelope[Any]]:
    """The same events about a student of their own."""
    return [
        Envelope(
            id=f"{each.id}/{student}",
            source=each.source,
            subject=f"{student}",
            time=each.time,
            data=each.data.model_copy(update={"student_id": student}),
        )
        for each in events
    ]


async def row_of(database: Database, sql: str, student: UUID) -> tuple[Any, ...]:
    async with database.transaction() as db:
        return tuple((await db.execute(text(sql), {"student": student})).one())


async def test_an_enrollment_has_the_status_of_its_highest_revision(checkout_url: str) -> None:
    of_all = [
        envelope(
            kind(
                enrollment_id=enrollment_uuid(UUID(int=1), SLUG),
                student_id=UUID(int=1),
                program=Program(slug=SLUG, id="p"),
                revision=revision,
            )
        )
        for revision, kind in enumerate[type[EnrollmentEvent]](
            (EnrollmentActivated, EnrollmentPaused, EnrollmentResumed, EnrollmentPaused), start=1
        )
    ]
    of_all += [
        envelope(
            EnrollmentProgressed(
                enrollment_id=enrollment_uuid(UUID(int=1), SLUG), student_id=UUID(int=1), program_slug=SLUG, percent=n
            )
        )
        for n in (40, 10)
    ]
    routers = [checkout.consumers.enrollment_events()]
    async with opened(checkout_url) as database:
        for batches in [[of_all], [of_all[::-1]], *cuts(of_all[1:4])]:
            student = uuid4()
            for batch in batches:
                await deliver_together(database, routers, "checkout", again(batch, student))
            sql = "SELECT status, revision FROM enrollments WHERE student_id = :student"
            assert await row_of(database, sql, student) == ("paused", 4)
        progress = "SELECT max(percent), min(percent) FROM enrollment_progress"
        async with database.transaction() as db:
            assert tuple((await db.execute(text(progress))).one()) == (40, 40)


async def test_a_contact_is_the_latest(notifications_url: str) -> None:
    events = [
        envelope(StudentUpdated(student_id=UUID(int=1), contact=Contact(email=f"{n}@example.org", name=None)), n)
        for n in (1, 2, 3)
    ]
    routers = [notifications.consumers.consumers(Rules())]
    async with opened(notifications_url) as database:
        for batches in cuts(events):
            student = uuid4()
            for batch in batches:
                await deliver_together(database, routers, "notifications", again(batch, student))
            sql = "SELECT email FROM contacts WHERE student_id = :student"
            assert await row_of(database, sql, student) == ("3@example.org",)


async def test_the_contacts_of_many_students_are_saved_by_one_batch(notifications_url: str) -> None:
    students = [uuid4() for _ in range(20)]
    of_all = [
        again([envelope(StudentUpdated(student_id=student, contact=Contact(email=f"{n}@example.org")), n)], student)
        for n, student in enumerate(students)
    ]
    async with opened(notifications_url) as database:
        routers = [notifications.consumers.consumers(Rules())]
        await deliver_together(database, routers, "notifications", [one for each in of_all for one in each])
        for n, student in enumerate(students):
            sql = "SELECT email FROM contacts WHERE student_id = :student"
            assert await row_of(database, sql, student) == (f"{n}@example.org",)
