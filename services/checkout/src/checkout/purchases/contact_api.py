"""How staff add the contact of a student who has never signed in: one whom a sponsor pays for."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from checkout.mail import Address
from checkout.purchases import caseload, student_repository
from checkout.purchases.context import Buyer
from checkout.purchases.dependencies import CurrentContext
from contracts.audit import Act
from contracts.people import Contact
from kit.db.database import CASE_MANAGER
from kit.http import audit
from kit.http.auth import Admin, CaseManager
from kit.http.dependencies import CallerUnitOfWork
from kit.http.openapi import example
from kit.http.paging import Page
from kit.http.problems import INVALID_REQUEST

router = APIRouter(tags=["admin"])

MOST_STUDENTS = 20


def _one_line(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("not a name")
    return text.strip()


PersonName = Annotated[str, AfterValidator(_one_line), Field(min_length=1, max_length=200)]
"""One line, as it appears in mails and on invoices."""


class StudentContact(BaseModel, json_schema_extra=example(email="jordan.rivera@example.com", name="Jordan Rivera")):
    """`name` null: as it was."""

    model_config = ConfigDict(extra="forbid")

    email: Address
    name: PersonName | None = None


@router.put("/api/admin/students/{id}/contact")
async def save_contact(id: UUID, body: StudentContact, caller: CaseManager, context: CurrentContext) -> StudentContact:
    """Sets how the student is reached. Messages that waited for a contact are sent then, and outside course providers
    receive it. Case managers set those of their caseload. Returns the contact as it is now."""
    staff = Buyer(id=caller.id, role=caller.role, contact=Contact(email=body.email, name=body.name))
    async with context.unit_of_work(staff) as uow:
        if caller.role == CASE_MANAGER:
            await caseload.require(uow.db, caller.id, id)
        await context.record_contact(uow, id, staff)
        contact = await student_repository.read_contact(uow.db, id)
        assert contact is not None  # noqa: S101  stored a moment ago
        await audit.record(uow, Act.of("contact.changed", "student", id, student_id=id))
    return StudentContact(email=contact.email, name=contact.name)


class StudentSearch(BaseModel, json_schema_extra=example(email="jordan.rivera@example.com")):
    """In the body, as an address in a URL ends in logs. Either `email`, or `name`: a part of it, in any case."""

    model_config = ConfigDict(extra="forbid")

    email: Address | None = None
    name: Annotated[PersonName, Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one(self) -> StudentSearch:
        if (self.email is None) == (self.name is None):
            raise ValueError("search for either an email or a name")
        return self


class FoundStudent(BaseModel):
    """`name` null: not stored."""

    student_id: UUID
    name: str | None


@router.post("/api/admin/students/search")
async def search_students(body: StudentSearch, _: Admin, uow: CallerUnitOfWork) -> Page[FoundStudent]:
    """The students who are reached at an email address, or whose name has this part. At most 20, by name."""
    found = await student_repository.find_students(uow.db, email=body.email, name=body.name, limit=MOST_STUDENTS)
    return Page(items=[FoundStudent(student_id=id, name=name) for id, name in found])


def contact_of(*, email: str | None, name: str | None) -> Contact | None:
    """The contact that a request states. Raises Problem 422 for a name without an email address."""
    if email is None and name is not None:
        raise INVALID_REQUEST("A student's name is stored with an email address: send both.")
    return Contact(email=email, name=name) if email else None
