"""Erasures, for admins."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from fastapi import APIRouter
from pydantic import BaseModel, Field

from checkout.erasures import repository
from checkout.erasures.repository import OVERDUE, SERVICES, ErasureRecord
from checkout.problems import ERASURE_BLOCKED, UNKNOWN_ERASURE, UNKNOWN_STUDENT
from contracts.audit import Act
from contracts.erasure import StudentErasureRequested
from kit.http import audit
from kit.http.auth import Admin
from kit.http.dependencies import CallerUnitOfWork
from kit.personal_data import erased

router = APIRouter(prefix="/api/admin", tags=["admin"])

MOST = 200

_BLOCKS = {
    "dispute_open": "a dispute is open",
    "refund_pending": "a refund is pending",
    "refund_requested": "a refund request is not decided",
    "installment_unpaid": "an installment is unpaid (cancel the enrollment, or waive it)",
    "payment_in_progress": "a payment can still be made, or is being processed",
    "membership_active": "a membership is active",
    "subscription_active": "a plan goes on at Stripe (cancel its subscription there)",
    "payment_unmatched": "an unmatched payment has their address (assign or refund it)",
}


class ErasedBy(BaseModel):
    service: str
    erased_at: datetime | None = Field(description="null: not yet")
    rows: dict[str, int] = Field(description="how many rows were deleted or changed, by table")


class Erasure(BaseModel):
    """Where the erasure of a student stands."""

    student_id: UUID
    requested_by: str
    requested_at: datetime
    complete: bool = Field(description="every service has erased")
    overdue: bool = Field(description="a service has not erased within an hour")
    services: list[ErasedBy]


class UnfinishedErasures(BaseModel):
    items: list[Erasure]


@router.post("/students/{id}/erasure", status_code=202)
async def request_erasure(id: UUID, admin: Admin, uow: CallerUnitOfWork) -> Erasure:
    """Erases a student in all services: names, addresses and texts go, numbered payments stay. Cannot be undone.

    409 `erasure_blocked` while money is moving. A repeated request erases again what has come meanwhile.
    """
    await erased.lock(uow.db)  # what has begun ends first, and what begins later sees the request
    if not await repository.exists(uow.db, id) and await repository.read(uow.db, id) is None:
        raise UNKNOWN_STUDENT()
    if blocks := await repository.blocks(uow.db, id):
        why = "; ".join(_BLOCKS[each] for each in blocks)
        detail = f"The student cannot be erased yet: {why}. Settle that, and request the erasure again."
        raise ERASURE_BLOCKED(detail, blocks=blocks)
    identifiers = tuple(sorted(await repository.identifiers(uow.db, id)))
    await erased.add(uow.db, identifiers)
    event = StudentErasureRequested(student_id=id, identifiers=identifiers)
    request_id = f"{uuid4()}/{event.type}"
    await repository.add(uow.db, id, request_id=request_id, by=str(admin.id), at=uow.now)
    await uow.publish(event, id=request_id, subject=str(id))
    await audit.record(uow, Act.of("student.erasure_requested", "student", id, student_id=id))
    record = await repository.read(uow.db, id)
    assert record is not None  # noqa: S101  added a moment ago
    return _view(record, uow.now)


@router.get("/students/{id}/erasure")
async def read_erasure(id: UUID, _: Admin, uow: CallerUnitOfWork) -> Erasure:
    """Which services have erased the student, and which have not."""
    record = await repository.read(uow.db, id)
    if record is None:
        raise UNKNOWN_ERASURE()
    return _view(record, uow.now)


@router.get("/erasures")
async def list_unfinished_erasures(_: Admin, uow: CallerUnitOfWork) -> UnfinishedErasures:
    """Erasures that a service has not confirmed, oldest first; at most 200."""
    found = await repository.unfinished(uow.db, SERVICES, limit=MOST)
    return UnfinishedErasures(items=[_view(each, uow.now) for each in found])


def _view(record: ErasureRecord, now: datetime) -> Erasure:
    receipts = {each.service: each for each in record.receipts}
    missing = record.missing(SERVICES)
    return Erasure(
        student_id=record.student_id,
        requested_by=record.requested_by,
        requested_at=record.requested_at,
        complete=not missing,
        overdue=bool(missing) and now - record.requested_at > OVERDUE,
        services=[
            ErasedBy(
                service=service,
                erased_at=receipts[service].erased_at if service in receipts else None,
                rows=dict(receipts[service].rows) if service in receipts else {},
            )
            for service in SERVICES
        ],
    )
