"""A specialist's revenue by currency, item and month, with disputes separate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tests.checkout.payment_steps import read
from tests.checkout.service import ADMIN, Service

from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)

PATH = "/api/payments/specialist/statistics"


class Sales:
    """The events of sales of a specialist's items."""

    def __init__(self, service: Service, owner: UUID) -> None:
        self.service = service
        self.owner = owner

    async def sold(
        self, slug: str, amount: int, currency: str = "usd", *, month: int = 9, refunded: int = 0, dispute: Any = None,
        method: str = "card",
    ) -> UUID:  # fmt: skip
        student, tag = uuid4(), uuid4().hex
        await self.service.buy(student)
        (row,) = await self.service.rows(
            "UPDATE purchases SET owner_id = :owner, program_slug = :slug, program_name = :slug, currency = :currency "
            "WHERE student_id = :student RETURNING id",
            owner=self.owner, slug=slug, student=student, currency=currency,
        )  # fmt: skip
        refs, money = (
            PaymentRefs(payment_intent=f"pi_{tag}", charge=f"ch_{tag}"),
            Money(amount=amount, currency=currency),
        )
        events: list[Any] = [
            PaymentSucceeded(refs=refs, purchase_id=row["id"], student_id=student, amount=money, method=method)
        ]
        if refunded:
            back = Money(amount=refunded, currency=currency)
            events.append(PaymentRefunded(refs=refs, refund_id=f"re_{tag}", amount=back))
        if dispute == "open":
            fields = {"dispute_id": f"du_{tag}", "amount": money, "status": "needs_response", "funds": "withdrawn"}
            events.append(PaymentDisputeOpened(refs=refs, **fields))
        if dispute == "lost":
            fields = {"dispute_id": f"du_{tag}", "amount": money, "status": "lost", "funds": "withdrawn"}
            events.append(PaymentDisputeClosed(refs=refs, **fields))
        time = datetime(2026, month, 30, 23, 59, tzinfo=UTC)
        for n, event in enumerate(events):
            id = f"evt_{tag}_{n}/{event.type}"
            await self.service.deliver(Envelope(id=id, source="test", subject=str(row["id"]), time=time, data=event))
        return student


async def test_a_specialist_sees_their_own_revenue(service: Service) -> None:
    owner = uuid4()
    mine, others = Sales(service, owner), Sales(service, uuid4())
    await mine.sold("weaving", 50_000)
    await mine.sold("weaving", 50_000, month=10, refunded=20_000)
    await mine.sold("dyeing", 30_001, month=10)
    await mine.sold("dyeing", 30_000, month=10, dispute="open")
    await mine.sold("dyeing", 10_000, month=10, dispute="lost")
    await mine.sold("weaving", 7_000, "eur")
    await mine.sold("weaving", 50_000, method="waiver")
    await mine.sold("weaving", 0, method="promotion")
    await others.sold("weaving", 99_000)
    answer = await read(service, PATH, role="specialist", by=owner)
    assert answer.status_code == 200, answer.text
    euros, dollars = answer.json()["items"]
    assert {name: dollars[name] for name in ("currency", "count", "gross", "refunded", "lost", "net", "disputes")} == {
        "currency": "usd",
        "count": 5,
        "gross": 170_001,
        "refunded": 20_000,
        "lost": 10_000,
        "net": 140_001,
        "disputes": {"open": 1, "withdrawn": 40_000, "lost": 10_000},
    }
    assert dollars["by_item"] == [
        {
            "item_slug": "dyeing",
            "item_name": "dyeing",
            "count": 3,
            "gross": 70_001,
            "refunded": 0,
            "lost": 10_000,
            "net": 60_001,
        },
        {
            "item_slug": "weaving",
            "item_name": "weaving",
            "count": 2,
            "gross": 100_000,
            "refunded": 20_000,
            "lost": 0,
            "net": 80_000,
        },
    ]
    assert dollars["by_month"] == [
        {"month": "2026-09", "count": 1, "gross": 50_000, "refunded": 0, "lost": 0, "net": 50_000},
        {"month": "2026-10", "count": 4, "gross": 120_001, "refunded": 20_000, "lost": 10_000, "net": 90_001},
    ]
    assert (euros["currency"], euros["gross"], euros["disputes"]["withdrawn"]) == ("eur", 7_000, 0)
    assert all(isinstance(each["gross"], int) for each in (euros, dollars))

    for_admin = await read(service, f"{PATH}/?specialist_id={owner}", role="admin", by=ADMIN)
    assert for_admin.json() == answer.json()
    october = await read(service, f"{PATH}?from=2026-10-01T00:00:00Z", role="specialist", by=owner)
    assert [each["gross"] for each in october.json()["items"]] == [120_001]
    september = await read(service, f"{PATH}?to=2026-10-01T00:00:00Z", role="specialist", by=owner)
    assert [each["gross"] for each in september.json()["items"]] == [7_000, 50_000]


async def test_a_specialists_own_purchases_are_not_revenue(service: Service) -> None:
    student = await Sales(service, uuid4()).sold("weaving", 50_000)
    assert (await read(service, PATH, role="specialist", by=student)).json() == {"items": [], "next": None}


async def test_others_cannot_see_revenue(service: Service) -> None:
    for role in ("student", "case_manager"):
        assert (await read(service, PATH, role=role)).status_code == 403
    assert (await service.call("GET", PATH)).status_code == 401
    unnamed = await read(service, PATH, role="admin")
    assert (unnamed.status_code, unnamed.json()["code"]) == (422, "specialist_missing")
    other = await read(service, f"{PATH}?specialist_id={uuid4()}", role="specialist")
    assert (other.status_code, other.json()["code"]) == (403, "forbidden")
