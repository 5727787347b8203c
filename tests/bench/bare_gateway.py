"""What accepting a webhook costs at least: check the signature, store the event, answer. No parsing, no framework.

publish: answers when the broker has confirmed the event for all of its queues. It is published as received, 4 kB
without headers. The product's translation, a quarter of that with headers and `mandatory`, takes as long to publish.
journal: answers when the event is committed; one INSERT takes whatever is waiting.

Run as a process of its own: `python -m tests.bench.bare_gateway publish|journal PORT SECRET`, with AMQP_URL and
DATABASE_URL.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiormq
import asyncpg
import uvicorn

EXCHANGE, ROUTING_KEY = "bursar.events", "payment.succeeded.v1"
TABLE = "CREATE TABLE IF NOT EXISTS bare_journal (event_id text PRIMARY KEY, body bytea NOT NULL)"
INSERT = """
    INSERT INTO bare_journal (event_id, body) SELECT * FROM unnest($1::text[], $2::bytea[]) ON CONFLICT DO NOTHING
"""
MAX_BATCH = 500
PATH = "/api/stripe/webhook"

Store = Callable[[str, bytes], Awaitable[None]]


def is_signed(header: bytes, body: bytes, secret: bytes) -> bool:
    """Whether Stripe's signature is right, and not older than five minutes."""
    fields = dict(part.split(b"=", 1) for part in header.split(b","))
    wanted = hmac.new(secret, fields[b"t"] + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), fields[b"v1"]) and abs(time.time() - int(fields[b"t"])) < 300


class PublishThenAnswer:
    async def start(self) -> None:
        self._connection = await aiormq.connect(os.environ["AMQP_URL"])
        self._channel = await self._connection.channel(publisher_confirms=True)

    async def store(self, event_id: str, body: bytes) -> None:
        properties = aiormq.spec.Basic.Properties(message_id=event_id, delivery_mode=2)
        await self._channel.basic_publish(body, exchange=EXCHANGE, routing_key=ROUTING_KEY, properties=properties)


class Journal:
    def __init__(self) -> None:
        self._waiting: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._database = await asyncpg.connect(os.environ["DATABASE_URL"])
        await self._database.execute(TABLE)

    async def store(self, event_id: str, body: bytes) -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((event_id, body, stored))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await stored

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._database.execute(INSERT, [id for id, _, _ in batch], [body for _, body, _ in batch])
            for _, _, stored in batch:
                stored.set_result(None)


class App:
    """The ASGI app."""

    def __init__(self, store: PublishThenAnswer | Journal, secret: bytes) -> None:
        self._store = store
        self._secret = secret
        self._starting = asyncio.Lock()
        self._started = False
        self._numbers = itertools.count()
        self._process = os.urandom(8).hex()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self._starting:
            if not self._started:
                await self._store.start()
                self._started = True
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        header = dict(scope["headers"]).get(b"stripe-signature", b"t=0,v1=")
        status = 400
        if is_signed(header, body, self._secret):
            await self._store.store(f"evt_{self._process}_{next(self._numbers)}", body)
            status = 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})


def main() -> None:
    mode, port, secret = sys.argv[1:]
    store = PublishThenAnswer() if mode == "publish" else Journal()
    app = App(store, secret.encode())
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
