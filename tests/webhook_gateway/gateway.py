"""A running webhook-gateway, its journal, and an ear on the bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import asyncpg
import httpx
from tests.processes import RunningRole, migrate
from tests.webhook_gateway.stripe_events import SECRET, body_of, sign

from contracts.envelope import Envelope, Event, parse
from contracts.registry import EVENT_TYPES, PAYMENT_EVENTS
from kit.messaging.topology import Queue
from testkit.postgres_server import PostgresServer
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

EAR = Queue("test.ear", events=PAYMENT_EVENTS)


@dataclass(frozen=True)
class Gateway:
    api: RunningRole
    relay: RunningRole
    database_url: str
    amqp_url: str

    async def post(
        self, body: bytes, *, signature: str | None = "", path: str = "/api/stripe/webhook", **headers: str
    ) -> httpx.Response:
        """Delivers a body; by default signed as Stripe would."""
        said = sign(body) if signature == "" else signature
        sent = {"Content-Type": "application/json", **headers}
        if said is not None:
            sent["Stripe-Signature"] = said
        encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
        async with httpx.AsyncClient(timeout=20) as client:
            return await client.post(self.api.url + path, content=body, headers=encoded)

    async def deliver(self, event: dict[str, Any]) -> int:
        return (await self.post(body_of(event))).status_code

    async def journal(self) -> dict[str, int | None]:
        """event id -> how many events of ours it meant (None: not published yet)"""
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch("SELECT event_id, said, published_at IS NOT NULL AS published FROM journal")
        finally:
            await connection.close()
        return {row["event_id"]: row["said"] if row["published"] else None for row in rows}

    async def heard(self) -> list[Envelope[Event]]:
        """What has come out since the last time somebody listened."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(EAR.name)
            found = []
            while (message := await queue.get(fail=False, no_ack=True)) is not None:
                found.append(parse(message.headers, message.body, EVENT_TYPES))
            return found


@contextmanager
def running(postgres: PostgresServer, rabbit: RabbitServer, name: str) -> Iterator[Gateway]:
    database = postgres.create_database(name)
    told = {"AMQP_URL": rabbit.url, "STRIPE_WEBHOOK_SECRETS": f"whsec_test_rolled,{SECRET}"}
    owner = {**told, "DATABASE_URL": database.url}
    migrate("webhook_gateway", owner)
    api = RunningRole("webhook_gateway", "api", {**told, "DATABASE_URL": database.api_url})
    relay = RunningRole("webhook_gateway", "relay", owner)
    try:
        api.start()
        relay.start()
        wait_all_ready([api, relay])
        yield Gateway(api, relay, database.url, rabbit.url)
    finally:
        stop_all([api, relay])
