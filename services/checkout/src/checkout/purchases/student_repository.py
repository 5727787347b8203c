"""What checkout knows of students: their enrollments, how to reach them, and who they are at Stripe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.purchases.domain import Enrollment, EnrollmentStatus
from checkout.purchases.repository import lock_student
from checkout.purchases.tables import contacts, customers, enrollment_progress, enrollments
from checkout.schema import one_of
from contracts.enrollment import EnrollmentEvent, EnrollmentProgressed
from contracts.people import Contact


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A student at Stripe; `email` and `name` are what Stripe has of them."""

    stripe_customer_id: str
    email: str | None
    name: str | None


async def find_students(
    db: AsyncConnection, *, email: str | None = None, name: str | None = None, limit: int
) -> list[tuple[UUID, str | None]]:
    """Ids and names of those who are reached at this address, or whose name contains this, whatever the case.

    No index: addresses and names would be stored once more.
    """
    wanted = select(contacts.c.student_id, contacts.c.name)
    if email is not None:
        wanted = wanted.where(func.lower(contacts.c.email) == email.lower())
    if name is not None:
        wanted = wanted.where(contacts.c.name.icontains(name, autoescape=True))
    rows = await db.execute(wanted.order_by(contacts.c.name, contacts.c.student_id).limit(limit))
    return [(row.student_id, row.name) for row in rows]


async def read_enrollments(db: AsyncConnection, student_id: UUID, slugs: Collection[str]) -> list[Enrollment]:
    wanted = select(enrollments).where(enrollments.c.student_id == student_id, enrollments.c.program_slug.in_(slugs))
    return [
        Enrollment(slug=row.program_slug, status=row.status, purchase_id=row.purchase_id)
        for row in await db.execute(wanted)
    ]


# Both in one order, so that two transactions that write the same rows do not wait for each other.
_WRITE_ENROLLMENTS = text(
    """
    INSERT INTO enrollments (student_id, program_slug, enrollment_id, status, purchase_id, revision, updated_at)
    SELECT student_id, program_slug, enrollment_id, status, purchase_id, revision, :at
    FROM unnest(
        CAST(:students AS uuid[]), CAST(:slugs AS text[]), CAST(:ids AS uuid[]), CAST(:statuses AS text[]),
        CAST(:purchases AS uuid[]), CAST(:revisions AS int[])
    ) AS new (student_id, program_slug, enrollment_id, status, purchase_id, revision)
    ORDER BY student_id, program_slug
    ON CONFLICT (student_id, program_slug) DO UPDATE SET
        enrollment_id = excluded.enrollment_id, status = excluded.status, purchase_id = excluded.purchase_id,
        revision = excluded.revision, updated_at = excluded.updated_at
    WHERE enrollments.revision < excluded.revision
    """
)
_WRITE_PROGRESS = text(
    """
    INSERT INTO enrollment_progress (student_id, program_slug, percent)
    SELECT student_id, program_slug, max(percent)
    FROM unnest(CAST(:students AS uuid[]), CAST(:slugs AS text[]), CAST(:percentages AS int[]))
        AS new (student_id, program_slug, percent)
    GROUP BY student_id, program_slug ORDER BY student_id, program_slug
    ON CONFLICT (student_id, program_slug) DO UPDATE SET percent = excluded.percent
    WHERE enrollment_progress.percent < excluded.percent
    """
)


async def write_enrollments(
    db: AsyncConnection, changes: Sequence[tuple[EnrollmentEvent, EnrollmentStatus]], *, at: datetime
) -> None:
    """Keeps the latest status: an event with a lower revision than another one, or than the row's, changes nothing."""
    latest: dict[tuple[UUID, str], tuple[EnrollmentEvent, EnrollmentStatus]] = {}
    for event, status in changes:
        so_far = latest.get(key := (event.student_id, event.program.slug))
        if so_far is None or so_far[0].revision < event.revision:
            latest[key] = event, status
    values = {
        "students": [event.student_id for event, _ in latest.values()],
        "slugs": [event.program.slug for event, _ in latest.values()],
        "ids": [event.enrollment_id for event, _ in latest.values()],
        "statuses": [status for _, status in latest.values()],
        "purchases": [event.purchase_id for event, _ in latest.values()],
        "revisions": [event.revision for event, _ in latest.values()],
    }
    await db.execute(_WRITE_ENROLLMENTS, {**values, "at": at})


async def write_progress(db: AsyncConnection, events: Sequence[EnrollmentProgressed]) -> None:
    """Keeps the highest percentage, in any order of the events."""
    values = {
        "students": [event.student_id for event in events],
        "slugs": [event.program_slug for event in events],
        "percentages": [event.percent for event in events],
    }
    await db.execute(_WRITE_PROGRESS, values)


async def read_progress(db: AsyncConnection, student_id: UUID, slugs: Collection[str]) -> int:
    """How much of the curriculum is done, in percent: the highest of these enrollments."""
    progress = enrollment_progress.c
    own = (progress.student_id == student_id, progress.program_slug.in_(slugs))
    wanted = select(func.max(progress.percent)).where(*own)
    return (await db.execute(wanted)).scalar_one() or 0


async def read_contact(db: AsyncConnection, student_id: UUID) -> Contact | None:
    row = (await db.execute(select(contacts).where(contacts.c.student_id == student_id))).one_or_none()
    return None if row is None else Contact(email=row.email, name=row.name)


async def read_contacts(db: AsyncConnection, student_ids: Collection[UUID]) -> dict[UUID, Contact]:
    found = await db.execute(select(contacts).where(one_of(contacts.c.student_id, student_ids)))
    return {row.student_id: Contact(email=row.email, name=row.name) for row in found}


async def record_contact(db: AsyncConnection, student_id: UUID, contact: Contact, *, at: datetime) -> int | None:
    """Stores how a student is reached. Returns the revision; None when nothing is new."""
    statement = insert(contacts).values(
        student_id=student_id, revision=1, email=contact.email, name=contact.name, updated_at=at
    )
    new = statement.excluded
    name = func.coalesce(new.name, contacts.c.name)
    statement = statement.on_conflict_do_update(
        index_elements=["student_id"],
        set_={"email": new.email, "name": name, "updated_at": at, "revision": contacts.c.revision + 1},
        where=(contacts.c.email != new.email) | contacts.c.name.is_distinct_from(name),
    )
    revision: int | None = (await db.execute(statement.returning(contacts.c.revision))).scalar_one_or_none()
    return revision


async def read_customer(db: AsyncConnection, student_id: UUID) -> Customer | None:
    row = (await db.execute(select(customers).where(customers.c.student_id == student_id))).one_or_none()
    return None if row is None else Customer(stripe_customer_id=row.stripe_customer_id, email=row.email, name=row.name)


async def student_of_customer(db: AsyncConnection, customer_id: str) -> UUID | None:
    wanted = select(customers.c.student_id).where(customers.c.stripe_customer_id == customer_id)
    found: UUID | None = (await db.execute(wanted)).scalar_one_or_none()
    return found


async def save_customer(
    db: AsyncConnection, student_id: UUID, customer_id: str, contact: Contact | None, *, at: datetime
) -> str:
    """Stores the student's customer, and returns its id; one that is stored already stays. `contact`: what Stripe has
    just been sent, if anything."""
    await lock_student(db, student_id)  # two unique keys: ON CONFLICT waits for one of them only
    statement = insert(customers).values(
        student_id=student_id,
        stripe_customer_id=customer_id,
        email=contact.email if contact else None,
        name=contact.name if contact else None,
        created_at=at,
        updated_at=at,
    )
    new = statement.excluded
    sent = {"email": new.email, "name": new.name} if contact else {}
    saved = await db.execute(
        statement.on_conflict_do_update(index_elements=["student_id"], set_={**sent, "updated_at": at}).returning(
            customers.c.stripe_customer_id
        )
    )
    return str(saved.scalar_one())


async def replace_customer(
    db: AsyncConnection, student_id: UUID, gone: str, customer_id: str, *, at: datetime
) -> str | None:
    """Replaces the customer that no longer exists at Stripe, unless that was done already; the id of the present one.
    None: the student has none anymore.

    (The new one has no email or name at Stripe yet.)
    """
    mine = customers.c.student_id == student_id
    await db.execute(
        update(customers)
        .where(mine, customers.c.stripe_customer_id == gone)
        .values(stripe_customer_id=customer_id, email=None, name=None, updated_at=at)
    )
    present: str | None = await db.scalar(select(customers.c.stripe_customer_id).where(mine))
    return present
