"""milady-integration on a real database and against the real sandbox: payments in, rows, events and enrollments out."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.processes import JWT

from contracts.checkout import PurchaseCreated
from contracts.envelope import Envelope, Event
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Contact, Program
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.worker import JobWorker
from kit.messaging import inbox
from kit.runtime.trace import cause_of
from milady_integration import consumers, main, steps
from milady_integration.breaker import Breaker
from milady_integration.domain import Mode
from milady_integration.milady_client import MiladyClient
from milady_integration.settings import ApiSettings
from testkit.postgres_server import Database as Server
from testkit.processes import Command, Process, free_ports

ADMIN = UUID("00000000-0000-4000-8000-0000000000ad")
KEY = "milady_test_bursar_sandbox"
COURSES = [{"id": "milady-cosmetology", "title": "Standard Cosmetology"}]
_numbers = count(1)


def new_program(provider: str | None = "milady") -> Program:
    n = next(_numbers)
    return Program(
        slug=f"program-{n}-{uuid4().hex[:6]}", id=f"prog_{uuid4().hex[:8]}", name=f"P {n}", provider=provider
    )


@dataclass
class Student:
    program: Program
    id: UUID = field(default_factory=uuid4)
    purchase_id: UUID = field(default_factory=uuid4)
    contact: Contact | None = field(default_factory=lambda: Contact(email="sam@example.org", name="Sam Student"))

    @property
    def _told(self) -> dict[str, Any]:
        return {"purchase_id": self.purchase_id, "student_id": self.id, "program": self.program}

    @property
    def _refs(self) -> PaymentRefs:
        return PaymentRefs(payment_intent=f"pi_{self.purchase_id}")

    def starts(self) -> PurchaseCreated:
        paid = {"amount": usd(1), "payer": "student", "payment_type": "full", "checkout_url": "https://pay.test"}
        return PurchaseCreated.model_validate(self._told | paid)

    def pending(self) -> PaymentEvent:
        return PaymentPending(refs=self._refs, **self._told)

    def paid(self, payer: str = "student") -> PaymentEvent:
        told = {**self._told, "payer": payer, "contact": self.contact}
        return PaymentSucceeded.model_validate({"refs": self._refs, "amount": usd(489_000), **told})

    def refunded(self) -> PaymentEvent:
        return PaymentRefunded(refs=self._refs, total=usd(489_000), before=usd(0), of=usd(489_000))

    def buys_again(self) -> None:
        self.purchase_id = uuid4()


def envelope(event: Event) -> Envelope[Event]:
    subject = str(getattr(event, "purchase_id", None))
    return Envelope(
        id=f"evt_{uuid4().hex}/{event.type}", source="webhook-gateway", subject=subject, time=utc_now(), data=event
    )


def token(role: str, subject: UUID) -> str:
    claims = {"sub": str(subject), "role": role, "iss": JWT["JWT_ISSUER"], "aud": JWT["JWT_AUDIENCE"]}
    return jwt.encode({**claims, "exp": time.time() + 300}, JWT["JWT_SECRET"], algorithm="HS256")


class Sandbox(Process):
    """The provider's sandbox, as a process of its own."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        env = {"MILADY_SANDBOX_PORT": str(port), "MILADY_SANDBOX_API_KEY": KEY}
        argv = [sys.executable, "-m", "milady_sandbox"]
        super().__init__(Command(name="milady_sandbox", argv=argv, env=env, ready_url=f"{self.url}/healthz"))

    def faults(self, *faults: dict[str, Any]) -> None:
        httpx.put(f"{self.url}/sandbox/api/faults", json={"faults": list(faults)}, trust_env=False).raise_for_status()

    def _items(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.url}/sandbox/api/{what}", trust_env=False).json()["items"]
        return found

    def enrollments(self, student_id: UUID) -> list[str]:
        """The statuses of the student's enrollments, oldest first."""
        return [e["status"] for e in self._items("enrollments") if e["student_ref"] == str(student_id)]

    def enrollment(self, student_id: UUID) -> dict[str, Any]:
        (found,) = [e for e in self._items("enrollments") if e["student_ref"] == str(student_id)]
        return found

    def requests(self) -> list[dict[str, Any]]:
        return self._items("requests")

    def reset(self) -> None:
        httpx.post(f"{self.url}/sandbox/api/reset", trust_env=False).raise_for_status()


@contextmanager
def sandbox_running() -> Iterator[Sandbox]:
    sandbox = Sandbox()
    sandbox.start()
    try:
        sandbox.wait_ready(20)
        yield sandbox
    finally:
        sandbox.stop()


class Service:
    def __init__(self, server: Server, sandbox: Sandbox, *, mode: Mode = "api") -> None:
        self.server = server
        self.sandbox = sandbox
        self.mode = mode
        self.database = Database(server.url, pool_size=20)
        self.client = MiladyClient(sandbox.url, KEY, breaker=Breaker(failures=10_000), seconds=0.4)
        self._consumers = [consumers.payments(mode), consumers.purchases()]
        client = self.client if mode == "api" else None
        backoff = steps.backoff_of(timedelta(seconds=1))
        self._performer = JobWorker(
            self.database, "milady-integration", steps.handlers(self.database, client, mode, backoff)
        )
        self._app = main.app(
            ApiSettings(
                database_url=SecretStr(server.api_url),
                jwt_secret=SecretStr(JWT["JWT_SECRET"]),
                jwt_issuer=JWT["JWT_ISSUER"],
                jwt_audience=JWT["JWT_AUDIENCE"],
                milady_mode=mode,
            )
        )

    async def close(self) -> None:
        await self._app.state.database.close()
        await self.client.close()
        await self.database.close()

    async def hear(self, *events: Event) -> None:
        """As the consumer process does it: inbox, handler, one commit."""
        for event in events:
            async with self.database.transaction() as db:
                await self.handle(envelope(event), db)

    async def handle(self, heard: Envelope[Event], db: AsyncConnection) -> None:
        (consumer,) = [c for c in self._consumers if heard.type in c.handlers()]
        assert await inbox.claim(db, queue=consumer.queue.name, event_id=heard.id)
        uow = UnitOfWork(db=db, source="milady-integration", now=utc_now(), cause=cause_of(heard))
        await consumer.handlers()[heard.type](heard, uow)

    async def work_off(self, rounds: int = 10) -> None:
        """As the relay does it: one attempt at each step that is to be done, until none is left (or no more rounds)."""
        for _ in range(rounds):
            async with self.database.transaction() as db:
                await db.execute(text("UPDATE jobs SET available_at = now() WHERE done_at IS NULL"))
            due = await self._performer._take(16)
            if not due:
                return
            await asyncio.gather(*(self._performer.attempt(job) for job in due))

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]

    async def place(self, student: Student) -> dict[str, Any]:
        """The row; empty when there is none."""
        found = await self.rows(
            "SELECT * FROM milady_enrollments WHERE student_id = :student AND program_slug = :slug",
            student=student.id,
            slug=student.program.slug,
        )
        return found[0] if found else {}

    async def status(self, student: Student) -> str | None:
        return (await self.place(student)).get("status")

    async def said(self, student: Student) -> list[str]:
        """The events about this student, in the order in which they were said."""
        found = await self.rows(
            "SELECT routing_key FROM outbox WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student "
            "ORDER BY id",
            student=str(student.id),
        )
        return [row["routing_key"].removeprefix("milady.").removesuffix(".v1") for row in found]

    async def call(
        self, method: str, path: str, *, role: str = "admin", subject: UUID = ADMIN, key: str | None = None, **sent: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token(role, subject)}"} | ({"Idempotency-Key": key} if key else {})
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers, **sent)
