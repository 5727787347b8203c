"""The enrollment service under test, and buyers of tracks, bundles and memberships with their payment events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
from sqlalchemy import text
from tests.deliveries import AT, deliver, envelope
from tests.tokens import bearer

from contracts.checkout import CatalogItemChanged, Project
from contracts.envelope import Event
from contracts.money import Money, usd
from contracts.payments import (
    PaymentEvent,
    PaymentFailed,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    PurchaseEnded,
    SubscriptionChanged,
)
from contracts.people import MEMBERSHIP, ItemRef, Program, enrollment_uuid
from enrollment import consumers
from kit.db.database import Database, row_dict

PAYMENTS, CATALOG = consumers.payments(), consumers.catalog()

PRICE = usd(99_900)
TRACK = Program(slug="web-developer", id="item-1", name="Web Developer", kind="track")
PROJECTS = (Project(title="A page", steps=("Write it", "Publish it")), Project(title="A shop", steps=("Sell it",)))
BUNDLE = Program(
    slug="everything",
    id="item-2",
    kind="bundle",
    includes=(
        ItemRef(slug="web-developer", id="item-1", name="Web Developer", kind="track"),
        ItemRef(slug="cpr", id="item-3", kind="course"),
        ItemRef(slug="tool-kit", id="item-4", kind="product"),
    ),
)
SILVER = Program(slug=MEMBERSHIP, id="item-5", kind="membership")


@dataclass
class Buyer:
    """A student who buys one item, and the payment events of that purchase."""

    program: Program = TRACK
    price: Money | None = PRICE
    installments: int | None = None
    id: UUID = field(default_factory=uuid4)
    purchase_id: UUID = field(default_factory=uuid4)

    def _metadata(self) -> dict[str, Any]:
        fields = {"purchase_id": self.purchase_id, "student_id": self.id, "program": self.program}
        return fields | {"price": self.price, "installments": self.installments}

    @property
    def _intent(self) -> PaymentRefs:
        return PaymentRefs(payment_intent=f"pi_{self.purchase_id}")

    @property
    def _subscription(self) -> str:
        return f"sub_{self.purchase_id}"

    def paid(self, amount: int = PRICE.amount, *, n: int = 0, method: str = "card") -> PaymentEvent:
        refs = PaymentRefs(payment_intent=f"pi_{self.purchase_id}" + (f"_{n}" if n else ""))
        return PaymentSucceeded(refs=refs, amount=usd(amount), method=method, **self._metadata())

    def refunded(self, amount: int = PRICE.amount) -> PaymentEvent:
        return PaymentRefunded(refs=self._intent, total=usd(amount), before=usd(0), of=usd(amount))

    def refund_started(self, amount: int = PRICE.amount) -> PaymentEvent:
        return PaymentRefunded(refs=self._intent, refund_id="re_1", amount=usd(amount), status="pending")

    def refund_failed(self, amount: int = PRICE.amount) -> PaymentEvent:
        return PaymentRefunded(refs=self._intent, refund_id="re_1", amount=usd(amount), status="failed")

    def canceled(self) -> PaymentEvent:
        return PurchaseEnded(refs=PaymentRefs(), by="school", reason="moved away", **self._metadata())

    def invoice_paid(self, n: int) -> PaymentEvent:
        refs = PaymentRefs(invoice=f"in_{self.purchase_id}_{n}", subscription=self._subscription)
        amount = usd(1_900) if self.price is None else usd(self.price.amount // (self.installments or 1))
        return PaymentSucceeded(refs=refs, amount=amount, **self._metadata())

    def invoice_missed(self, n: int) -> PaymentEvent:
        refs = PaymentRefs(invoice=f"in_{self.purchase_id}_{n}", subscription=self._subscription)
        return PaymentFailed(refs=refs, attempt=4, final=True, **self._metadata())

    def subscription(self, day: int, *, status: Any = "active", tier: str = "silver", **more: Any) -> PaymentEvent:
        refs = PaymentRefs(subscription=self._subscription)
        as_of = AT + timedelta(days=day)
        return SubscriptionChanged(refs=refs, status=status, tier=tier, as_of=as_of, **more, **self._metadata())

    @property
    def enrollment_id(self) -> UUID:
        return enrollment_uuid(self.id, self.program.slug)


def curriculum(
    projects: tuple[Project, ...] = PROJECTS, *, revision: int = 1, item: Program = TRACK
) -> CatalogItemChanged:
    return CatalogItemChanged(item=item, price=PRICE, active=True, revision=revision, projects=projects)


class Service:
    def __init__(self, database: Database, api: httpx.AsyncClient) -> None:
        self.database = database
        self.api = api

    async def deliver(self, *events: Event) -> None:
        """Delivers each event under an id of its own, like the consumer process."""
        for event in events:
            consumer = CATALOG if isinstance(event, CatalogItemChanged) else PAYMENTS
            await deliver(self.database, consumer, "enrollment", envelope(f"evt_{uuid4()}", event))

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as db:
            return [row_dict(row) for row in await db.execute(text(sql), values)]

    async def enrollment(self, student: UUID, slug: str) -> dict[str, Any]:
        (row,) = await self.rows(
            "SELECT * FROM enrollments WHERE student_id = :student AND program_slug = :slug", student=student, slug=slug
        )
        return row

    async def standing(self, buyer: Buyer) -> tuple[str, str | None]:
        row = await self.enrollment(buyer.id, buyer.program.slug)
        return row["status"], row["reason"]

    async def published(self, student: UUID, slug: str | None = None) -> list[str]:
        """The events published about the student's enrollments, in order, each with its revision."""
        rows = await self.rows("SELECT routing_key, body FROM outbox_messages ORDER BY id")
        events = [(row["routing_key"], json.loads(row["body"])) for row in rows]
        return [
            f"{body['revision']} {type.removeprefix('enrollment.').removesuffix('.v1')}"
            for type, body in events
            if "revision" in body and body["student_id"] == str(student) and slug in (None, body["program"]["slug"])
        ]

    async def progress(self, buyer: Buyer, *, role: str = "student", who: UUID | None = None) -> dict[str, Any]:
        path = f"/api/enrollments/{buyer.enrollment_id}/progress"
        answer = await self.api.get(path, headers=bearer(who or buyer.id, role))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def steps(self, buyer: Buyer) -> list[str]:
        """The ids of all steps, in order."""
        progress = await self.progress(buyer)
        return [step["id"] for project in progress["projects"] for step in project["steps"]]

    async def done(self, buyer: Buyer, step: str, *, role: str = "student", who: UUID | None = None) -> httpx.Response:
        path = f"/api/enrollments/{buyer.enrollment_id}/progress/steps/{step}/done"
        return await self.api.post(path, headers=bearer(who or buyer.id, role))

    async def does_all(self, buyer: Buyer) -> None:
        for step in await self.steps(buyer):
            assert (await self.done(buyer, step)).status_code == 200
