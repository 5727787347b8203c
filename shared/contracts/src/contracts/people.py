"""The people and programs that events speak of."""

from __future__ import annotations

from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field

from contracts.envelope import Model

Payer = Literal["student", "sponsor"]
ItemKind = Literal["program", "track", "course", "product", "service", "bundle", "membership"]

MEMBERSHIP = "membership"
"""The slug of every membership: a student has one at the most, of whatever tier."""

_STUDENTS = uuid5(NAMESPACE_URL, "urn:bursar:student")
_PURCHASES = uuid5(NAMESPACE_URL, "urn:bursar:purchase")
_ENROLLMENTS = uuid5(NAMESPACE_URL, "urn:bursar:enrollment")


class Contact(Model):
    """Where mail goes. Personal data: never logged, never put into Stripe metadata."""

    email: str = Field(max_length=320)
    name: str | None = Field(default=None, max_length=200)


class ItemRef(Model):
    """What a student can have an enrollment in. The slug is the name that every service knows it by."""

    slug: str = Field(min_length=1, max_length=200)
    id: str = Field(min_length=1, max_length=200, description="the catalog's id; opaque to everyone else")
    name: str | None = Field(default=None, max_length=300)
    provider: str | None = Field(default=None, max_length=100, description="the outside course provider: milady")
    kind: ItemKind | None = Field(default=None, description="what the catalog calls it; None: a program")

    @property
    def title(self) -> str:
        return self.name or self.slug.replace("-", " ").title()

    @property
    def taught(self) -> bool:
        """Whether it has lessons, and so an instructor."""
        return self.kind in (None, "program", "track", "course")


class Program(ItemRef):
    """What was bought. A bundle is bought as one, and gives an enrollment in each of what it `includes`."""

    includes: tuple[ItemRef, ...] = ()

    @property
    def parts(self) -> tuple[Program, ...]:
        """What the student gets an enrollment in."""
        return tuple(Program(**part.model_dump()) for part in self.includes) or (self,)


def student_uuid(reference: str) -> UUID:
    """The student's UUID; a reference that is none (another system's id) always gives the same UUID."""
    try:
        return UUID(reference)
    except ValueError:
        return uuid5(_STUDENTS, reference)


def purchase_uuid(reference: str) -> UUID:
    """The purchase id of a payment that was not started by us, from Stripe's own id for it."""
    return uuid5(_PURCHASES, reference)


def enrollment_uuid(student_id: UUID, program_slug: str) -> UUID:
    """The id of a student's enrollment in a program: one, whoever speaks of it first."""
    return uuid5(_ENROLLMENTS, f"{student_id}/{program_slug}")
