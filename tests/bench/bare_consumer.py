"""What a consumer costs at least: one transaction per message, without a framework and without a decision.

Run as a process of its own: `python -m tests.bench.bare_consumer QUEUE MESSAGES`, with AMQP_URL and DATABASE_URL.
Prints messages per second, measured between the first and the last tenth.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from uuid import UUID, uuid4

import aio_pika
import asyncpg
from aio_pika.abc import AbstractIncomingMessage

PREFETCH = 32
CONNECTIONS = 10
TABLES = """
    CREATE TABLE IF NOT EXISTS bare_inbox (event_id text PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE IF NOT EXISTS bare_facts (event_id text PRIMARY KEY, purchase_id text NOT NULL, body jsonb NOT NULL);
    CREATE INDEX IF NOT EXISTS bare_facts_purchase_id ON bare_facts (purchase_id);
    CREATE TABLE IF NOT EXISTS bare_rows (id uuid PRIMARY KEY, status text NOT NULL, revision int NOT NULL);
    CREATE TABLE IF NOT EXISTS bare_outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL UNIQUE, headers jsonb NOT NULL,
        body bytea NOT NULL, published_at timestamptz
    );
"""
INBOX = "INSERT INTO bare_inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING"
FACT = "INSERT INTO bare_facts (event_id, purchase_id, body) VALUES ($1, $2, $3)"
ROW = """
    INSERT INTO bare_rows (id, status, revision) VALUES ($1, 'active', 1)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, revision = bare_rows.revision + 1
"""
OUTBOX = "INSERT INTO bare_outbox (key, headers, body) VALUES ($1, $2, $3)"


async def consume(queue: str, messages: int) -> float:
    done, first_at, last_at = 0, 0.0, 0.0
    finished = asyncio.Event()
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:

        async def handle(message: AbstractIncomingMessage) -> None:
            nonlocal done, first_at, last_at
            headers = {name: str(value) for name, value in message.headers.items()}
            event_id, subject = headers["cloudEvents:id"], headers["cloudEvents:subject"]
            async with pool.acquire() as db, db.transaction():
                if await db.execute(INBOX, event_id) == "INSERT 0 1":
                    await db.execute(FACT, event_id, subject, message.body.decode())
                    await db.execute(ROW, UUID(subject))
                    await db.execute(OUTBOX, str(uuid4()), json.dumps(headers), message.body)
            await message.ack()
            done += 1
            if done == messages // 10:
                first_at = time.perf_counter()
            if done == messages * 9 // 10:
                last_at = time.perf_counter()
                finished.set()

        connection = await aio_pika.connect(os.environ["AMQP_URL"])
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            consumed = await channel.get_queue(queue, ensure=False)
            tag = await consumed.consume(handle)
            await finished.wait()
            await consumed.cancel(tag)
    return (messages * 9 // 10 - messages // 10) / (last_at - first_at)


def main() -> None:
    try:
        import uvloop
    except ImportError:
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with runner:
        print(runner.run(consume(sys.argv[1], int(sys.argv[2]))))


if __name__ == "__main__":
    main()
