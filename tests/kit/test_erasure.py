"""An erasure in one service: what is stored loses personal data, and no event brings it back."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.deliveries import AT, envelope
from tests.kit.totals import projection, rows
from tests.waiting import until

from contracts.envelope import Envelope
from contracts.erasure import StudentErasureRequested
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Contact
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from kit.jobs.jobs import Job, NewJob, put_all
from kit.messaging import outbox
from kit.messaging.batches import Batches
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.failed_messages import FailedMessages
from kit.messaging.publishers import Publishers
from kit.messaging.subscriber import carries, projects
from kit.messaging.topology import Queue, declare_at
from kit.personal_data import erased, erasure
from kit.personal_data.declaration import Person, PersonalData
from kit.personal_data.erasure import erase
from kit.personal_data.erasure_requests import ErasureJob, note_erasure
from kit.runtime.failures import Permanent
from testkit.rabbit_server import RabbitServer

ANN, BEN = UUID(int=1), UUID(int=2)
NOBODY = PersonalData()
STORED = ("facts", "outbox_messages", "jobs", "idempotency_keys")


def paid(number: int, student: UUID | None, *, reference: str) -> Envelope[PaymentSucceeded]:
    name = "Ann Vanish" if student in (ANN, None) else "Ben Stays"
    contact = Contact(email=f"{name.split()[1].lower()}@example.com", name=name)
    event = PaymentSucceeded(
        refs=PaymentRefs(payment_intent=reference), student_id=student, amount=usd(number), contact=contact
    )
    return envelope(f"evt_{number}", event)  # type: ignore[return-value]


def requested(*identifiers: str) -> Envelope[StudentErasureRequested]:
    event = StudentErasureRequested(student_id=ANN, identifiers=(str(ANN), *identifiers))
    return envelope("request", event, subject=str(ANN))  # type: ignore[return-value]


async def note(database: Database, *identifiers: str) -> None:
    async with database.transaction() as db:
        await note_erasure(requested(*identifiers), UnitOfWork(db=db, source="test", now=AT))


async def run(database: Database, *identifiers: str) -> dict[str, int]:
    async with database.transaction() as db:
        person = Person(id=ANN, identifiers=frozenset({str(ANN), *identifiers}))
        return dict(await erase(db, NOBODY, person))


async def stored(database: Database) -> str:
    found = []
    for table in STORED:
        found += [str(row) for (row,) in await rows(database, f"SELECT t::text FROM {table} AS t")]
    return "\n".join(found)


async def receive(database: Database, *events: Envelope[Any]) -> None:
    """As the queue's consumer does, in one batch."""
    batches = Batches(database, queue="test.totals", service="test")
    filter = projects(projection(), PaymentSucceeded)

    async def unused(event: Envelope[Any], uow: UnitOfWork) -> None:
        raise AssertionError("events are applied together")

    await asyncio.gather(*(batches.process(event, unused, filter) for event in events))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.permutations(["note", "erase", 1, 2, 3, 4, 5]).filter(lambda steps: steps.index("note") < steps.index("erase"))
)
async def test_no_order_of_events_and_erasure_leaves_a_contact(with_totals: Database, steps: list[str | int]) -> None:
    """The events of two payments, some with the student and some with the payment's id only; one is another's."""
    tables = "totals, facts, fact_keys, inbox, outbox_messages, outbox_due, jobs, erased_identifiers"
    async with with_totals.transaction() as db:
        await db.execute(text(f"TRUNCATE {tables}"))
    events = {
        1: paid(1, ANN, reference="pi_ann1"),
        2: paid(2, None, reference="pi_ann1"),
        3: paid(3, ANN, reference="pi_ann2"),
        4: paid(4, None, reference="pi_ann2"),
        5: paid(5, BEN, reference="pi_ben1"),
    }
    for step in steps:
        match step:
            case "note":
                await note(with_totals, "pi_ann1", "pi_ann2")
            case "erase":
                await run(with_totals, "pi_ann1", "pi_ann2")
            case int():
                await receive(with_totals, events[step], events[step])
    found = await stored(with_totals)
    assert "vanish" not in found.lower()
    assert "Ben Stays" in found
    sums = await rows(with_totals, "SELECT reference, amount FROM totals ORDER BY 1")
    assert sums == [("pi_ann1", 3), ("pi_ann2", 7), ("pi_ben1", 5)]


async def test_messages_payloads_and_answers_lose_personal_data(database: Database) -> None:
    async with database.transaction() as db:
        await outbox.put_all(db, [outbox.to_message(paid(1, ANN, reference="pi_ann1"))])
        await outbox.put_all(db, [outbox.to_message(paid(2, BEN, reference="pi_ben1"))])
        payload = {"student_id": str(ANN), "name": "Ann Vanish"}
        await put_all(db, [NewJob(kind="mail", key="1", payload=payload)])
        await db.execute(text("UPDATE jobs SET done_at = now()"))
        await db.execute(
            text("INSERT INTO idempotency_keys (caller, key, request_hash, body) VALUES (:id, 'k', 'h', '{}')"),
            {"id": f"student:{ANN}"},
        )
    changed = await run(database)
    assert changed == {"outbox_messages": 1, "jobs": 1, "idempotency_keys": 1}
    found = await stored(database)
    assert b"Vanish".hex() not in found and "Vanish" not in found and b"Ben Stays".hex() in found
    assert await run(database) == {}


@pytest.mark.parametrize("text", ["", "a", "paid"])
def test_a_text_that_others_have_identifies_nobody(text: str) -> None:
    with pytest.raises(ValueError, match="identifiers"):
        Person(id=ANN, identifiers=frozenset({str(ANN), text}))


async def test_no_statement_searches_more_than_a_part_of_a_table(
    with_totals: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows there are, none reaches the database's timeout."""
    monkeypatch.setattr(erasure, "CHUNK", 2)
    events = [paid(number, ANN, reference=f"pi_ann{number}") for number in range(1, 6)]
    await receive(with_totals, *events, paid(9, BEN, reference="pi_ben1"))
    async with with_totals.transaction() as db:
        await outbox.put_all(db, [outbox.to_message(each) for each in events])
        parts = [bounds async for bounds in erasure.chunks(db, "outbox_messages", "id", 0)]
    assert len(parts) >= 3
    changed = await run(with_totals, *(f"pi_ann{number}" for number in range(1, 6)))
    assert (changed["facts"], changed["outbox_messages"]) == (5, 5)
    assert "Vanish" not in await stored(with_totals)


async def test_identifiers_are_added_only_when_no_batch_is_left_that_does_not_see_them(with_totals: Database) -> None:
    """An event that is in process meanwhile commits before, so that the erasure finds what it has written."""
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(event: Envelope[Any], uow: UnitOfWork) -> None:
        entered.set()
        await leave.wait()
        await projection().apply(uow, event)

    batches = Batches(with_totals, queue="q", service="test")
    event = paid(1, ANN, reference="pi_ann1")
    waiting = asyncio.create_task(batches.process(event, slow, carries(PaymentSucceeded)))
    await entered.wait()
    noting = asyncio.create_task(note(with_totals, "pi_ann1"))

    async def waits() -> bool:
        query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool((await rows(with_totals, query))[0][0])

    await until(waits, what="the erasure to wait")
    leave.set()
    await asyncio.gather(waiting, noting)
    assert await run(with_totals, "pi_ann1") == {"facts": 1}
    assert "Vanish" not in await stored(with_totals)


async def test_dead_letters_lose_personal_data_and_can_still_be_replayed(
    database: Database, rabbit_server: RabbitServer, publisher: Publisher, queue_name: str
) -> None:
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    await declare_at(rabbit_server.url, [queue])
    events = [paid(1, ANN, reference="pi_ann1"), paid(2, BEN, reference="pi_ben1")]
    async with await aio_pika.connect(rabbit_server.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(queue.exchange, ensure=False)
        for event in events:
            message = aio_pika.Message(event.body(), headers={**event.headers(), "bursar-reason": "broken"})
            await exchange.publish(message, queue.dead)
    job = ErasureJob(NOBODY, rabbit_server.url, publisher, [queue])
    payload = {"person_id": str(ANN), "identifiers": [str(ANN)], "request": "r", "number": 1}
    await job.perform(Job(id=uuid4(), kind="erasure", key="k", payload=payload, cause=None, attempt=1))
    async with dead_letters(rabbit_server.url, queue.name) as letters:
        found = {letter.event_id: letter for letter in await letters.letters()}
    assert found.keys() == {"evt_1", "evt_2"}
    assert b"Vanish" not in found["evt_1"].body and json.loads(found["evt_1"].body)["amount"]["amount"] == 1
    assert found["evt_1"].reason == "broken"
    assert b"Ben Stays" in found["evt_2"].body


@pytest.mark.parametrize("error", [RuntimeError("a bug"), Permanent("broken")])
async def test_what_fails_after_the_erasure_is_kept_without_personal_data(
    database: Database, rabbit_server: RabbitServer, publisher: Publisher, queue_name: str, error: Exception
) -> None:
    """Rescheduled, or dead-lettered; that of another person stays whole."""
    queue = Queue(queue_name, events=(PaymentSucceeded,))
    await declare_at(rabbit_server.url, [queue])
    await note(database, "pi_ann1")
    failed = FailedMessages(Publishers(amqp_url=rabbit_server.url, database=database), database, publisher)
    async with await aio_pika.connect(rabbit_server.url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(queue.exchange, ensure=False)
        for event in (paid(1, None, reference="pi_ann1"), paid(2, BEN, reference="pi_ben1")):
            await exchange.publish(aio_pika.Message(event.body(), headers={**event.headers()}), queue.name)
            message = await (await channel.get_queue(queue.name)).get()
            assert message is not None
            await failed.keep(queue, message, error)
            await message.ack()
    bodies = {bytes(body) for (body,) in await rows(database, "SELECT body FROM outbox_messages")}
    async with dead_letters(rabbit_server.url, queue.name) as letters:
        bodies |= {letter.body for letter in await letters.letters()}
    text = b"".join(bodies)
    assert b"pi_ann1" in text and b"Vanish" not in text and b"Ben Stays" in text


async def test_an_erased_person_is_found(database: Database) -> None:
    await note(database)
    async with database.transaction() as db:
        assert await erased.is_erased(db, ANN)
        assert not await erased.is_erased(db, BEN)
