"""Steps of tests of the admin API."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import aio_pika
import httpx
from pydantic import SecretStr
from sqlalchemy import func, select, text
from tests.kit.events import paid
from tests.kit.subscriber_steps import to_queue
from tests.processes import JWT
from tests.tokens import bearer

from contracts.audit import Actor, AuditRecorded
from contracts.envelope import parse
from contracts.registry import EVENT_TYPES
from kit.db.database import Database
from kit.http.auth import Authenticator
from kit.messaging.broker import Publisher
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.topology import Queue
from kit.runtime.settings import AuthSettings
from testkit.rabbit_server import RabbitServer
from webhook_gateway.admin import app
from webhook_gateway.admin_context import AdminContext
from webhook_gateway.object_reconciler import ComparedObjects
from webhook_gateway.reconciler import Reconciled
from webhook_gateway.stripe_objects import ObjectKind
from webhook_gateway.tables import Source, journal_due

ADMIN = UUID("00000000-0000-4000-8000-00000000000a")
AUDIT = Queue("webhook-gateway.test-audit", events=(AuditRecorded,))
DEAD_LETTERS = "/api/admin/dead-letters"
CHANGES = 20
"""A day, of each caller."""


class Steps:
    """The API in this process, with one queue whose dead letters can be named."""

    def __init__(self, database: Database, broker: RabbitServer, publisher: Publisher, queue: str) -> None:
        self.database, self.broker, self.queue = database, broker, queue
        self._publisher, self._seen = publisher, 0
        self.stripe: Exception | None = None
        self.reconciled: list[tuple[datetime, datetime | None, Actor]] = []
        context = AdminContext(
            database=database,
            amqp_url=broker.url,
            queues=(queue,),
            reconcile=self._reconcile,
            target_webhook_delivery=9_900,
        )
        settings = AuthSettings(
            jwt_secret=SecretStr(JWT["JWT_SECRET"]), jwt_issuer=JWT["JWT_ISSUER"], jwt_audience=JWT["JWT_AUDIENCE"]
        )
        self.app = app(context, Authenticator(settings), {"changes": f"{CHANGES}/day", "reads": "100/day"})

    async def _reconcile(
        self, since: datetime, until: datetime | None, actor: Actor
    ) -> tuple[Reconciled, ComparedObjects]:
        if self.stripe is not None:
            raise self.stripe
        self.reconciled.append((since, until, actor))
        return Reconciled(listed=3, restored=1), ComparedObjects(differing={(ObjectKind.CHARGE, "ch_1")})

    async def call(
        self, method: str, path: str, body: Any = None, *, role: str | None = "admin", caller: UUID = ADMIN
    ) -> httpx.Response:
        headers = bearer(caller, role) if role else {}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test") as client:
            return await client.request(method, path, json=body, headers=headers)

    async def dead_letter(self, *ids: str) -> None:
        for id in ids:
            await self.publish(to_message(paid(id)))

    async def publish(self, message: OutgoingMessage) -> None:
        await self._publisher.publish(to_queue(message, f"{self.queue}.dead"))

    async def unreadable(self, message_id: str, *, reason: str = "", body: bytes = b"{}") -> None:
        """A dead letter that is no event."""
        async with await aio_pika.connect(self.broker.url) as connection:
            channel = await connection.channel()
            message = aio_pika.Message(body, headers={"bursar-reason": reason}, message_id=message_id)
            await channel.default_exchange.publish(message, f"{self.queue}.dead", mandatory=True)

    async def recorded(self) -> list[AuditRecorded]:
        """What was published, and what is in the outbox, since it was asked last."""
        found = []
        async with await aio_pika.connect(self.broker.url) as connection:
            queue = await (await connection.channel()).get_queue(AUDIT.name)
            while (message := await queue.get(fail=False, no_ack=True)) is not None:
                event = parse(message.headers, message.body, EVENT_TYPES).data
                assert isinstance(event, AuditRecorded)
                found.append(event)
        async with self.database.transaction() as db:
            query = "SELECT id, convert_from(body, 'UTF8') FROM outbox_messages WHERE id > :seen ORDER BY id"
            for id, body in await db.execute(text(query), {"seen": self._seen}):
                self._seen = id
                found.append(AuditRecorded.model_validate_json(body))
        return found

    async def journal(self, *ids: str, type_: str = "charge.refunded") -> None:
        async with self.database.transaction() as db:
            for id in ids:
                await db.execute(select(func.journal_write([id], [type_], [b"{}"], [None], [str(Source.FETCHED)])))
            await db.execute(journal_due.delete())

    async def due(self) -> set[str]:
        async with self.database.transaction() as db:
            return {str(id) for id in await db.scalars(journal_due.select())}
