"""checkout on a real database and the Stripe sandbox: its API, its consumers and its jobs."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import stripe
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import select, text
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.stripe_ids import SECRET_KEY
from tests.deliveries import deliver
from tests.processes import JWT

from checkout import consumers, main
from checkout.catalog.consumers import registrations
from checkout.erasures.event_handlers import erasure_events
from checkout.purchases.context import Buyer
from checkout.purchases.customer_events import customer_events
from checkout.receipts.jobs import PUBLICATION
from checkout.settings import ApiSettings, StripeSettings
from checkout.stripe_client import Stripe
from contracts.checkout import ReceiptIssued
from contracts.envelope import Envelope, Event
from contracts.money import Money
from contracts.payments import PaymentEvent
from kit.db.database import Database, row_dict
from kit.db.unit_of_work import utc_now
from kit.jobs import jobs
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker
from testkit.postgres_server import Database as Server

ADMIN = UUID("00000000-0000-4000-8000-0000000000ad")
CASE_MANAGER = UUID("00000000-0000-4000-8000-0000000000ca")
FRONTEND = "https://school.example"
PUBLIC = "https://pay.school.example"
PAY_LINK_SECRET = "a-secret-for-pay-links-of-32-bytes-or-more"
FINANCE = "finance@sponsors.example"
CREATE = "/api/create-checkout-session"
FUND = "/api/funding/create-checkout"


def token(role: str, subject: UUID, **claims: Any) -> str:
    claims |= {"sub": str(subject), "role": role, "iss": JWT["JWT_ISSUER"], "aud": JWT["JWT_AUDIENCE"]}
    now = int(time.time())
    return jwt.encode({"iat": now, "exp": now + 300, **claims}, JWT["JWT_SECRET"], algorithm="HS256")


def bearer(role: str, subject: UUID, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(role, subject, **claims)}"}


def major(amount: int, currency: str = "usd") -> str:
    """These minor units as a price."""
    return str(Money(amount=amount, currency=currency).to_decimal())


def wanted(slug: str = "barber-apprenticeship", price: Any = 4890, **other: Any) -> dict[str, Any]:
    return {"programName": "As displayed", "programSlug": slug, "price": price, "paymentType": "full", **other}


class Apps:
    """One app for equal settings, one database and one Stripe client per URL.

    Making an app, a TLS context, connections and SQLAlchemy's cache of statements takes longer than most tests.
    """

    def __init__(self) -> None:
        self._apps: dict[str, FastAPI] = {}
        self._databases: dict[str, Database] = {}
        self._stripes: dict[str, Stripe] = {}

    def database(self, url: str) -> Database:
        if url not in self._databases:
            self._databases[url] = Database(url, pool_size=40)
        return self._databases[url]

    def stripe(self, url: str) -> Stripe:
        if url not in self._stripes:
            settings = StripeSettings(stripe_api_key=SecretStr(SECRET_KEY), stripe_api_base=url)
            self._stripes[url] = Stripe(settings)
        return self._stripes[url]

    def get(self, settings: dict[str, Any]) -> FastAPI:
        key = repr(sorted((name, _plain(value)) for name, value in settings.items()))
        if key not in self._apps:
            self._apps[key] = main.app(ApiSettings(**settings))
        return self._apps[key]

    async def close(self) -> None:
        for app in self._apps.values():
            await app.state.stripe.close()
            await app.state.database.close()
        for client in self._stripes.values():
            await client.close()
        for database in self._databases.values():
            await database.close()


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


class Service:
    def __init__(self, server: Server, sandbox: StripeSandbox, apps: Apps | None = None) -> None:
        """`apps`: shared with other services; without them, this one makes and closes its own."""
        self._apps = apps or Apps()
        self._owns_apps = apps is None
        self.server = server
        self.sandbox = sandbox
        self.database = self._apps.database(server.url)
        self.consumers = (
            consumers.payment_events(),
            consumers.enrollment_events(),
            registrations(),
            customer_events(),
            erasure_events(),
        )
        self.stripe = self._apps.stripe(sandbox.url)
        self.handlers = main.jobs(self.database, self.stripe)
        self._refs: dict[UUID, frozenset[str]] = defaultdict(frozenset)
        """The references of a student's payments: Stripe keeps its events for a month only."""
        self.app = self.app_with()

    def app_with(self, **settings: Any) -> Any:
        return self._apps.get(
            {
                "database_url": SecretStr(self.server.api_url),
                "staff_database_url": SecretStr(self.server.staff_url),
                "jwt_secret": SecretStr(JWT["JWT_SECRET"]),
                "jwt_issuer": JWT["JWT_ISSUER"],
                "jwt_audience": JWT["JWT_AUDIENCE"],
                "stripe_api_key": SecretStr(SECRET_KEY),
                "stripe_publishable_key": "pk_test_checkout",
                "stripe_api_base": self.sandbox.url,
                "frontend_url": FRONTEND,
                "public_url": PUBLIC,
                "pay_link_secret": SecretStr(PAY_LINK_SECRET),
                "sponsor_finance_email": FINANCE,
                **settings,
            }
        )

    async def close(self) -> None:
        if self._owns_apps:
            await self._apps.close()

    async def call(
        self, method: str, path: str, *, app: Any = None, raw: str | None = None, **sent: Any
    ) -> httpx.Response:
        if raw is not None:
            sent = {**sent, "content": raw, "headers": {"Content-Type": "application/json", **sent.get("headers", {})}}
        transport = httpx.ASGITransport(app or self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://checkout", verify=False) as client:
            return await client.request(method, path, **sent)

    async def buy(self, student: UUID | None, body: dict[str, Any] | None = None, **sent: Any) -> httpx.Response:
        headers = sent.pop("headers", {}) | (bearer("student", student) if student else {})
        return await self.call("POST", CREATE, json=body or wanted(), headers=headers, **sent)

    async def create_customer(self, student: UUID) -> str:
        """The student's customer at Stripe, created before anything is bought."""
        return str(await self.app.state.customers.ensure(student, Buyer(id=student, role="student")))

    async def fund(
        self, student: UUID, *, role: str = "case_manager", slug: str = "dsp", **body: Any
    ) -> httpx.Response:
        body = {"studentId": str(student), "programId": "p-1", "programSlug": slug, "fundingSource": "WIOA", **body}
        return await self.call("POST", FUND, json=body, headers=bearer(role, CASE_MANAGER))

    async def assign(self, student: UUID, case_manager: UUID | None = CASE_MANAGER) -> None:
        """To the case manager, or to nobody."""
        body = {"case_manager_id": case_manager and str(case_manager), "reason": "a test"}
        answer = await self.admin("PUT", f"/api/admin/students/{student}/case-manager", **body)
        assert answer.status_code == 200, answer.text

    async def admin(self, method: str, path: str, **body: Any) -> httpx.Response:
        return await self.call(method, path, headers=bearer("admin", ADMIN), json=body or None)

    async def deliver(self, *events: Envelope[Any]) -> None:
        """Like the consumer process: inbox and handler in one commit."""
        for each in events:
            await deliver(self.database, self.consumers, "checkout", each, now=None)

    async def publish(self, event: Event, subject: str = "") -> None:
        id = f"evt_{uuid4().hex}/{event.type}"
        await self.deliver(Envelope(id=id, source="test", subject=subject or id, time=utc_now(), data=event))

    async def deliver_stripe_events(self, student: UUID) -> list[str]:
        """Delivers the gateway's payment events of this student; their types."""
        events = [e for e in await self.sandbox.gateway_events() if isinstance(e.data, PaymentEvent)]
        about = [e for e in events if e.data.student_id == student]
        mine = {e.id for e in about}
        invoiced = await self.rows(
            "SELECT stripe_invoice_id AS id FROM installments"
            " WHERE student_id = :student AND stripe_invoice_id IS NOT NULL",
            student=student,
        )
        stored = self._refs[student].union(row["id"] for row in invoiced)
        refs, before = stored.union(*(e.data.refs.of_payment() for e in about)), None
        while refs != before:  # an invoice leads to its payment, and that to its refund
            about = [e for e in events if e.id in mine or e.data.refs.of_payment() & refs]
            refs, before = refs.union(*(e.data.refs.of_payment() for e in about)), refs
        self._refs[student] = refs
        await self.deliver(*about)
        return [e.type for e in about]

    async def perform(self, student: UUID, *kinds: str, attempt: int = 1) -> None:
        """Performs the jobs (of these kinds) of the student's purchases, including those that are done."""
        ids = [str(row["id"]) for row in await self.purchases(student)]
        worker = JobWorker(self.database, "checkout", self.handlers)
        async with self.database.transaction() as db:
            rows = (await db.execute(select(jobs.jobs).where(jobs.jobs.c.kind.in_(kinds or self.handlers)))).all()
        for row in rows:
            if row.payload.get("purchase_id") in ids:
                await worker.attempt(
                    Job(id=row.id, kind=row.kind, key=row.key, payload=row.payload, cause=None, attempt=attempt)
                )

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]

    async def purchases(self, student: UUID) -> list[dict[str, Any]]:
        return await self.rows(
            "SELECT * FROM purchases WHERE student_id = :student ORDER BY created_at, id", student=student
        )

    async def purchase(self, student: UUID) -> dict[str, Any]:
        (found,) = await self.purchases(student)
        return found

    async def funding(self, student: UUID) -> dict[str, Any]:
        (found,) = await self.rows("SELECT * FROM funding_payments WHERE student_id = :student", student=student)
        return found

    async def invoice(self, student: UUID) -> stripe.Invoice:
        """The invoice of the student's sponsor, as Stripe has it."""
        return await self.sandbox.api.invoices.retrieve_async((await self.funding(student))["stripe_invoice_id"])

    async def published(self, student: UUID, type: str) -> list[dict[str, Any]]:
        if type == ReceiptIssued.type:
            await self.perform(student, PUBLICATION)
        found = await self.rows(
            "SELECT convert_from(body, 'UTF8') AS body FROM outbox_messages WHERE routing_key = :type ORDER BY id",
            type=type,
        )
        return [event for row in found if (event := json.loads(row["body"]))["student_id"] == str(student)]
