"""Every admin route that changes something leaves an audit record: the routes come from the OpenAPI document, so that a
new one cannot be forgotten."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from contracts.audit import ACTIONS, AuditRecorded

Request = Callable[..., Awaitable[httpx.Response]]
_MUTATING = ("post", "put", "patch", "delete")
_EXCEPT = frozenset(
    {
        "POST /api/admin/students/search",  # reads; an address is no part of a URL
        "POST /api/admin/verification",  # the kit's, the same in every service
        "POST /api/admin/verification/repair",
    }
)


def mutating_admin_routes(app: FastAPI) -> set[str]:
    found = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if method in _MUTATING and path.startswith("/api/admin/")
    }
    return found - _EXCEPT


class AuditedRoutes:
    """Calls routes, and checks after each that it has published one audit record, or more. `request`: as an admin."""

    def __init__(self, owner_url: str, request: Request) -> None:
        self._owner_url = owner_url
        self._request = request
        self.called: set[str] = set()

    async def call(self, method: str, route: str, action: str, *values: object, **sent: Any) -> AuditRecorded:
        """`values`: of the parameters in the route's path, in order. Returns the last record."""
        path = route
        for value in values:
            start, end = path.index("{"), path.index("}")
            path = path[:start] + str(value) + path[end + 1 :]
        before = await self._last()
        response = await self._request(method, path, **sent)
        assert response.is_success, (route, response.text)
        records = await self._after(before)
        assert records, f"{method} {route} leaves no audit record"
        assert action in {record.act.action for record in records} <= ACTIONS, records
        for record in records:
            assert record.actor.role == "admin" and record.trace_id, record
            assert "@" not in record.model_dump_json(), record
        self.called.add(f"{method} {route}")
        return records[-1]

    async def _last(self) -> int:
        (row,) = await self._fetch("SELECT coalesce(max(id), 0) AS id FROM outbox_messages")
        return int(row["id"])

    async def _after(self, id: int) -> list[AuditRecorded]:
        rows = await self._fetch(
            "SELECT convert_from(body, 'UTF8') AS body FROM outbox_messages"
            " WHERE id > $1 AND routing_key = $2 AND exchange = 'bursar.events' ORDER BY id",
            id,
            AuditRecorded.type,
        )
        return [AuditRecorded.model_validate(json.loads(row["body"])) for row in rows]

    async def _fetch(self, sql: str, *values: object) -> list[Any]:
        connection = await asyncpg.connect(self._owner_url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()
