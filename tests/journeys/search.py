"""A search over everything that the system stores: tables, queues and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module

import aio_pika
import asyncpg
from tests.journeys.harness import School

from devstack.services import SERVICES


async def occurrences(school: School, *needles: str) -> dict[str, set[str]]:
    """Where each of these texts is found: tables, queues and logs, by needle. Without those that are nowhere."""
    found: dict[str, set[str]] = {}
    async for place, text in _everything(school):
        for needle in needles:
            # bytea columns are printed in hexadecimal
            if needle.lower() in text.lower() or needle.encode().hex() in text:
                found.setdefault(needle, set()).add(place)
    return found


async def _everything(school: School) -> AsyncIterator[tuple[str, str]]:
    for service in SERVICES:
        async for each in _tables(school, service.package):
            yield each
        log = school.stack.folder / "logs" / f"{service.package}.log"
        yield f"log of {service.package}", log.read_text()
    async for each in _queues(school):
        yield each


async def _tables(school: School, package: str) -> AsyncIterator[tuple[str, str]]:
    """With the worker's login, which row-level security hides nothing from."""
    connection = await asyncpg.connect(school.stack.databases[package].url)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        for (table,) in tables:
            for (row,) in await connection.fetch(f'SELECT t::text FROM "{table}" AS t'):
                yield f"{package}.{table}", row
    finally:
        await connection.close()


async def _queues(school: School) -> AsyncIterator[tuple[str, str]]:
    """Every message that waits, and every dead letter. They go back when the channel is closed."""
    async with await aio_pika.connect(school.stack.amqp_url) as connection:
        for service in SERVICES:
            for queue in import_module(f"{service.package}.topology").QUEUES:
                for name in (queue.name, queue.dead):
                    async with connection.channel() as channel:
                        found = await channel.get_queue(name)
                        for _ in range(found.declaration_result.message_count or 0):
                            message = await found.get(fail=False)
                            if message is not None:
                                yield name, f"{message.headers} {message.body.decode(errors='replace')}"
