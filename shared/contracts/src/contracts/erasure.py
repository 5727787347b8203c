"""The erasure of a student. Requested by checkout; every service publishes that it has erased its part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, StrictInt

from contracts.envelope import Event
from contracts.personal_data import is_identifier


def _identifier(text: str) -> str:
    if not is_identifier(text):
        raise ValueError("neither a UUID nor an id of Stripe's form")
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]
Count = Annotated[StrictInt, Field(ge=0)]


class StudentErasureRequested(Event):
    """An admin has requested that a student's personal data is erased. `identifiers`: of the student, of their
    purchases, and of their payments and customers at Stripe; whatever event names one of them is about the student."""

    type = "student.erasure_requested.v1"
    student_id: UUID
    identifiers: tuple[Identifier, ...] = Field(max_length=10_000)


class StudentErased(Event):
    """The publisher no longer has personal data of the student, and removes it from events that it still receives."""

    type = "student.erased.v1"
    student_id: UUID
    rows: Mapping[str, Count] = Field(description="how many rows were deleted or changed, by table")
