"""A whole school in one process: checkout and enrollment on real rows, the gateway, the Stripe sandbox, and
between them a bus that shuffles and repeats. Nothing waits: `pump` goes on until nobody has anything left to do."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import select, text, update
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import ADMIN, Service, bearer

from checkout import consumers as checkout_consumers
from checkout import main
from checkout.catalog.consumers import registrations
from checkout.installments.clock import Clock
from checkout.installments.timer import Timer
from contracts.envelope import Envelope, parse
from contracts.registry import EVENT_TYPES
from enrollment import consumers as enrollment_consumers
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job, JobHandler, jobs
from kit.jobs.worker import JobWorker
from kit.messaging import inbox
from kit.messaging.consumer import Consumer
from kit.messaging.outbox import outbox
from kit.runtime.trace import cause_of
from testkit.postgres_server import Database as Server
from webhook_gateway.translate import translate

ROUNDS = 200


@dataclass
class Listener:
    """One service's consumers on its own database."""

    name: str
    database: Database
    consumers: Sequence[Consumer]

    async def hear(self, heard: Envelope[Any]) -> None:
        for consumer in self.consumers:
            handler = consumer.handlers().get(heard.type)
            if handler is None:
                continue
            async with self.database.transaction() as db:
                if await inbox.claim(db, queue=consumer.queue.name, event_id=heard.id):
                    await handler(heard, UnitOfWork(db=db, source=self.name, now=utc_now(), cause=cause_of(heard)))

    async def said(self) -> list[Envelope[Any]]:
        """What it has said since it was last asked."""
        async with self.database.transaction() as db:
            rows = (await db.execute(select(outbox).where(outbox.c.published_at.is_(None)).order_by(outbox.c.id))).all()
            await db.execute(
                update(outbox).where(outbox.c.id.in_([row.id for row in rows])).values(published_at=utc_now())
            )
        return [parse(row.headers, row.body, EVENT_TYPES) for row in rows]

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]


@dataclass
class School:
    service: Service
    app: Any
    timer: Timer
    handlers: dict[str, JobHandler[Any]]
    sandbox: StripeSandbox
    checkout: Listener
    enrollment: Listener
    chance: random.Random
    after: str = ""
    answers: list[tuple[str, int]] = field(default_factory=list)
    undelivered: list[Envelope[Any]] = field(default_factory=list)

    @classmethod
    def open(cls, service: Service, sandbox: StripeSandbox, enrollment: Server, chance: random.Random) -> School:
        heard_by_checkout = [checkout_consumers.payment_events(), checkout_consumers.enrollment_events(), registrations()]
        return cls(
            service=service,
            app=service.app_with(test_clock=True),
            timer=Timer(service.database, Clock(service.database, enabled=True)),
            handlers=main.jobs(service.database, service.stripe, test_clock=True),
            sandbox=sandbox,
            checkout=Listener("checkout", service.database, heard_by_checkout),
            enrollment=Listener(
                "enrollment",
                Database(enrollment.url),
                [enrollment_consumers.payments(), enrollment_consumers.catalog()],
            ),
            chance=chance,
        )

    async def close(self) -> None:
        await self.enrollment.database.close()

    # --- people -------------------------------------------------------------------------------------------------------

    async def ask(
        self, who: UUID, method: str, path: str, body: Any = None, *, role: str = "student"
    ) -> httpx.Response:
        """Nobody may ever get a 500, whatever they ask for."""
        headers = bearer(role, who, email=f"{who.hex[:8]}@example.org", name="Ada")
        answer = await self.service.call(method, path, json=body, headers=headers, app=self.app)
        self.answers.append((path, answer.status_code))
        assert answer.status_code < 500, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    async def admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.ask(ADMIN, method, path, body, role="admin")

    # --- time ---------------------------------------------------------------------------------------------------------

    async def pass_days(self, days: int) -> None:
        """Stripe's clock and the school's go on together, a week at a time at the most."""
        while days > 0:
            step = timedelta(days=min(days, 7))
            seconds = step.days * 86_400
            await self.sandbox.operate("/clock/advance", seconds=seconds)
            await self.admin("POST", "/api/admin/test-clock/advance", {"seconds": seconds})
            await self.pump()
            days -= step.days

    # --- the machinery ------------------------------------------------------------------------------------------------

    async def pump(self) -> None:
        for _ in range(ROUNDS):
            moved = await self._from_stripe()
            moved += await self.timer.sweep()
            moved += await self._effects()
            moved += await self._deliver()
            if not moved:
                return
        raise AssertionError("it never comes to rest")

    async def _from_stripe(self) -> int:
        since = {"after": self.after} if self.after else {}
        async with httpx.AsyncClient(base_url=self.sandbox.url) as http:
            found = (await http.get("/sandbox/api/events", params={"limit": 1000, **since})).json()
        for event in found["events"]:
            self.undelivered += translate(json.loads(event["body"]), received_at=utc_now())
        self.after = found["next"] or self.after
        return len(found["events"])

    async def _deliver(self) -> int:
        """Everything that is on its way, in any order, some of it twice, each listener by itself."""
        self.undelivered += await self.checkout.said()
        self.undelivered += await self.enrollment.said()
        heard, self.undelivered = self.undelivered, []
        copies = [
            (listener, event)
            for event in heard
            for listener in (self.checkout, self.enrollment)
            for _ in range(1 + (self.chance.random() < 0.1))
        ]
        self.chance.shuffle(copies)
        for listener, event in copies:
            await listener.hear(event)
        return len(heard)

    async def _effects(self) -> int:
        """Those that are due now; what is for later (an intent's expiry) stays for later."""
        worker = JobWorker(self.service.database, "checkout", self.handlers)
        async with self.service.database.transaction() as db:
            due = select(jobs).where(
                jobs.c.kind.in_(self.handlers),
                jobs.c.done_at.is_(None),
                jobs.c.failed_at.is_(None),
                jobs.c.available_at <= utc_now(),
            )
            rows = (await db.execute(due)).all()
        for row in rows:
            await worker.attempt(Job(id=row.id, kind=row.kind, key=row.key, payload=row.payload, cause=None, attempt=1))
        return len(rows)

    # --- the books ----------------------------------------------------------------------------------------------------

    async def balance(self) -> dict[str, int]:
        """currency -> gross minor units, as Stripe's balance transactions have them"""
        found: dict[str, int] = defaultdict(int)
        listed = await self.sandbox.api.balance_transactions.list_async({"limit": 100})
        async for movement in listed.auto_paging_iter():
            found[movement.currency] += movement.amount
        return dict(found)

    async def held(self) -> dict[str, int]:
        """currency -> minor units that checkout says came by Stripe, less what went back"""
        rows = await self.checkout.rows(
            """
            SELECT currency, sum(amount - refunded)
                - coalesce((SELECT sum(disputes.amount) FROM disputes WHERE funds = 'withdrawn'
                            AND disputes.currency = payments.currency), 0) AS held
            FROM payments WHERE status = 'succeeded' AND manual_id IS NULL GROUP BY currency
            """
        )
        return {row["currency"]: int(row["held"]) for row in rows}
