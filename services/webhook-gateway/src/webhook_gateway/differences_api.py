"""Where objects at Stripe differ from what was published about them, for admins."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from kit.http.auth import Admin
from webhook_gateway import differences
from webhook_gateway.admin_context import CurrentContext

router = APIRouter(prefix="/api/admin", tags=["operations"])


class Difference(BaseModel):
    """Both sides are text: a status, or minor units with their currency; null: nothing."""

    object_kind: str
    object_id: str
    field: str
    stripe: str | None
    published: str | None
    purchase_id: UUID | None
    first_seen_at: datetime
    last_seen_at: datetime


class DifferencePage(BaseModel):
    items: list[Difference]
    next: str | None = Field(description="the cursor of the next page")


@router.get("/differences")
async def list_differences(
    _: Admin,
    context: CurrentContext,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DifferencePage:
    """The fields of objects at Stripe that differ from what was published, by object."""
    async with context.database.transaction() as db:
        rows = await differences.list_open(db, after=cursor, limit=limit)
    items = [Difference.model_validate(row, from_attributes=True) for row in rows]
    return DifferencePage(items=items, next=differences.cursor_of(rows[-1]) if len(rows) == limit else None)
