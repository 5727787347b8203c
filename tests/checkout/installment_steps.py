"""Steps for tests of installments: enroll, pay, let time pass, look at the rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import ADMIN, Service, bearer, major
from tests.deliveries import handled_types

from checkout import main
from checkout.installments.clock import Clock
from checkout.installments.timer import Timer
from checkout.purchases.customer_events import DETACHMENT
from contracts.envelope import Envelope
from contracts.registry import EVENT_TYPES
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker
from kit.messaging import fact_store
from ledger.facts import fold

DAY = timedelta(days=1)
CARD = "4242424242424242"
NEEDS_ACTION = "4000002760003184"
FIRST = 97_800
"""20 percent of a barber apprenticeship; the rest in five."""
EACH = 78_240


class School:
    """checkout with a test clock, and one student."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.student = uuid4()
        self.app = service.app_with(test_clock=True)
        service.handlers = main.jobs(service.database, service.stripe, test_clock=True)
        self.clock = Clock(service.database, enabled=True)
        self.timer = Timer(service.database, self.clock)
        self._delivered: set[str] = set()

    @property
    def sandbox(self) -> StripeSandbox:
        return self.service.sandbox

    async def call(self, method: str, path: str, *, role: str = "student", id: UUID | None = None, **sent: Any) -> Any:
        who = id or (ADMIN if role != "student" else self.student)
        claims = {"email": f"{who.hex}@example.org", "name": "Ada"} if role == "student" else {}
        headers = bearer(role, who, **claims) | sent.pop("headers", {})
        answer: httpx.Response = await self.service.call(method, path, app=self.app, headers=headers, **sent)
        return answer

    async def enroll(self, product: str = "barber-apprenticeship", **body: Any) -> Any:
        sent = {"product_id": product, "user_id": str(self.student), **body}
        return await self.call("POST", "/api/enrollments", json=sent)

    async def enrolled(self, product: str = "barber-apprenticeship", **body: Any) -> dict[str, Any]:
        answer = await self.enroll(product, **body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def started(self, product: str = "barber-apprenticeship", **body: Any) -> dict[str, Any]:
        """Enrolls, and pays the first installment by a card that is saved."""
        enrolled = await self.enrolled(product, **body)
        await self.pay(enrolled["stripe_client_secret"])
        await self.deliver()
        return enrolled

    async def admin(self, method: str, path: str, **sent: Any) -> Any:
        return await self.call(method, path, role="admin", **sent)

    async def product(
        self,
        *,
        active: bool = True,
        price: int = 90_000,
        currency: str = "usd",
        total_cost: int | None = None,
        **values: Any,
    ) -> str:
        """Adds a course; its slug. The amounts are minor units."""
        slug = f"course-{uuid4().hex[:12]}"
        prices = {"price": major(price, currency), "total_cost": total_cost and major(total_cost, currency)}
        body = {"kind": "course", "slug": slug, "name": "A course", "currency": currency, **prices, **values}
        answer = await self.admin("POST", "/api/admin/items", json=body)
        assert answer.status_code == 201, answer.text
        if not active:
            answer = await self.admin("PATCH", f"/api/admin/items/{slug}", json={"active": False})
            assert answer.status_code == 200, answer.text
        return slug

    async def code(self, **values: Any) -> str:
        """Adds a promotion code."""
        code = f"C{uuid4().hex[:10].upper()}"
        answer = await self.admin("POST", "/api/admin/promotions", json={"code": code, **values})
        assert answer.status_code == 201, answer.text
        return code

    async def pay(self, secret: str, **choice: Any) -> dict[str, Any]:
        """Confirms the intent, as the student does in the browser."""
        intent = secret.split("_secret_")[0]
        return await self.sandbox.operate(f"/payment_intents/{intent}/pay", **choice)

    async def deliver(self) -> None:
        """Delivers everything that Stripe and checkout itself have published about the student."""
        await self.service.deliver_stripe_events(self.student)
        for _ in range(3):
            if not await self._deliver_own():
                return

    async def own(self) -> list[Envelope[Any]]:
        """What checkout has published about this student and consumes itself."""
        rows = await self.service.rows(
            "SELECT convert_from(body, 'UTF8') AS body, message_key, routing_key FROM outbox_messages ORDER BY id"
        )
        own = []
        consumed = handled_types(self.service.consumers)
        for row in rows:
            if row["routing_key"] not in consumed:
                continue
            data = EVENT_TYPES[row["routing_key"]].model_validate_json(row["body"])
            if getattr(data, "student_id", None) == self.student:
                time = datetime.now(UTC)
                own.append(Envelope(id=row["message_key"], source="checkout", subject="own", time=time, data=data))
        return own

    async def _deliver_own(self) -> bool:
        new = [each for each in await self.own() if each.id not in self._delivered]
        self._delivered.update(each.id for each in new)
        await self.service.deliver(*new)
        return bool(new)

    async def later(self, days: int = 0, **more: int) -> None:
        """Lets time pass: collects what falls due, and delivers its events."""
        await self.clock.advance(timedelta(days=days, **more))
        await self.run_due()

    async def run_due(self) -> None:
        for _ in range(3):
            await self.timer.sweep()
            await self.perform()
            await self.deliver()

    async def perform(self) -> None:
        """Performs the student's jobs that are not done yet."""
        ids = {str(row["id"]) for row in await self.service.purchases(self.student)}
        pending = "SELECT * FROM jobs WHERE done_at IS NULL AND failed_at IS NULL ORDER BY available_at, created_at"
        rows = await self.service.rows(pending)
        worker = JobWorker(self.service.database, "checkout", self.service.handlers)
        for row in rows:
            mine = row["payload"].get("purchase_id") in ids or row["payload"].get("student_id") == str(self.student)
            mine |= row["kind"] == DETACHMENT
            if row["kind"] in self.service.handlers and mine:
                attempt = row["attempts"] + 1
                await worker.attempt(
                    Job(
                        id=row["id"],
                        kind=row["kind"],
                        key=row["key"],
                        payload=row["payload"],
                        cause=None,
                        attempt=attempt,
                    )
                )

    async def installments(self) -> list[dict[str, Any]]:
        return await self.service.rows(
            "SELECT i.* FROM installments i JOIN purchases p ON p.id = i.purchase_id WHERE i.student_id = :student"
            " ORDER BY p.created_at, i.position",
            student=self.student,
        )

    async def intent_of(self, installment: dict[str, Any]) -> str:
        """The id of the intent that pays the installment's invoice."""
        found = await self.service.stripe.invoice_intent(str(installment["stripe_invoice_id"]))
        assert found is not None
        return found.id

    async def canceled(self, **body: Any) -> None:
        """An admin cancels the student's only purchase."""
        path = f"/api/admin/enrollments/{(await self.service.purchase(self.student))['id']}/cancel"
        answer = await self.admin("POST", path, json={"reason": "moved away", **body})
        assert answer.status_code == 200, answer.text

    async def statuses(self) -> list[str]:
        return [row["status"] for row in await self.installments()]

    async def overview(self, id: object) -> dict[str, Any]:
        answer = await self.call("GET", f"/api/enrollments/{id}/payment")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def failures(self) -> list[dict[str, Any]]:
        return await self.service.published(self.student, "payment.failed.v1")

    async def charges(self) -> int:
        """Minor units that the student paid at Stripe, less refunds."""
        rows = await self.service.rows("SELECT * FROM customers WHERE student_id = :student", student=self.student)
        found = await self.sandbox.api.charges.list_async({"customer": rows[0]["stripe_customer_id"], "limit": 100})
        return sum(each.amount - each.amount_refunded for each in found.data if each.paid)

    async def customer(self) -> str:
        (row,) = await self.service.rows("SELECT * FROM customers WHERE student_id = :student", student=self.student)
        return str(row["stripe_customer_id"])

    async def fail_next(self, times: int, decline_code: str = "insufficient_funds") -> None:
        path = f"/customers/{await self.customer()}/fail_next_charges"
        await self.sandbox.operate(path, times=times, decline_code=decline_code)

    async def state(self) -> str:
        return str((await self.service.purchase(self.student))["state"])

    async def standing(self) -> tuple[str, str | None]:
        """As every service derives it from the events."""
        purchase_id = (await self.service.purchase(self.student))["id"]
        async with self.service.database.transaction() as db:
            group = await fact_store.group_of(db, f"purchase:{purchase_id}")
        events = {each.event_id: EVENT_TYPES[each.type].model_validate_json(each.body) for each in group}
        (purchase,) = [each for each in fold(events) if each.id == purchase_id]  # type: ignore[arg-type]
        standing, reason = purchase.standing()
        return str(standing), reason
