"""Checkout, enrollment, the gateway's translation and the Stripe sandbox, connected without RabbitMQ.

Events are delivered in random order, some of them twice. `run_until_idle` processes everything that is due.
"""

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
from faststream.rabbit import RabbitRouter
from sqlalchemy import delete, select, text
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import ADMIN, Service, bearer
from tests.checkout.stripe_ids import SECRET_KEY
from tests.deliveries import deliver, handled_types

from checkout import main
from checkout.installments.clock import Clock
from checkout.installments.timer import Timer
from contracts.envelope import Envelope, parse
from contracts.registry import EVENT_TYPES
from enrollment import consumers as enrollment_consumers
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import utc_now
from kit.jobs.jobs import Job, JobHandler, jobs
from kit.jobs.worker import JobWorker
from kit.messaging.outbox import outbox_due, outbox_messages
from testkit.postgres_server import Database as Server
from webhook_gateway.translate import translate

ROUNDS = 200


@dataclass
class ServiceUnderTest:
    """The consumers of a service, with its database."""

    name: str
    database: Database
    consumers: Sequence[RabbitRouter]

    async def deliver(self, event: Envelope[Any]) -> None:
        if event.type in handled_types(self.consumers):
            await deliver(self.database, self.consumers, self.name, event, now=None)

    async def take_published(self) -> list[Envelope[Any]]:
        """Events published since the last call."""
        async with self.database.transaction() as db:
            due = outbox_messages.c.id.in_(select(outbox_due.c.id))
            rows = (await db.execute(select(outbox_messages).where(due).order_by(outbox_messages.c.id))).all()
            await db.execute(delete(outbox_due))
        return [parse(row.headers, row.body, EVENT_TYPES) for row in rows]

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]


@dataclass
class Harness:
    service: Service
    app: Any
    timer: Timer
    handlers: dict[str, JobHandler[Any]]
    sandbox: StripeSandbox
    checkout: ServiceUnderTest
    enrollment: ServiceUnderTest
    rng: random.Random
    after: str = ""
    statuses: list[tuple[str, int]] = field(default_factory=list)
    undelivered: list[Envelope[Any]] = field(default_factory=list)

    @classmethod
    def open(cls, service: Service, sandbox: StripeSandbox, enrollment: Server, rng: random.Random) -> Harness:
        return cls(
            service=service,
            app=service.app_with(test_clock=True),
            timer=Timer(service.database, Clock(service.database, enabled=True)),
            handlers=main.jobs(service.database, service.stripe, test_clock=True),
            sandbox=sandbox,
            checkout=ServiceUnderTest("checkout", service.database, service.consumers),
            enrollment=ServiceUnderTest(
                "enrollment",
                Database(enrollment.url),
                [enrollment_consumers.payments(), enrollment_consumers.catalog()],
            ),
            rng=rng,
        )

    async def close(self) -> None:
        await self.enrollment.database.close()

    # --- requests -----------------------------------------------------------------------------------------------------

    async def call(
        self, caller: UUID, method: str, path: str, body: Any = None, *, role: str = "student"
    ) -> httpx.Response:
        """A request to checkout. It must not cause a 5xx."""
        headers = bearer(role, caller, email=f"{caller.hex[:8]}@example.org", name="Ada")
        response = await self.service.call(method, path, json=body, headers=headers, app=self.app)
        self.statuses.append((path, response.status_code))
        assert response.status_code < 500, f"{method} {path}: {response.status_code} {response.text}"
        return response

    async def call_as_admin(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.call(ADMIN, method, path, body, role="admin")

    # --- time ---------------------------------------------------------------------------------------------------------

    async def advance_days(self, days: int) -> None:
        """Advances the clocks of Stripe and checkout by at most a week at a time."""
        while days > 0:
            step = timedelta(days=min(days, 7))
            seconds = step.days * 86_400
            await self.sandbox.operate("/clock/advance", seconds=seconds)
            await self.call_as_admin("POST", "/api/admin/test-clock/advance", {"seconds": seconds})
            await self.run_until_idle()
            days -= step.days

    # --- processing ---------------------------------------------------------------------------------------------------

    async def run_until_idle(self) -> None:
        for _ in range(ROUNDS):
            processed = await self._fetch_webhooks()
            processed += await self.timer.sweep()
            processed += await self._run_jobs()
            processed += await self._deliver_events()
            if not processed:
                return
        raise AssertionError(f"not idle after {ROUNDS} rounds")

    async def _fetch_webhooks(self) -> int:
        since = {"after": self.after} if self.after else {}
        async with httpx.AsyncClient(base_url=self.sandbox.url, verify=False) as http:
            page = (await http.get("/sandbox/api/events", params={"limit": 1000, **since})).json()
        for event in page["events"]:
            self.undelivered += translate(json.loads(event["body"]), received_at=utc_now())
        self.after = page["next"] or self.after
        return len(page["events"])

    async def _deliver_events(self) -> int:
        """Delivers all events to both services in random order, some of them twice."""
        self.undelivered += await self.checkout.take_published()
        self.undelivered += await self.enrollment.take_published()
        events, self.undelivered = self.undelivered, []
        copies = [
            (service, event)
            for event in events
            for service in (self.checkout, self.enrollment)
            for _ in range(1 + (self.rng.random() < 0.1))
        ]
        self.rng.shuffle(copies)
        for service, event in copies:
            await service.deliver(event)
        return len(events)

    async def _run_jobs(self) -> int:
        """Runs the jobs that are due now."""
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

    # --- books -----------------------------------------------------------------------------------------------------

    async def balance(self) -> dict[str, int]:
        """currency -> gross minor units of all balance transactions at Stripe"""
        total: dict[str, int] = defaultdict(int)
        entries = await self.sandbox.api.balance_transactions.list_async({"limit": 100})
        async for entry in entries.auto_paging_iter():
            total[entry.currency] += entry.amount
        return dict(total)

    async def list_at_stripe(self, path: str) -> list[dict[str, Any]]:
        """All objects of this kind. (As JSON: the SDK takes longer to make its objects than the sandbox to answer.)"""
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {"limit": 100}
        headers = {"Authorization": f"Bearer {SECRET_KEY}"}
        async with httpx.AsyncClient(base_url=self.sandbox.url, verify=False, headers=headers) as http:
            while more:
                page = (await http.get(f"/v1/{path}", params=more)).json()
                found += page["data"]
                more = {"limit": 100, "starting_after": found[-1]["id"]} if page["has_more"] else {}
        return found

    async def recorded_balance(self) -> dict[str, int]:
        """currency -> minor units that checkout recorded as paid through Stripe, less refunds and disputes"""
        rows = await self.checkout.rows(
            """
            SELECT currency, sum(amount - refunded)
                - coalesce((SELECT sum(disputes.amount) FROM disputes WHERE funds = 'withdrawn'
                            AND disputes.currency = payments.currency), 0) AS balance
            FROM payments WHERE status = 'succeeded' AND manual_id IS NULL GROUP BY currency
            """
        )
        unmatched = await self.checkout.rows(
            "SELECT currency, sum(amount - refunded) AS balance FROM unmatched_payments "
            "WHERE status IN ('pending', 'open', 'refunding', 'refunded') GROUP BY currency"
        )
        total: dict[str, int] = defaultdict(int)
        for row in (*rows, *unmatched):
            total[row["currency"]] += int(row["balance"])
        return dict(total)
