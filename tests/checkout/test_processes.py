"""checkout as it is deployed: its processes, a broker, and SIGKILL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import httpx
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractQueue
from tests.checkout.sandbox import StripeSandbox, metadata_of
from tests.checkout.service import CREATE, FRONTEND, PAY_LINK_SECRET, PUBLIC, bearer, wanted
from tests.checkout.stripe_ids import SECRET_KEY
from tests.databases import api_logins, logins
from tests.processes import RunningRole, migrate
from tests.waiting import until

from contracts.enrollment import EnrollmentActivated
from contracts.envelope import Envelope, Event, attributes
from contracts.people import Program
from kit.db.unit_of_work import utc_now
from kit.messaging.broker import Publisher
from kit.messaging.outbox import EVENTS_EXCHANGE, to_message
from testkit.postgres_server import PostgresServer
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer


class Running:
    def __init__(self, roles: dict[str, RunningRole], amqp_url: str, sandbox: StripeSandbox) -> None:
        self.roles = roles
        self.amqp_url = amqp_url
        self.sandbox = sandbox

    async def buy(self, student: UUID, **body: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.roles["api"].url, timeout=30) as http:
            headers = bearer("student", student, email="ada@example.org", name="Ada Lovelace")
            return await http.post(CREATE, json=wanted("cpr", 575, **body), headers=headers)

    async def installments(self, student: UUID, purchase_id: str) -> list[str]:
        """Their statuses."""
        async with httpx.AsyncClient(base_url=self.roles["api"].url, timeout=30) as http:
            path = f"/api/enrollments/{purchase_id}/payment"
            answer = await http.get(path, headers=bearer("student", student))
        return [each["status"] for each in answer.json()["schedules"]]

    async def publish(self, *events: Envelope[Event]) -> None:
        publisher = Publisher(self.amqp_url, name="tests")
        for event in events:
            await publisher.publish(to_message(event))
        await publisher.close()


@pytest_asyncio.fixture
async def running(
    postgres_server: PostgresServer, rabbit_server: RabbitServer, stripe_sandbox: StripeSandbox, tmp_path: Path
) -> AsyncIterator[Running]:
    database = postgres_server.create_database("checkout_processes")
    stripe = {"STRIPE_API_KEY": SECRET_KEY, "STRIPE_API_BASE": stripe_sandbox.url}
    worker = {**logins(database), "AMQP_URL": rabbit_server.url}
    api = {
        **api_logins(database),
        "FRONTEND_URL": FRONTEND,
        "PUBLIC_URL": PUBLIC,
        "PAY_LINK_SECRET": PAY_LINK_SECRET,
        "REDIRECT_ALLOWLIST": f"{FRONTEND}, http://x",
    }
    migrate("checkout", worker)  # needs no Stripe key
    roles = {
        "api": RunningRole("checkout", "api", api | stripe, log=tmp_path / "api.log"),
        "consumers": RunningRole("checkout", "consumers", worker, log=tmp_path / "consumers.log"),
        "relay": RunningRole("checkout", "relay", worker | stripe, log=tmp_path / "relay.log"),
    }
    for role in roles.values():
        role.start()
    wait_all_ready(roles.values())
    yield Running(roles, rabbit_server.url, stripe_sandbox)
    await stripe_sandbox.faults()
    stop_all(roles.values())
    for role in roles.values():
        for private in ("ada@example.org", "Ada Lovelace", SECRET_KEY):
            assert private not in role.tail(1_000)


@pytest.mark.usefixtures("no_old_messages")
async def test_a_plan_from_purchase_to_enrollment_with_a_crash_in_between(running: Running) -> None:
    student, sandbox = uuid4(), running.sandbox
    async with _listening(running.amqp_url, "purchase.created.v1") as created:
        await _bought_in_spite_of_a_crash(running, student, created)
    (made,) = await sandbox.sessions_of(student)

    await sandbox.pay(made.id)
    events = await sandbox.gateway_events()
    await running.publish(*(e for e in events if getattr(e.data, "student_id", None) == student))

    async def first_is_paid() -> bool:
        return await running.installments(student, metadata_of(made)["purchase_id"]) == ["paid", "open", "open", "open"]

    await until(first_is_paid)
    answer = await running.buy(student)
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_in_progress")

    enrollment = EnrollmentActivated(
        enrollment_id=uuid4(), student_id=student, program=Program(slug="cpr", id="p"), revision=1
    )
    await running.publish(
        Envelope(id=f"{uuid4()}", source="enrollment", subject=str(student), time=utc_now(), data=enrollment)
    )

    async def enrolled() -> bool:
        return bool((await running.buy(student)).json()["code"] == "already_enrolled")

    await until(enrolled)


async def _bought_in_spite_of_a_crash(running: Running, student: UUID, created: AbstractQueue) -> None:
    """The API is killed after Stripe has acted, and before its answer is stored. A retry finds the same page."""
    sandbox = running.sandbox
    await sandbox.faults(api_delay_seconds=5)
    dying = asyncio.create_task(running.buy(student, paymentType="plan"))
    (made,) = await until(lambda: sandbox.sessions_of(student))
    running.roles["api"].kill()  # Stripe has acted, and its answer is lost
    await asyncio.wait([dying])
    assert isinstance(dying.exception(), httpx.TransportError)
    await sandbox.faults()
    running.roles["api"].start().wait_ready()

    async def retried() -> str | None:
        answer = await running.buy(student, paymentType="plan")
        return str(answer.json()["url"]) if answer.status_code == 200 else None

    assert await until(retried) == made.url
    assert len(await sandbox.sessions_of(student)) == 1
    message = await until(lambda: created.get(fail=False))
    assert attributes(message.headers)["subject"] == metadata_of(made)["purchase_id"]


@asynccontextmanager
async def _listening(amqp_url: str, routing_key: str) -> AsyncIterator[AbstractQueue]:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(EVENTS_EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, routing_key=routing_key)
        yield queue
