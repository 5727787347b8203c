"""Who is in which case manager's caseload. Row-level security reads it: a case manager sees the rows of these students.

checkout decides it; the other services store what `student.case_manager_changed.v1` says.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, Integer, Table, Uuid, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import new_metadata

caseload = Table(
    "caseload",
    new_metadata(),
    Column("student_id", Uuid, primary_key=True),
    Column("case_manager_id", Uuid, index=True),
    Column("revision", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""`case_manager_id` None: an admin has unassigned the student."""


async def write(
    db: AsyncConnection, student_id: UUID, case_manager_id: UUID | None, *, revision: int, at: datetime
) -> None:
    """Keeps the highest revision, in any order."""
    values = {"case_manager_id": case_manager_id, "revision": revision, "updated_at": at}
    statement = insert(caseload).values(student_id=student_id, **values)
    changed = statement.on_conflict_do_update(
        index_elements=["student_id"], set_=values, where=caseload.c.revision < revision
    )
    await db.execute(changed)
