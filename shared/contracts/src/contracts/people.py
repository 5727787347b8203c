"""The people and programs that events refer to."""

from __future__ import annotations

from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field

from contracts.envelope import Model

Payer = Literal["student", "sponsor"]
ItemKind = Literal["program", "track", "course", "product", "service", "merchandise", "bundle", "membership"]

MEMBERSHIP = "membership"
"""The slug of every membership: a student has at most one, of any tier."""

_STUDENTS = uuid5(NAMESPACE_URL, "urn:bursar:student")
_PURCHASES = uuid5(NAMESPACE_URL, "urn:bursar:purchase")
_ENROLLMENTS = uuid5(NAMESPACE_URL, "urn:bursar:enrollment")


class Contact(Model):
    """Personal data: never logged, never put into Stripe metadata."""

    email: str = Field(max_length=320)
    name: str | None = Field(default=None, max_length=200)


class ItemRef(Model):
    """Names an item of the catalog. Every service identifies it by its slug."""

    slug: str = Field(min_length=1, max_length=200)
    id: str = Field(min_length=1, max_length=200, description="the catalog's id; opaque to everyone else")
    name: str | None = Field(default=None, max_length=300)
    provider: str | None = Field(default=None, max_length=100, description="the external course provider: milady")
    kind: ItemKind | None = Field(default=None, description="None: a program")
    untaught: Literal[True] | None = Field(default=None, description="nobody teaches it; no instructor is assigned")
    id_only: Literal[True] | None = Field(default=None, description="the event had no slug; `slug` repeats the id")

    @property
    def title(self) -> str:
        return self.name or self.slug.replace("-", " ").title()

    @property
    def taught(self) -> bool:
        """Whether it has lessons, and therefore an instructor."""
        return not self.untaught and self.kind in (None, "program", "track", "course")

    @property
    def enrolls(self) -> bool:
        """Whether it gives an enrollment. Merchandise does not, and may be bought again."""
        return self.kind != "merchandise"


class Program(ItemRef):
    """What was bought. A bundle is bought as one and gives an enrollment in each item that it `includes`."""

    includes: tuple[ItemRef, ...] = ()

    @property
    def parts(self) -> tuple[Program, ...]:
        """The items that the student is enrolled in."""
        return tuple(Program(**part.model_dump()) for part in self.includes) or (self,)


def student_uuid(reference: str) -> UUID:
    """The student's UUID. A reference that is not a UUID (another system's id) always maps to the same one."""
    try:
        return UUID(reference)
    except ValueError:
        return uuid5(_STUDENTS, reference)


def purchase_uuid(reference: str) -> UUID:
    """The purchase id of a payment that we did not start, derived from Stripe's id."""
    return uuid5(_PURCHASES, reference)


def enrollment_uuid(student_id: UUID, program_slug: str) -> UUID:
    """The id of a student's enrollment in a program; every service derives the same one."""
    return uuid5(_ENROLLMENTS, f"{student_id}/{program_slug}")
