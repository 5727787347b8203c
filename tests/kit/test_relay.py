"""Outbox and relay: written with the commit, published at least once, marked only after the confirm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from tests.kit.events import paid
from tests.metrics import total
from tests.waiting import until

from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import relay as relay_module
from kit.messaging.broker import BrokerDown, Publisher
from kit.messaging.outbox import CHANNEL, OutgoingMessage, put, put_all, wake
from kit.messaging.relay import Relay, keep_publishing
from kit.messaging.topology import Queue, declare_at
from kit.messaging.wakeup import Wakeup
from kit.runtime.backoff import Backoff
from testkit.rabbit_server import RabbitServer


def message(key: str, queue: str) -> OutgoingMessage:
    return OutgoingMessage(key=key, exchange="", routing_key=queue, body=key.encode())


async def bodies(rabbit: RabbitServer, queue: str) -> list[str]:
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        source = await (await connection.channel()).get_queue(queue)
        found = []
        while (each := await source.get(fail=False, no_ack=True)) is not None:
            found.append(each.body.decode())
        return sorted(found)


async def unpublished(database: Database) -> int:
    async with database.transaction() as db:
        count = await db.scalar(text("SELECT count(*) FROM outbox_due"))
    return int(count or 0)


@asynccontextmanager
async def relaying(database: Database, publisher: Publisher, *, replicas: int = 1) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(Relay(database, publisher).run(stop)) for _ in range(replicas)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def test_a_message_that_is_rolled_back_is_never_published(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    with pytest.raises(RuntimeError):
        async with database.transaction() as db:
            await put(db, message("never", queue_name))
            raise RuntimeError("rolled back")
    async with database.transaction() as db:
        await put(db, message("committed", queue_name))
        await put(db, message("committed", queue_name))
    async with relaying(database, publisher):

        async def published() -> bool:
            return await unpublished(database) == 0

        await until(published)
    assert await bodies(rabbit_server, queue_name) == ["committed"]


async def test_several_relays_publish_each_row_once(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    keys = [f"m{n:04}" for n in range(1_000)]
    async with database.transaction() as db:
        for key in keys:
            await put(db, message(key, queue_name))
    async with relaying(database, publisher, replicas=3):

        async def published() -> bool:
            return await unpublished(database) == 0

        await until(published)
    assert await bodies(rabbit_server, queue_name) == keys


async def test_a_row_that_is_not_due_waits(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    async with database.transaction() as db:
        await put(db, message("later", queue_name), available_at=datetime.now(UTC) + timedelta(hours=1))
    assert not await Relay(database, publisher).publish_due()
    assert await unpublished(database) == 1


async def test_an_unroutable_message_waits_until_a_queue_is_bound(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    async with database.transaction() as db:
        await put(db, message("early", queue_name))
    failures = total("bursar_publish_failures_total", reason="Unroutable")
    async with relaying(database, publisher):
        await asyncio.sleep(0.5)
        assert await unpublished(database) == 1
        assert total("bursar_publish_failures_total", reason="Unroutable") > failures
        await declare_at(rabbit_server.url, [Queue(queue_name)])

        async def published() -> bool:
            return await unpublished(database) == 0

        await until(published)
    assert await bodies(rabbit_server, queue_name) == ["early"]


async def test_an_unpublishable_message_does_not_block_others(
    rabbit_server: RabbitServer, database: Database, publisher: Publisher, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    async with database.transaction() as db:
        await put(db, OutgoingMessage(key="broken", exchange="", routing_key="ä" * 200, body=b""))
        await put(db, message("fine", queue_name))
    async with relaying(database, publisher):

        async def fine() -> bool:
            return await unpublished(database) == 1

        await until(fine)
    assert await bodies(rabbit_server, queue_name) == ["fine"]
    async with database.transaction() as db:
        last_error = await db.scalar(text("SELECT last_error FROM outbox_due"))
    assert "Unpublishable" in last_error


class Refusing(Publisher):
    """Raises what no publisher should, for one message."""

    async def publish(self, message: OutgoingMessage) -> None:
        if message.key == "broken":
            raise KeyError("unexpected")
        await super().publish(message)


async def test_after_any_error_of_a_message_its_neighbors_are_published(
    rabbit_server: RabbitServer, database: Database, queue_name: str
) -> None:
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    async with database.transaction() as db:
        await put_all(db, [message(key, queue_name) for key in ("before", "broken", "gone", "after")])
        await db.execute(text("DELETE FROM outbox_messages WHERE message_key = 'gone'"))
    publisher = Refusing(rabbit_server.url, name="tests")
    with capture_logs() as logs:
        assert await Relay(database, publisher).publish_due() == 4
    assert {log["key"] for log in logs} == {"broken", None}
    assert await bodies(rabbit_server, queue_name) == ["after", "before"]
    async with database.transaction() as db:
        rows = (await db.execute(text("SELECT attempts, last_error FROM outbox_due"))).all()
    assert sorted(map(tuple, rows)) == [(1, "KeyError"), (1, "Permanent: the message is gone")]
    await publisher.close()


async def test_the_delay_of_a_message_grows_with_its_failures(
    database: Database, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "RETRY", Backoff(first=timedelta(hours=1), longest=timedelta(days=100)))
    async with database.transaction() as db:
        await put_all(db, [message(key, "nowhere") for key in ("first failure", "fifth failure")])
        await db.execute(text("UPDATE outbox_due SET attempts = 4 WHERE id = (SELECT max(id) FROM outbox_due)"))
        await db.execute(text("DELETE FROM outbox_messages"))
    with capture_logs() as logs:
        await Relay(database, publisher).publish_due()
    assert [log["attempts"] for log in logs] == [1, 5]
    async with database.transaction() as db:
        hours = "SELECT attempts, extract(epoch FROM available_at - now())::float8 / 3600 FROM outbox_due ORDER BY id"
        (first, delay), (fifth, longer) = (await db.execute(text(hours))).all()
    assert (first, fifth) == (1, 5)
    assert 0.49 < delay <= 1
    assert 7.99 < longer <= 16


async def test_each_publishing_has_an_id_of_its_own(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    """aiormq matches a returned message to its publishing by the id: two with the same id would be mistaken."""
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    for _ in range(2):
        await publisher.publish(message("same", queue_name))
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        source = await (await connection.channel()).get_queue(queue_name)
        ids = [(await source.get(no_ack=True)).message_id for _ in range(2)]
    assert None not in ids
    assert len(set(ids)) == 2


class Recording(Publisher):
    """Publishes nothing."""

    def __init__(self) -> None:
        super().__init__("amqp://nowhere", name="tests")
        self.keys: list[str] = []

    async def publish(self, message: OutgoingMessage) -> None:
        self.keys.append(message.key)


async def test_a_batch_is_published_in_the_order_in_which_it_was_written(database: Database) -> None:
    keys = [f"m{n:02}" for n in range(60)]
    async with database.transaction() as db:
        await put_all(db, [message(key, "nowhere") for key in keys[30:]])
        await put_all(
            db, [message(key, "nowhere") for key in keys[:30]], available_at=datetime.now(UTC) - timedelta(hours=1)
        )
    publisher = Recording()
    assert await Relay(database, publisher).publish_due() == 60
    assert publisher.keys == keys


async def test_what_concerns_one_subject_arrives_in_its_order(
    rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    """Over one channel: the broker keeps the order of a channel, and of nothing else."""
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    messages = [
        OutgoingMessage(
            key=f"{subject}{number}",
            exchange="",
            routing_key=queue_name,
            body=f"{subject}{number:03}".encode(),
            headers={"cloudEvents:subject": subject},
        )
        for number in range(100)
        for subject in "abcdefgh"
    ]
    await asyncio.gather(*(publisher.publish(each) for each in messages))
    arrived: dict[str, list[str]] = {}
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        source = await (await connection.channel()).get_queue(queue_name)
        while (each := await source.get(fail=False, no_ack=True)) is not None:
            body = each.body.decode()
            arrived.setdefault(body[0], []).append(body)
    assert sum(map(len, arrived.values())) == len(messages)
    assert all(bodies == sorted(bodies) for bodies in arrived.values())


async def test_a_backlog_is_published_by_two_batches_at_a_time(database: Database) -> None:
    stop = asyncio.Event()
    now, most, calls = 0, 0, 0

    async def publish_due() -> int:
        nonlocal now, most, calls
        now, calls = now + 1, calls + 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        if calls == 10:
            stop.set()
        if calls == 3:
            raise RuntimeError("unexpected")
        return 5

    await keep_publishing(publish_due, database.url, stop, channel=CHANNEL, batch=5)
    assert (now, most) == (0, 2)


async def test_the_relay_waits_when_nothing_is_left(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that has found one row is followed by another one soon; two batches at a time end with the backlog."""
    found, stop, calls = [1, 5, 5], asyncio.Event(), 0
    waited: list[bool] = []

    class Waiting(Wakeup):
        async def wait(self, *, found: bool) -> None:
            waited.append(found)
            await asyncio.sleep(0.1)
            if not found:
                stop.set()

    async def publish_due() -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return found.pop(0) if found else 0

    monkeypatch.setattr(relay_module, "Wakeup", Waiting)
    await keep_publishing(publish_due, database.url, stop, channel=CHANNEL, batch=5)
    assert waited == [True, False]
    assert calls == 5


@pytest.mark.parametrize(("error", "has_stack"), [(BrokerDown("away"), False), (KeyError("a bug"), True)])
async def test_only_what_is_no_outage_is_logged_with_its_stack(
    database: Database, error: Exception, has_stack: bool
) -> None:
    stop = asyncio.Event()

    async def publish_due() -> int:
        stop.set()
        raise error

    with capture_logs() as logs:
        await keep_publishing(publish_due, database.url, stop, channel=CHANNEL, batch=5)
    (failed,) = logs
    assert failed["exc_info"] is has_stack


async def test_no_row_is_marked_as_published_during_a_broker_outage(database: Database, queue_name: str) -> None:
    unreachable = Publisher("amqp://guest:guest@127.0.0.1:9/", name="tests", timeout=0.5)
    async with database.transaction() as db:
        await put(db, message("kept", queue_name))
    with pytest.raises(BrokerDown):
        await Relay(database, unreachable).publish_due()
    async with database.transaction() as db:
        rows = await db.execute(text("SELECT attempts, available_at <= now() FROM outbox_due"))
        assert [tuple(row) for row in rows] == [(0, True)], "an outage is no failure of the message"


async def test_new_rows_start_no_attempt_during_an_outage(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that was idle before is still notified of each."""
    hour = timedelta(hours=1)
    monkeypatch.setattr(relay_module, "RETRY_OUTAGE", Backoff(first=hour, longest=hour))
    attempts, stop = 0, asyncio.Event()

    async def publish_due() -> int:
        nonlocal attempts
        attempts += 1
        raise BrokerDown("away")

    relay = asyncio.create_task(keep_publishing(publish_due, database.url, stop, channel=CHANNEL, batch=5))
    for _ in range(20):
        async with database.transaction() as db:
            await wake(db, CHANNEL)
        await asyncio.sleep(0.05)
    stop.set()
    await relay
    assert attempts == 1


async def test_a_broker_with_a_memory_alarm_is_not_flooded(
    rabbit_server: RabbitServer, database: Database, queue_name: str
) -> None:
    """The broker reads nothing during the alarm: messages written to it would arrive later, once per attempt."""
    await declare_at(rabbit_server.url, [Queue(queue_name)])
    publisher = Publisher(rabbit_server.url, name="tests", timeout=1)
    await publisher.ping()
    await asyncio.to_thread(rabbit_server.control, "set_vm_memory_high_watermark", "0.000001")
    try:
        async with database.transaction() as db:
            for n in range(20):
                await put(db, message(f"m{n:02}", queue_name))
        for _ in range(4):
            with pytest.raises(BrokerDown):
                await Relay(database, publisher).publish_due()
        with pytest.raises(BrokerDown):
            await publisher.ping()
        assert await unpublished(database) == 20
    finally:
        await asyncio.to_thread(rabbit_server.control, "set_vm_memory_high_watermark", "0.4")

    async def published() -> bool:
        return await unpublished(database) == 0

    async with relaying(database, publisher):
        await until(published)
    arrived = await bodies(rabbit_server, queue_name)
    assert set(arrived) == {f"m{n:02}" for n in range(20)}
    assert len(arrived) <= 40, "more than the one attempt before the broker has reported its alarm"
    await publisher.close()


async def test_an_event_without_a_cause_needs_a_subject(database: Database) -> None:
    async with database.transaction() as db:
        uow = UnitOfWork(db=db, source="tests", now=datetime.now(UTC))
        with pytest.raises(ValueError, match="subject"):
            await uow.publish(paid("evt").data, id="evt")
