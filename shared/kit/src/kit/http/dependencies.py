"""What routes ask FastAPI for: the database, and the caller's unit of work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Request

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.auth import CurrentCaller


def current_database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


CurrentDatabase = Annotated[Database, Depends(current_database)]


async def caller_unit_of_work(
    request: Request, caller: CurrentCaller, database: CurrentDatabase
) -> AsyncIterator[UnitOfWork]:
    """One transaction in which row-level security shows the caller's rows only. It commits when the route returns,
    before the response is sent, and rolls back when the route raises."""
    async with database.transaction_of(student_id=caller.id, role=caller.role) as db:
        yield UnitOfWork(db=db, source=request.app.state.service, now=utc_now())


CallerUnitOfWork = Annotated[UnitOfWork, Depends(caller_unit_of_work, scope="function")]
"""For routes of a signed-in caller: `async def route(uow: CallerUnitOfWork) -> ...`."""
