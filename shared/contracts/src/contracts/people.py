"""The people and programs that events speak of."""

from __future__ import annotations

from typing import Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field

from contracts.envelope import Model

Payer = Literal["student", "sponsor"]

_STUDENTS = uuid5(NAMESPACE_URL, "urn:bursar:student")
_PURCHASES = uuid5(NAMESPACE_URL, "urn:bursar:purchase")


class Contact(Model):
    """Where mail goes. Personal data: never logged, never put into Stripe metadata."""

    email: str = Field(max_length=320)
    name: str | None = Field(default=None, max_length=200)


class Program(Model):
    """What was bought. The slug is the name that every service knows it by."""

    slug: str = Field(min_length=1, max_length=200)
    id: str = Field(min_length=1, max_length=200, description="the catalog's id; opaque to everyone else")
    name: str | None = Field(default=None, max_length=300)
    provider: str | None = Field(default=None, max_length=100, description="the outside course provider: milady")

    @property
    def title(self) -> str:
        return self.name or self.slug.replace("-", " ").title()


def student_uuid(reference: str) -> UUID:
    """The student's UUID; a reference that is none (another system's id) always gives the same UUID."""
    try:
        return UUID(reference)
    except ValueError:
        return uuid5(_STUDENTS, reference)


def purchase_uuid(reference: str) -> UUID:
    """The purchase id of a payment that was not started by us, from Stripe's own id for it."""
    return uuid5(_PURCHASES, reference)
