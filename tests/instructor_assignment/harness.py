"""instructor-assignment on a real database: payment events in, rows and published events out, and its API."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
from pydantic import SecretStr
from sqlalchemy import text
from tests.deliveries import deliver
from tests.processes import JWT
from tests.tokens import bearer

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Program
from instructor_assignment import consumers, main
from instructor_assignment.settings import ApiSettings
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import utc_now
from testkit.postgres_server import Database as Server

ADMIN = UUID("00000000-0000-4000-8000-0000000000ad")
_numbers = count(1)


def new_program() -> Program:
    """A new program for each test: tests share a database, and programs are independent of each other."""
    n = next(_numbers)
    return Program(slug=f"program-{n}-{uuid4().hex[:6]}", id=f"prog_{n}", name=f"Program {n}")


@dataclass
class Student:
    program: Program
    id: UUID = field(default_factory=uuid4)
    purchase_id: UUID = field(default_factory=uuid4)

    @property
    def _purchase(self) -> dict[str, Any]:
        return {"purchase_id": self.purchase_id, "student_id": self.id, "program": self.program}

    def paid(self, amount: int = 57_500, *, price: int | None = None) -> PaymentEvent:
        """`price` is in the metadata of a purchase that was started by checkout."""
        return PaymentSucceeded(
            refs=PaymentRefs(payment_intent=f"pi_{self.purchase_id}"),
            amount=usd(amount),
            price=usd(price) if price is not None else None,
            **self._purchase,
        )

    def pending(self) -> PaymentEvent:
        return PaymentPending(refs=PaymentRefs(payment_intent=f"pi_{self.purchase_id}"), **self._purchase)

    def refunded(self, amount: int = 57_500) -> PaymentEvent:
        refs = PaymentRefs(payment_intent=f"pi_{self.purchase_id}")
        return PaymentRefunded(refs=refs, total=usd(amount), before=usd(0), of=usd(amount))

    def buys_again(self) -> None:
        self.purchase_id = uuid4()


def envelope(event: PaymentEvent, event_id: str | None = None) -> Envelope[PaymentEvent]:
    event_id = event_id or f"evt_{uuid4().hex}/{event.type}"
    return Envelope(id=event_id, source="webhook-gateway", subject=str(event.purchase_id), time=utc_now(), data=event)


class Service:
    def __init__(self, server: Server, **settings: Any) -> None:
        """`settings`: of the API, beside those that every test has."""
        self.server = server
        self.database = Database(server.url, pool_size=20)
        self.consumer = consumers.payments()
        self.app = main.app(
            ApiSettings(
                database_url=SecretStr(server.api_url),
                staff_database_url=SecretStr(server.staff_url),
                jwt_secret=SecretStr(JWT["JWT_SECRET"]),
                jwt_issuer=JWT["JWT_ISSUER"],
                jwt_audience=JWT["JWT_AUDIENCE"],
                **settings,
            )
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test")

    async def close(self) -> None:
        await self.http.aclose()
        await self.app.state.database.close()
        await self.database.close()

    async def deliver(self, *events: PaymentEvent | Envelope[PaymentEvent]) -> None:
        """Each event as the consumer process handles it: inbox, handler, one commit."""
        for each in events:
            event = each if isinstance(each, Envelope) else envelope(each)
            await deliver(self.database, self.consumer, "instructor-assignment", event, now=None)

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]

    async def assignment(self, student: Student) -> dict[str, Any] | None:
        found = await self.rows(
            "SELECT a.*, i.name FROM ai_instructor_assignments a LEFT JOIN ai_instructors i ON i.id = a.instructor_id "
            "WHERE a.student_id = :student AND a.program_slug = :slug",
            student=student.id,
            slug=student.program.slug,
        )
        return found[0] if found else None

    async def status(self, student: Student) -> str | None:
        row = await self.assignment(student)
        return row["status"] if row else None

    async def published(self, student: Student) -> list[str]:
        """The types of the events about this student, in the order of publication."""
        found = await self.rows(
            "SELECT routing_key FROM outbox_messages "
            "WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student ORDER BY id",
            student=str(student.id),
        )
        return [row["routing_key"].removeprefix("instructor.").removesuffix(".v1") for row in found]

    async def loads(self, program: Program) -> dict[str, int]:
        found = await self.rows(
            "SELECT i.name, count(a.id) AS students FROM ai_instructors i "
            "LEFT JOIN ai_instructor_assignments a ON a.instructor_id = i.id "
            "WHERE i.program_slug = :slug GROUP BY i.id",
            slug=program.slug,
        )
        return {row["name"]: row["students"] for row in found}

    async def call(
        self, method: str, path: str, *, role: str = "admin", subject: UUID = ADMIN, key: str | None = None, **sent: Any
    ) -> httpx.Response:
        headers = bearer(subject, role) | ({"Idempotency-Key": key} if key else {})
        return await self.http.request(method, path, headers=headers, **sent)

    async def add(self, program: Program, name: str, capacity: int = 10, *, is_active: bool = True) -> str:
        body = {"program_slug": program.slug, "name": name, "capacity": capacity, "is_active": is_active}
        response = await self.call("POST", "/api/admin/instructors", json=body)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])
