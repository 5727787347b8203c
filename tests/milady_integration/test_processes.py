"""The service as it runs: consumers, relay and API as processes, on a real broker, with Milady down and back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aio_pika
import httpx
import pytest
from pydantic import SecretStr, ValidationError
from tests.milady_integration.service import KEY, Sandbox, Service, Student, envelope, token
from tests.processes import RunningRole, migrate
from tests.waiting import until

from contracts.envelope import parse
from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed, MiladyWithdrawn
from contracts.people import Program
from contracts.registry import EVENT_TYPES
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from kit.messaging.topology import Queue, declare_at
from milady_integration.settings import RelaySettings
from testkit.postgres_server import Database
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer

EAR = Queue("test.milady-integration-ear", events=(MiladyEnrolled, MiladyWithdrawn, MiladyFailed))
BARBER = Program(slug="barber-apprenticeship", id="prog-barber", name="Barber Apprenticeship", provider="milady")


async def test_milady_down_and_back_serves_everybody_once(
    service: Service, sandbox: Sandbox, milady_database: Database, rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    stayers, leavers = [Student(BARBER) for _ in range(20)], [Student(BARBER) for _ in range(5)]
    everybody = stayers + leavers
    env = {"DATABASE_URL": milady_database.url, "AMQP_URL": rabbit_server.url}
    to_milady = {"MILADY_API_BASE": sandbox.url, "MILADY_API_KEY": KEY, "MILADY_RETRY_LONGEST_SECONDS": "0.5"}
    migrate("milady_integration", env)
    await declare_at(rabbit_server.url, [EAR])
    sandbox.faults({"kind": "status", "status": 503})
    log = tmp_path / "log"
    api = RunningRole("milady_integration", "api", {**env, "DATABASE_URL": milady_database.api_url}, log=log)
    consumers = RunningRole("milady_integration", "consumers", env, log=log)
    relay = RunningRole("milady_integration", "relay", {**env, **to_milady}, log=log)
    running = [process.start() for process in (api, consumers, relay)]
    publisher = Publisher(rabbit_server.url, name="test")
    try:
        heard = [envelope(event) for student in everybody for event in (student.paid(), student.paid())]
        heard += [envelope(student.refunded()) for student in leavers]
        heard += [envelope(student.starts()) for student in stayers]
        heard.reverse()
        await asyncio.gather(*(publisher.publish(to_message(each, mandatory=True)) for each in heard + heard))
        wait_all_ready(running)

        async def all_heard() -> bool:
            known = await service.rows("SELECT 1 FROM inbox WHERE event_id = ANY(:ids)", ids=[h.id for h in heard])
            return len(known) == len(heard)

        await until(all_heard, seconds=20)

        async def asked() -> bool:
            return len(sandbox.requests()) >= 5

        await until(asked, what="the relay asks Milady")
        sandbox.faults()

        async def at_rest() -> bool:
            statuses = [await service.status(student) for student in everybody]
            return statuses == ["enrolled"] * len(stayers) + ["withdrawn"] * len(leavers)

        await until(at_rest, seconds=30)
        assert all(sandbox.enrollments(student.id) == ["active"] for student in stayers)
        assert all("active" not in sandbox.enrollments(student.id) for student in leavers)

        headers = {"Authorization": f"Bearer {token('student', stayers[0].id)}"}
        async with httpx.AsyncClient(trust_env=False) as client:
            mine = (await client.get(f"{api.url}/api/milady/mine", headers=headers)).json()
        assert [item["status"] for item in mine["items"]] == ["enrolled"]

        async def published() -> bool:
            return not await service.rows("SELECT 1 FROM outbox WHERE published_at IS NULL AND exchange <> ''")

        await until(published)
    finally:
        stop_all(running)
        await publisher.close()

    told: Counter[tuple[str, str]] = Counter()
    connection = await aio_pika.connect(rabbit_server.url)
    async with connection:
        queue = await (await connection.channel()).get_queue(EAR.name)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            event = parse(message.headers, message.body, EVENT_TYPES).data
            assert isinstance(event, MiladyEvent)
            told[str(event.student_id), event.type] += 1
    assert {told[str(student.id), "milady.failed.v1"] for student in everybody} == {0}, "what is only down says nothing"
    assert {told[str(student.id), "milady.enrolled.v1"] for student in stayers} == {1}


def test_only_a_relay_that_speaks_to_milady_needs_its_key() -> None:
    told = {"database_url": SecretStr("postgresql://x"), "amqp_url": SecretStr("amqp://x")}
    assert RelaySettings.model_validate({**told, "milady_mode": "manual"}).milady_api_key is None
    with pytest.raises(ValidationError, match="MILADY_API_KEY"):
        RelaySettings.model_validate(told)
