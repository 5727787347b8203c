"""An erased person changes nothing anymore: what they would write is personal data, which was erased."""

from __future__ import annotations

from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.http.auth import caller_of, roles_of
from kit.http.limits import is_change
from kit.http.problems import STUDENT_ERASED
from kit.personal_data import erased

"""The code of the refusal."""
STUDENT = "student"
"""The role of those who can be erased."""


async def refuse_erased(db: AsyncConnection, person: UUID) -> None:
    """Raises Problem 409 if the person is erased. If not, they cannot be until the transaction ends: the erasure then
    finds what it writes."""
    await erased.lock_shared(db)
    if await erased.is_erased(db, person):
        raise STUDENT_ERASED()


class _RefuseErased:
    def applies(self, request: Request) -> bool:
        """Not where students are refused in any case."""
        return is_change(request) and STUDENT in roles_of(request.scope["route"].dependant)

    async def __call__(self, request: Request) -> None:
        if not is_change(request):
            return
        caller = await caller_of(request)
        if caller is None or caller.role != STUDENT or not self.applies(request):
            return
        database: Database = request.app.state.database
        async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
            await refuse_erased(db, caller.id)


REFUSE_ERASED_CALLERS = Depends(_RefuseErased())
"""For every route: changes that an erased person requests with a token that is still valid."""
