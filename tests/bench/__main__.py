"""`make bench`: the throughput of the two hot paths, relative to an upper bound measured on the same machine.

The gateway is compared with an app that answers 200 and does nothing, the enrollment consumer with a client that
acknowledges the same messages without handling them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import asyncpg
from tests.bench import load
from tests.databases import logins
from tests.deliveries import envelope
from tests.processes import RunningRole, migrate
from tests.waiting import until
from tests.webhook_gateway import stripe_events as stripe

from contracts.envelope import Envelope, Event
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Program
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from testkit.processes import Command, Process, await_port, free_ports
from testkit.servers import postgres, rabbitmq

EVENTS = int(os.environ.get("BENCH_EVENTS", "10000"))
CONNECTIONS = 32
ROOT = Path(__file__).resolve().parents[2]
BASELINE = """
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
import sys, uvicorn
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off")
"""


def deliveries(url: str) -> list[bytes]:
    """Distinct signed events of a realistic size (about 4 kB)."""
    padding = {"description": "x" * 3_000}
    found = []
    for _ in range(EVENTS):
        body = stripe.body_of(stripe.event("payment_intent.succeeded", stripe.intent(**padding)))
        found.append(load.request(url, body, {"Stripe-Signature": stripe.sign(body)}))
    return found


async def measure(url: str) -> load.Measured:
    parts = urlsplit(url)
    requests = deliveries(url)
    return await load.run(parts.hostname or "", parts.port or 0, requests, connections=CONNECTIONS)


async def gateway(baseline_url: str, gateway_url: str) -> None:
    baseline = await measure(baseline_url + "/api/stripe/webhook")
    ours = await measure(gateway_url + "/api/stripe/webhook")
    print(f"gateway      {ours.per_second:8,.0f} events/s  p50 {ours.p50_ms:.1f} ms  p99 {ours.p99_ms:.1f} ms")
    print(f"baseline     {baseline.per_second:8,.0f} requests/s (an app that does nothing)")
    print(f"ratio        {ours.per_second / baseline.per_second:8.2f}   refused {ours.refused}")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection: asyncpg.Connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def consumer(amqp_url: str, database_url: str, role: RunningRole) -> None:
    """Consumes messages that are queued before the consumer starts."""
    echo = Queue("bench.echo", events=(PaymentSucceeded,))
    await declare_at(amqp_url, [echo])
    publisher = Publisher(amqp_url, name="bench", timeout=60)
    for start in range(0, EVENTS, 500):
        await asyncio.gather(*(publisher.publish(to_message(_paid())) for _ in range(min(500, EVENTS - start))))
    await publisher.close()

    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=32)
        queue = await channel.get_queue(echo.name)
        began, received = time.perf_counter(), 0
        async with queue.iterator() as messages:
            async for message in messages:
                await message.ack()
                received += 1
                if received == EVENTS:
                    break
        baseline = EVENTS / (time.perf_counter() - began)
        await queue.delete(if_unused=False, if_empty=False)

    async with connected(database_url) as db:
        await asyncio.to_thread(role.start)
        await until(lambda: _handled(db, 1), seconds=60)
        began = time.perf_counter()
        await until(lambda: _handled(db, EVENTS), seconds=600)
        ours = EVENTS / (time.perf_counter() - began)
    print(f"enrollment   {ours:8,.0f} events/s (facts, enrollment, inbox and outbox, one commit per event)")
    print(f"baseline     {baseline:8,.0f} messages/s (a client that only acknowledges)")
    print(f"ratio        {ours / baseline:8.2f}")


async def _handled(db: asyncpg.Connection, events: int) -> bool:
    return bool(await db.fetchval("SELECT count(*) FROM inbox") >= events)


def _paid() -> Envelope[Event]:
    student = uuid4()
    event = PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{student}"),
        purchase_id=uuid4(),
        student_id=student,
        program=Program(slug="cpr", id="cpr"),
        amount=usd(57_500),
    )
    return envelope(f"evt_{student}", event)


def main() -> None:
    (port,) = free_ports(1)
    baseline = Process(Command(name="baseline", argv=[sys.executable, "-c", BASELINE, str(port)], env=dict(os.environ)))
    with postgres() as database_server, rabbitmq() as broker:
        gateway_db, enrollments_db = (
            database_server.create_database("bench_gateway"),
            database_server.create_database("bench"),
        )
        env = {"AMQP_URL": broker.url, "STRIPE_WEBHOOK_SECRETS": stripe.SECRET, "STRIPE_LIVEMODE": "false"}
        migrate("webhook_gateway", {**env, **logins(gateway_db)})
        migrate("enrollment", {**env, **logins(enrollments_db)})
        api = RunningRole("webhook_gateway", "api", {**env, "DATABASE_URL": gateway_db.api_url})
        enrollments = RunningRole("enrollment", "consumers", {**env, "DATABASE_URL": enrollments_db.url})
        try:
            baseline.start()
            api.start().wait_ready()
            await_port(port)
            asyncio.run(gateway(f"http://127.0.0.1:{port}", api.url))
            api.stop()
            asyncio.run(consumer(broker.url, enrollments_db.url, enrollments))
        finally:
            for process in (baseline, api, enrollments):
                process.stop()


if __name__ == "__main__":
    main()
