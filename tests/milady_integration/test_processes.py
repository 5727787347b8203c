"""The service as it runs: one process with all roles, on a real broker, through an outage of Milady."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aio_pika
import httpx
import pytest
from pydantic import SecretStr, ValidationError
from tests.databases import logins
from tests.milady_integration.harness import KEY, Sandbox, Service, Student, envelope
from tests.processes import RunningRole
from tests.tokens import bearer
from tests.waiting import until

from contracts.envelope import parse
from contracts.milady_integration import MiladyEvent
from contracts.people import Program
from contracts.registry import EVENT_TYPES
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from milady_integration.settings import RelaySettings
from milady_integration.topology import PUBLISHES, QUEUES
from testkit.postgres_server import Database
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

EVENTS = Queue("test.milady-integration-events", events=PUBLISHES)
BARBER = Program(slug="barber-apprenticeship", id="prog-barber", name="Barber Apprenticeship", provider="milady")


@pytest.mark.usefixtures("no_old_messages")
async def test_an_outage_of_milady_ends_with_everybody_enrolled_once(
    service: Service, sandbox: Sandbox, milady_database: Database, rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    stayers, leavers = [Student(BARBER) for _ in range(20)], [Student(BARBER) for _ in range(5)]
    everybody = stayers + leavers
    env = {
        **logins(milady_database),
        "AMQP_URL": rabbit_server.url,
        "MILADY_API_BASE": sandbox.url,
        "MILADY_API_KEY": KEY,
        "MILADY_RETRY_LONGEST_SECONDS": "0.5",
    }
    await declare_at(rabbit_server.url, [*QUEUES, EVENTS])
    sandbox.faults({"kind": "status", "status": 503})
    running = RunningRole("milady_integration", "all", env, log=tmp_path / "log")
    running.start()
    publisher = Publisher(rabbit_server.url, name="test")
    try:
        events = [envelope(event) for student in everybody for event in (student.paid(), student.paid())]
        events += [envelope(student.refunded()) for student in leavers]
        events += [envelope(student.starts()) for student in stayers]
        events.reverse()
        await asyncio.gather(*(publisher.publish(to_message(event)) for event in events + events))
        wait_all_ready([running])

        async def all_handled() -> bool:
            ids = [event.id for event in events]
            return len(await service.rows("SELECT 1 FROM inbox WHERE event_id = ANY(:ids)", ids=ids)) == len(ids)

        await until(all_handled, seconds=20)

        async def requested() -> bool:
            return len(sandbox.requests()) >= 5

        await until(requested, what="the relay sends requests to Milady")
        sandbox.faults()

        async def all_done() -> bool:
            statuses = [await service.status(student) for student in everybody]
            return statuses == ["enrolled"] * len(stayers) + ["withdrawn"] * len(leavers)

        await until(all_done, seconds=30)
        assert all(sandbox.enrollments(student.id) == ["active"] for student in stayers)
        assert all("active" not in sandbox.enrollments(student.id) for student in leavers)

        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            mine = (await client.get(f"{running.url}/api/milady/mine", headers=bearer(stayers[0].id))).json()
        assert [item["status"] for item in mine["items"]] == ["enrolled"]

        async def all_published() -> bool:
            return not await service.rows(
                "SELECT 1 FROM outbox_due JOIN outbox_messages USING (id) WHERE exchange = 'bursar.events'"
            )

        await until(all_published)
    finally:
        stop_all([running])
        await publisher.close()

    published: Counter[tuple[str, str]] = Counter()
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        queue = await (await connection.channel()).get_queue(EVENTS.name)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            event = parse(message.headers, message.body, EVENT_TYPES).data
            if isinstance(event, MiladyEvent):
                published[str(event.student_id), event.type] += 1
    assert {published[str(student.id), "milady.failed.v1"] for student in everybody} == {0}, "an outage is no failure"
    assert {published[str(student.id), "milady.enrolled.v1"] for student in stayers} == {1}


def test_only_a_relay_in_api_mode_needs_the_api_key() -> None:
    urls = {"database_url": SecretStr("postgresql://x"), "amqp_url": SecretStr("amqp://x")}
    assert RelaySettings.model_validate({**urls, "milady_mode": "manual"}).milady_api_key is None
    with pytest.raises(ValidationError, match="MILADY_API_KEY"):
        RelaySettings.model_validate(urls)
