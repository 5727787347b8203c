"""A running webhook-gateway with its journal, and a queue that receives what it publishes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aio_pika
import asyncpg
import httpx
from tests.databases import logins
from tests.processes import RunningRole, migrate
from tests.webhook_gateway.stripe_events import SECRET, body_of, sign

from contracts.envelope import Envelope, Event, parse
from contracts.registry import EVENT_TYPES, PAYMENT_EVENTS
from kit.messaging.topology import Queue
from testkit.postgres_server import PostgresServer
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

PUBLISHED = Queue("test.published", events=PAYMENT_EVENTS)

TLS = ssl.create_default_context()  # not used over HTTP; httpx would load the CA bundle for every client without it


@dataclass(frozen=True)
class Gateway:
    api: RunningRole
    relay: RunningRole
    consumers: RunningRole
    database_url: str
    amqp_url: str

    async def post(
        self, body: bytes, *, signature: str | None = "", path: str = "/api/stripe/webhook", **headers: str
    ) -> httpx.Response:
        """Posts a body. `signature`: empty for a valid one, None for no header."""
        value = sign(body) if signature == "" else signature
        all_headers = {"Content-Type": "application/json", **headers}
        if value is not None:
            all_headers["Stripe-Signature"] = value
        encoded = [(name.encode(), value.encode()) for name, value in all_headers.items()]
        async with httpx.AsyncClient(timeout=20, verify=TLS) as client:
            return await client.post(self.api.url + path, content=body, headers=encoded)

    async def deliver(self, event: dict[str, Any]) -> int:
        """Posts a signed event. Returns the status code."""
        return (await self.post(body_of(event))).status_code

    async def metrics(self, role: RunningRole | None = None) -> str:
        """The metrics of the API, or of another role."""
        async with httpx.AsyncClient(timeout=20, verify=TLS) as client:
            return (await client.get(f"{(role or self.api).internal_url}/metrics")).text

    async def journal(self) -> dict[str, int | None]:
        """Returns, by Stripe event id, how many events were published (None: not published yet, or due again)."""
        connection = await asyncpg.connect(self.database_url)
        try:
            rows = await connection.fetch(
                "SELECT event_id, CASE WHEN due.event_id IS NULL THEN event_count END AS published "
                "FROM journal_entries LEFT JOIN journal_due AS due USING (event_id)"
            )
        finally:
            await connection.close()
        return {row["event_id"]: row["published"] for row in rows}

    async def published(self) -> list[Envelope[Event]]:
        """Returns and removes the events that were published since the previous call."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            queue = await channel.get_queue(PUBLISHED.name)
            events = []
            while (message := await queue.get(fail=False, no_ack=True)) is not None:
                events.append(parse(message.headers, message.body, EVENT_TYPES))
            return events


@contextmanager
def running(postgres: PostgresServer, rabbit: RabbitServer, name: str, **settings: str) -> Iterator[Gateway]:
    database = postgres.create_database(name)
    env = {
        "AMQP_URL": rabbit.url,
        "STRIPE_LIVEMODE": "false",
        "STRIPE_WEBHOOK_SECRETS": f"whsec_test_rolled,{SECRET}",
        **settings,
    }
    worker = {**env, **logins(database)}
    migrate("webhook_gateway", worker)
    api = RunningRole("webhook_gateway", "api", {**env, "DATABASE_URL": database.api_url})
    relay = RunningRole("webhook_gateway", "relay", worker)
    consumers = RunningRole("webhook_gateway", "consumers", worker)
    roles = [api, relay, consumers]
    try:
        for role in roles:
            role.start()
        wait_all_ready(roles)
        yield Gateway(api, relay, consumers, database.url, rabbit.url)
    finally:
        stop_all(roles)
