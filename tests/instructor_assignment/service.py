"""instructor-assignment on a real database: payments in, rows and events out, and its API as a caller sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
from pydantic import SecretStr
from sqlalchemy import text
from tests.processes import JWT

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentPending, PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Program
from instructor_assignment import consumers, main
from instructor_assignment.settings import ApiSettings
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.messaging import inbox
from kit.runtime.trace import cause_of
from testkit.postgres_server import Database as Server

ADMIN = UUID("00000000-0000-4000-8000-0000000000ad")
_numbers = count(1)


def new_program() -> Program:
    """A program of its own for each test: they share a database, and programs never touch each other."""
    n = next(_numbers)
    return Program(slug=f"program-{n}-{uuid4().hex[:6]}", id=f"prog_{n}", name=f"Program {n}")


@dataclass
class Student:
    program: Program
    id: UUID = field(default_factory=uuid4)
    purchase_id: UUID = field(default_factory=uuid4)

    def _told(self) -> dict[str, Any]:
        return {"purchase_id": self.purchase_id, "student_id": self.id, "program": self.program}

    def paid(self, amount: int = 57_500) -> PaymentEvent:
        return PaymentSucceeded(
            refs=PaymentRefs(payment_intent=f"pi_{self.purchase_id}"), amount=usd(amount), **self._told()
        )

    def pending(self) -> PaymentEvent:
        return PaymentPending(refs=PaymentRefs(payment_intent=f"pi_{self.purchase_id}"), **self._told())

    def refunded(self, amount: int = 57_500) -> PaymentEvent:
        refs = PaymentRefs(payment_intent=f"pi_{self.purchase_id}")
        return PaymentRefunded(refs=refs, total=usd(amount), before=usd(0), of=usd(amount))

    def buys_again(self) -> None:
        self.purchase_id = uuid4()


def envelope(event: PaymentEvent, event_id: str | None = None) -> Envelope[PaymentEvent]:
    event_id = event_id or f"evt_{uuid4().hex}/{event.type}"
    return Envelope(id=event_id, source="webhook-gateway", subject=str(event.purchase_id), time=utc_now(), data=event)


def token(role: str, subject: UUID) -> str:
    claims = {"sub": str(subject), "role": role, "iss": JWT["JWT_ISSUER"], "aud": JWT["JWT_AUDIENCE"]}
    return jwt.encode({**claims, "exp": time.time() + 300}, JWT["JWT_SECRET"], algorithm="HS256")


class Service:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.database = Database(server.url, pool_size=20)
        self.consumer = consumers.payments()
        self._app = main.app(
            ApiSettings(
                database_url=SecretStr(server.api_url),
                jwt_secret=SecretStr(JWT["JWT_SECRET"]),
                jwt_issuer=JWT["JWT_ISSUER"],
                jwt_audience=JWT["JWT_AUDIENCE"],
            )
        )

    async def close(self) -> None:
        await self._app.state.database.close()
        await self.database.close()

    async def hear(self, *events: PaymentEvent | Envelope[PaymentEvent]) -> None:
        """As the consumer process does it: inbox, handler, one commit."""
        for each in events:
            heard = each if isinstance(each, Envelope) else envelope(each)
            handler = self.consumer.handlers()[heard.type]
            async with self.database.transaction() as db:
                if await inbox.claim(db, queue=self.consumer.queue.name, event_id=heard.id):
                    cause = cause_of(heard)
                    await handler(heard, UnitOfWork(db=db, source="instructor-assignment", now=utc_now(), cause=cause))

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

    async def said(self, student: Student) -> list[str]:
        """The events about this student, in the order in which they were said."""
        found = await self.rows(
            "SELECT routing_key FROM outbox WHERE convert_from(body, 'UTF8')::jsonb ->> 'student_id' = :student "
            "ORDER BY id",
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
        headers = {"Authorization": f"Bearer {token(role, subject)}"} | ({"Idempotency-Key": key} if key else {})
        transport = httpx.ASGITransport(self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers, **sent)

    async def add(self, program: Program, name: str, capacity: int = 10, *, is_active: bool = True) -> str:
        sent = {"program_slug": program.slug, "name": name, "capacity": capacity, "is_active": is_active}
        answer = await self.call("POST", "/api/admin/instructors", json=sent)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])
