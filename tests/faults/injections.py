"""Faults, injected into a running system while purchases are made. Each one ends by itself, and leaves nothing broken.

Each returns how many faults it has injected. See `groups` for how often.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence

import aio_pika
import asyncpg
from tests.journeys.harness import School
from tests.journeys.test_reconciliation import endpoint_off, impatient_reconciler

import enrollment.topology
import notifications.topology
from testkit.postgres_server import PostgresServer
from testkit.processes import Process
from testkit.rabbit_server import RabbitServer
from testkit.smtp import Fault

CONSUMERS = ("enrollment", "instructor_assignment", "milady_integration", "notifications", "checkout", "reporting")
SERVICES = ("webhook_gateway", *CONSUMERS)
READY_SECONDS = 180.0
COPIES = 1000


# --- processes --------------------------------------------------------------------------------------------------------


async def kill_services(names: Sequence[str], school: School, number: int) -> int:
    """SIGKILL of one after the other, at any moment; each is started again at once."""
    for n in range(number):
        process = school.stack.processes[names[n % len(names)]]
        await asyncio.sleep(random.random())
        await asyncio.to_thread(process.kill)
        await start(process)
    return number


async def terminate_consumers(school: School, number: int) -> int:
    """SIGTERM: each drains, and is started again at once."""
    for n in range(number):
        process = school.stack.processes[CONSUMERS[n % len(CONSUMERS)]]
        assert await asyncio.to_thread(process.stop, 60) == 0, process.describe_death()
        await start(process)
    return number


async def kill_everything(school: School, number: int) -> int:
    """All services at the same moment."""
    processes = [school.stack.processes[name] for name in SERVICES]
    for _ in range(number):
        await asyncio.sleep(2 * random.random())
        for process in processes:
            await asyncio.to_thread(process.kill)
        for process in processes:
            process.start()
        for process in processes:
            await asyncio.to_thread(process.wait_ready, READY_SECONDS)
    return number * len(processes)


async def start(process: Process) -> None:
    process.start()
    await asyncio.to_thread(process.wait_ready, READY_SECONDS)


# --- stores -----------------------------------------------------------------------------------------------------------


async def stop_stores(broker: bool, database: bool, school: School, number: int, *, seconds: float = 3.0) -> int:
    """SIGKILL of the broker, the database, or both, which then stay away for some seconds."""
    stores = list[RabbitServer | PostgresServer]()
    if broker:
        stores.append(school.stack.rabbit)
    if database:
        stores.append(school.stack.postgres)
    for _ in range(number):
        for store in stores:
            await asyncio.to_thread(store.kill)
        await asyncio.sleep(seconds)
        for store in stores:
            await asyncio.to_thread(store.start)
        await asyncio.sleep(3)
    return number * len(stores)


async def restart_broker_with_full_queues(school: School, number: int) -> int:
    """Nobody consumes while purchases are made; the broker restarts; then all consumers start at once."""
    consumers = [school.stack.processes[name] for name in CONSUMERS if name != "checkout"]
    for _ in range(number):
        for process in consumers:
            await asyncio.to_thread(process.stop, 60)
        await asyncio.sleep(3)
        await asyncio.to_thread(school.stack.rabbit.stop)
        await asyncio.to_thread(school.stack.rabbit.start)
        for process in consumers:
            process.start()
        for process in consumers:
            await asyncio.to_thread(process.wait_ready, READY_SECONDS)
    return number


async def cut_database_connections(school: School, number: int) -> int:
    """As in a failover: every connection ends, in the middle of transactions too."""
    for _ in range(number):
        await as_admin(
            school,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        await asyncio.sleep(0.3)
    return number


async def make_database_read_only(school: School, number: int) -> int:
    """As a standby that was connected to by mistake, and is promoted."""
    for _ in range(number):
        await as_admin(school, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await asyncio.sleep(2)
        await as_admin(school, "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
        await asyncio.sleep(2)
    return number


async def as_admin(school: School, *statements: str) -> None:
    settings = {"default_transaction_read_only": "off"}
    connection = await asyncpg.connect(school.stack.postgres.admin_url, server_settings=settings)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


# --- messages ---------------------------------------------------------------------------------------------------------


async def copy_webhooks(school: School, number: int) -> int:
    """One event COPIES times, 32 of them at once."""
    limit = asyncio.Semaphore(32)
    for _ in range(number):
        events = (await school.stripe("/events?limit=1000", method="GET"))["events"]
        paid = [each for each in events if each["type"] == "checkout.session.completed"]
        if not paid:
            await asyncio.sleep(0.5)
            continue
        event = json.loads(paid[-1]["body"])

        async def deliver(event: object = event) -> None:
            async with limit:
                await school.webhook(dict(event))  # type: ignore[call-overload]

        await asyncio.gather(*(deliver() for _ in range(COPIES)))
    return number * COPIES


async def publish_undecodable(school: School, number: int) -> int:
    """Messages that no consumer can read, into two queues."""
    connection = await aio_pika.connect(school.stack.amqp_url)
    async with connection:
        channel = await connection.channel()
        for n in range(number):
            queue = (enrollment.topology.PAYMENTS, notifications.topology.PAYMENTS)[n % 2]
            message = aio_pika.Message(b"\xff not JSON", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=queue.name)
            await asyncio.sleep(0.2)
    return number


async def disorder_webhooks(school: School, number: int) -> int:
    """Stripe delivers each event three times, in random order, while services are killed."""
    await school.stripe("/faults", {"duplicate": 2, "reorder_window": 20, "reorder_hold_seconds": 2}, method="PUT")
    try:
        return await kill_services(SERVICES, school, number)
    finally:
        await school.stripe("/faults", {}, method="PUT")
        await school.stripe("/held/release")


async def disable_endpoint(school: School, number: int) -> int:
    """Stripe delivers nothing meanwhile; what happened is read from its events."""
    async with impatient_reconciler(school):
        for _ in range(number):
            async with endpoint_off(school):
                await asyncio.sleep(4)
        await asyncio.sleep(4)  # the reconciler reads what was missed last
    return number


# --- outside systems --------------------------------------------------------------------------------------------------


async def fail_outside_systems(school: School, number: int) -> int:
    """Stripe answers 500 and 429 and loses answers; the provider acts and then times out, is slow, redirects; the mail
    server refuses, is away, and closes the connection without storing."""
    faults = 0
    for _ in range(number):
        await school.stripe("/faults", {"fail_requests": 3, "limit_requests": 3, "lose_answers": 3}, method="PUT")
        provider = [
            {"kind": "acts_then_times_out", "seconds": 0, "requests": 2},
            {"kind": "status", "status": 503, "requests": 2},
            {"kind": "redirect", "location": "http://169.254.169.254/", "requests": 1},
            {"kind": "rate_limit", "retry_after": "1", "requests": 1},
        ]
        await school.milady("PUT", "/faults", {"faults": provider})
        school.stack.mail.order(Fault.REFUSE, times=5)
        await asyncio.sleep(3)
        await asyncio.to_thread(school.stack.mail.stop)
        await asyncio.sleep(2)
        await asyncio.to_thread(school.stack.mail.start)
        faults += 9 + 6 + 5 + 1
    await school.stripe("/faults", {}, method="PUT")
    await school.milady("PUT", "/faults", {"faults": []})
    return faults
