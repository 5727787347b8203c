"""The service without a broker: events go straight to its consumer, and requests to its app."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
from pydantic import SecretStr
from tests.deliveries import deliver_together
from tests.processes import JWT
from tests.tokens import bearer

from contracts.audit import Act, Action, Actor, AuditRecorded
from contracts.envelope import Envelope, Event
from kit.db.database import Database
from reporting.consumers import consumers
from reporting.main import app
from reporting.settings import ApiSettings
from testkit import postgres_server as pg

ADMIN = UUID("00000000-0000-4000-8000-00000000000a")
START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def act(action: Action = "price.changed", object_id: str = "barber", **fields: Any) -> Act:
    return Act(action=action, object_type="item", object_id=object_id, **fields)


class Service:
    def __init__(self, database: pg.Database) -> None:
        self.logins = database
        self.database = Database(database.url)
        settings = ApiSettings(
            database_url=SecretStr(database.api_url),
            staff_database_url=SecretStr(database.staff_url),
            jwt_secret=SecretStr(JWT["JWT_SECRET"]),
            jwt_issuer=JWT["JWT_ISSUER"],
            jwt_audience=JWT["JWT_AUDIENCE"],
        )
        self._app = app(settings)
        self._minutes = 0

    async def reset(self) -> None:
        await self.as_owner(
            "TRUNCATE events, audit_records, inbox, outbox_messages, outbox_due, invariant_runs, invariant_breaks,"
            " payments, catalog_items, facts, fact_keys"
        )

    async def close(self) -> None:
        await self.database.close()
        await self._app.state.database.close()

    @property
    def of_requests(self) -> Database:
        """With the logins of requests."""
        found: Database = self._app.state.database
        return found

    async def as_owner(self, *statements: str) -> list[Any]:
        """What nobody else may do."""
        connection = await asyncpg.connect(self.logins.owner_url)
        try:
            found: list[list[Any]] = [await connection.fetch(sql) for sql in statements]
            return found[-1]
        finally:
            await connection.close()

    def envelope(self, event: Event, *, id: str = "", source: str = "checkout", subject: str = "test") -> Envelope[Any]:
        """A minute after the one before."""
        self._minutes += 1
        time = START + timedelta(minutes=self._minutes)
        return Envelope(id=id or f"test/{uuid4()}", source=source, subject=subject, time=time, data=event)

    def audited(self, done: Act, *, actor: UUID = ADMIN, address: str = "192.0.2.1") -> Envelope[AuditRecorded]:
        event = AuditRecorded(actor=Actor(id=str(actor), role="admin"), act=done, address=address, trace_id="a" * 32)
        return self.envelope(event)

    async def receive(self, *events: Envelope[Any]) -> None:
        """In one batch."""
        await deliver_together(self.database, consumers(), "reporting", events)

    async def get(self, path: str, *, role: str = "admin", **query: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, params=query, headers=bearer(ADMIN, role))

    async def post(self, path: str, *, role: str = "admin") -> httpx.Response:
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, headers=bearer(ADMIN, role))

    async def items(self, **query: Any) -> Sequence[dict[str, Any]]:
        """Of the audit trail."""
        response = await self.get("/api/admin/audit", **query)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["items"]
        return found
