"""The stores and the processes of one run: private servers, every service migrated, roles started and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import asyncpg
import httpx
from tests.databases import logins
from tests.processes import RunningRole, migrate
from tests.webhook_gateway import stripe_events

import checkout.topology
import enrollment.topology
import instructor_assignment.topology
import milady_integration.topology
import notifications.topology
import webhook_gateway.topology
from kit.messaging.topology import Queue
from testkit.engines import scratch
from testkit.postgres_server import Database, PostgresServer
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer
from testkit.servers import postgres, rabbitmq

CONSUMERS: Mapping[str, Sequence[Queue]] = {
    "enrollment": enrollment.topology.QUEUES,
    "instructor_assignment": instructor_assignment.topology.QUEUES,
    "milady_integration": milady_integration.topology.QUEUES,
    "notifications": notifications.topology.QUEUES,
    "checkout": checkout.topology.QUEUES,
}
"""The services that are measured as consumers, and their queues."""
GATEWAY = "webhook_gateway"
QUEUES = {**CONSUMERS, GATEWAY: webhook_gateway.topology.QUEUES}

_STRIPE = {"STRIPE_API_KEY": "sk_test_bench", "STRIPE_API_BASE": "http://127.0.0.1:1"}
_SETTINGS: Mapping[str, Mapping[str, str]] = {
    GATEWAY: {"STRIPE_WEBHOOK_SECRETS": stripe_events.SECRET, "STRIPE_LIVEMODE": "false", **_STRIPE},
    "checkout": {
        **_STRIPE,
        "FRONTEND_URL": "http://localhost:3000",
        "PUBLIC_URL": "http://localhost:8110",
        "PAY_LINK_SECRET": "a-secret-of-the-bench-with-32-bytes-or-more",
    },
    "milady_integration": {"MILADY_API_BASE": "http://127.0.0.1:1", "MILADY_API_KEY": "milady_test"},
    "notifications": {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": "1",
        "MAIL_FROM": "enrollment@school.example.com",
        "ADMIN_EMAILS": "admin@school.example.com",
        "PORTAL_URL": "http://localhost:3000",
    },
}


@dataclass(frozen=True)
class Stack:
    """`databases`: by package, each migrated. All queues are declared."""

    postgres: PostgresServer
    rabbitmq: RabbitServer
    databases: Mapping[str, Database]
    logs: Path

    @property
    def amqp_url(self) -> str:
        return self.rabbitmq.url

    def environment(self, package: str, role: str = "") -> dict[str, str]:
        """As in production: the API has a login of its own."""
        database = self.databases[package]
        found = {**_SETTINGS.get(package, {}), **logins(database), "AMQP_URL": self.amqp_url, "LOG_LEVEL": "WARNING"}
        return found | {"DATABASE_URL": database.api_url} if role == "api" else found

    @contextmanager
    def running(self, package: str, role: str, **environment: str) -> Iterator[RunningRole]:
        """The role in a process of its own, ready."""
        with self.running_many(package, role, 1, **environment) as (process,):
            yield process

    @contextmanager
    def running_many(self, package: str, role: str, many: int, **environment: str) -> Iterator[Sequence[RunningRole]]:
        """The role in several processes, started at once; ready."""
        env = {**self.environment(package, role), **environment}
        logs = [self.logs / f"{package}.{role}.{number}.log" for number in range(many)]
        processes = [RunningRole(package, role, env, log=log) for log in logs]
        try:
            for each in processes:
                each.start()
            wait_all_ready(processes)
            yield processes
        finally:
            stop_all(processes)

    @asynccontextmanager
    async def connected(self, package: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection with the owner's login."""
        connection: asyncpg.Connection = await asyncpg.connect(self.databases[package].owner_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def purge(self) -> None:
        """Empties every queue."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            for queue in (queue for queues in QUEUES.values() for queue in queues):
                for name in (queue.name, queue.dead):
                    await (await channel.get_queue(name, ensure=False)).purge()

    async def declare(self, name: str) -> None:
        """An empty queue of the same type as those of the services."""
        connection = await aio_pika.connect(self.amqp_url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(name)
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})


@contextmanager
def started() -> Iterator[Stack]:
    """Servers that wait for the disk, as in production. Everything is removed at the end."""
    with (
        scratch("bursar-bench-") as logs,
        postgres(durable=True) as database_server,
        rabbitmq(durable=True) as broker,
    ):
        databases = {package: database_server.create_database(f"bench_{package}") for package in QUEUES}
        stack = Stack(database_server, broker, databases, logs)
        for package in QUEUES:
            migrate(package, stack.environment(package, "migrate"))
        yield stack


async def total(role: RunningRole, metric: str) -> Mapping[tuple[tuple[str, str], ...], float]:
    """The samples of a metric of the process, by their labels."""
    # without verify=False, each client reads all certificates: as much CPU as a hundred events
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
        page = (await client.get(f"{role.internal_url}/metrics")).text
    found = {}
    for labels, value in re.findall(rf"^{metric}(?:\{{(.*)\}})? (\S+)$", page, re.MULTILINE):
        found[tuple(re.findall(r'(\w+)="([^"]*)"', labels))] = float(value)
    return found


async def rate(count: Any, target: int, *, seconds: float) -> float:
    """`count` per second, between its first and its last tenth; at most `seconds` are measured."""
    samples: list[tuple[float, int]] = []
    clock = asyncio.get_running_loop().time
    deadline = clock() + 60 + seconds
    began = 0.0
    while True:
        done = await count()
        now = clock()
        if done >= target // 10:
            began = began or now
            samples.append((now, done))
        if done >= target * 0.9 or (began and now > began + seconds):
            break
        if now > deadline:
            raise TimeoutError(f"{done} of {target} after {deadline:.0f} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.sleep(0.5)
    (first_at, first), (last_at, last) = samples[0], samples[-1]
    return (last - first) / (last_at - first_at)
