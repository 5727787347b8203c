"""An erased person changes nothing anymore: what they would write is personal data, which was erased."""

from __future__ import annotations

from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.http.auth import caller_of, roles_of
from kit.http.errors import Problem
from kit.http.limits import is_change
from kit.personal_data import erased

ERASED = "student_erased"
"""The code of the refusal."""
STUDENT = "student"
"""The role of those who can be erased."""


async def refuse_erased(db: AsyncConnection, person: UUID) -> None:
    """Raises Problem 409 if the person is erased. If not, they cannot be until the transaction ends: the erasure then
    finds what it writes."""
    await erased.lock_shared(db)
    if await erased.is_erased(db, person):
        raise Problem(409, ERASED, "This student was erased; a new purchase needs a new account.")


async def _refuse_erased_caller(request: Request) -> None:
    if not is_change(request):
        return
    caller = await caller_of(request)
    if caller is None or caller.role != STUDENT or STUDENT not in roles_of(request.scope["route"].dependant):
        return  # not a student, or one who is refused in any case
    database: Database = request.app.state.database
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        await refuse_erased(db, caller.id)


REFUSE_ERASED_CALLERS = Depends(_refuse_erased_caller)
"""For every route: changes that an erased person requests with a token that is still valid."""
