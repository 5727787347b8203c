"""milady-integration on a real database, with the provider's sandbox: events in; rows, events and enrollments out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.deliveries import deliver_together, handle
from tests.processes import JWT
from tests.tokens import bearer
from tests.waiting import until

from contracts.checkout import PurchaseCreated
from contracts.envelope import Envelope, Event
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Contact, Program
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import utc_now
from kit.jobs.worker import JobWorker
from milady_integration import consumers, jobs, main
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
    def _purchase(self) -> dict[str, Any]:
        return {"purchase_id": self.purchase_id, "student_id": self.id, "program": self.program}

    @property
    def _refs(self) -> PaymentRefs:
        return PaymentRefs(payment_intent=f"pi_{self.purchase_id}")

    def starts(self) -> PurchaseCreated:
        terms = {"amount": usd(1), "payer": "student", "payment_type": "full", "checkout_url": "https://pay.test"}
        return PurchaseCreated.model_validate(self._purchase | terms)

    def pending(self) -> PaymentEvent:
        return PaymentPending(refs=self._refs, **self._purchase)

    def paid(self, payer: str = "student", *, amount: int = 489_000, price: int | None = None) -> PaymentEvent:
        """`price` is in the metadata of a purchase that was started by checkout."""
        terms = {"payer": payer, "contact": self.contact, "price": usd(price) if price is not None else None}
        return PaymentSucceeded.model_validate({"refs": self._refs, "amount": usd(amount), **self._purchase, **terms})

    def refunded(self) -> PaymentEvent:
        return PaymentRefunded(refs=self._refs, total=usd(489_000), before=usd(0), of=usd(489_000))

    def buys_again(self) -> None:
        self.purchase_id = uuid4()


def envelope(event: Event, event_id: str | None = None) -> Envelope[Event]:
    event_id = event_id or f"evt_{uuid4().hex}/{event.type}"
    subject = str(getattr(event, "purchase_id", None))
    return Envelope(id=event_id, source="webhook-gateway", subject=subject, time=utc_now(), data=event)


class Sandbox(Process):
    """The provider's sandbox, in its own process."""

    def __init__(self) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=self.url, trust_env=False, verify=False)
        env = {"MILADY_SANDBOX_PORT": str(port), "MILADY_SANDBOX_API_KEY": KEY}
        argv = [sys.executable, "-m", "milady_sandbox"]
        super().__init__(Command(name="milady_sandbox", argv=argv, env=env, ready_url=f"{self.url}/healthz"))

    def faults(self, *faults: dict[str, Any]) -> None:
        self._http.put("/sandbox/api/faults", json={"faults": list(faults)}).raise_for_status()

    async def wait_for_responses(self) -> None:
        """Until no request is in progress."""

        async def responded() -> bool:
            return all(request["status"] for request in self.items("requests"))

        await until(responded)

    def items(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get(f"/sandbox/api/{kind}").json()["items"]
        return found

    def enrollments(self, student_id: UUID) -> list[str]:
        """The statuses of the student's enrollments, oldest first."""
        return [e["status"] for e in self.items("enrollments") if e["student_ref"] == str(student_id)]

    def enrollment(self, student_id: UUID) -> dict[str, Any]:
        (found,) = [e for e in self.items("enrollments") if e["student_ref"] == str(student_id)]
        return found

    def requests(self) -> list[dict[str, Any]]:
        return self.items("requests")

    def reset(self) -> None:
        self._http.post("/sandbox/api/reset").raise_for_status()


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
        self.client = MiladyClient(sandbox.url, KEY, seconds=3)
        self._consumers = [consumers.payments(mode), consumers.purchases()]
        client = self.client if mode == "api" else None
        handlers = jobs.handlers(self.database, client, mode, jobs.backoff_of(timedelta(seconds=1)))
        self._worker = JobWorker(self.database, "milady-integration", handlers)
        self.app = main.app(
            ApiSettings(
                database_url=SecretStr(server.api_url),
                staff_database_url=SecretStr(server.staff_url),
                jwt_secret=SecretStr(JWT["JWT_SECRET"]),
                jwt_issuer=JWT["JWT_ISSUER"],
                jwt_audience=JWT["JWT_AUDIENCE"],
                milady_mode=mode,
            )
        )
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")

    async def close(self) -> None:
        await self._http.aclose()
        await self.app.state.database.close()
        await self.client.close()
        await self.database.close()

    async def deliver(self, *events: Event | Envelope[Event]) -> None:
        """Each event as the consumer process handles it: inbox, handler, one commit."""
        for each in events:
            async with self.database.transaction() as db:
                await self.handle(each if isinstance(each, Envelope) else envelope(each), db)

    async def deliver_together(self, *events: Envelope[Event]) -> None:
        """Those of each queue in one batch."""
        await deliver_together(self.database, self._consumers, "milady-integration", events)

    async def handle(self, event: Envelope[Event], db: AsyncConnection) -> None:
        await handle(db, self._consumers, "milady-integration", event)

    async def run_jobs(self, rounds: int = 10) -> None:
        """As the relay runs them: one attempt at each pending job per round, until none is left."""
        for _ in range(rounds):
            async with self.database.transaction() as db:
                await db.execute(text("UPDATE jobs SET available_at = now() WHERE done_at IS NULL"))
            due = await self._worker.take(16)
            if not due:
                return
            await asyncio.gather(*(self._worker.attempt(job) for job in due))

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]

    async def provider_enrollment(self, student: Student) -> dict[str, Any]:
        """The row; empty if there is none."""
        found = await self.rows(
            "SELECT * FROM provider_enrollments WHERE student_id = :student AND program_slug = :slug",
            student=student.id,
            slug=student.program.slug,
        )
        return found[0] if found else {}

    async def status(self, student: Student) -> str | None:
        return (await self.provider_enrollment(student)).get("status")

    async def published(self, student: Student) -> list[str]:
        """The types of the events about this student, in the order of publication."""
        found = await self.rows(
            "SELECT routing_key FROM outbox_messages "
            "WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student ORDER BY id",
            student=str(student.id),
        )
        return [row["routing_key"].removeprefix("milady.").removesuffix(".v1") for row in found]

    async def call(
        self, method: str, path: str, *, role: str = "admin", subject: UUID = ADMIN, key: str | None = None, **sent: Any
    ) -> httpx.Response:
        headers = bearer(subject, role) | ({"Idempotency-Key": key} if key else {})
        return await self._http.request(method, path, headers=headers, **sent)
