"""Promotion codes on a real database: quoted, reserved, redeemed and released, by the API's login and the owner's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from sqlalchemy import insert, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.checkout.service import Service

from checkout.catalog.promotion_repository import Quote, quote, redeem, release, reserve
from checkout.catalog.repository import Item, find_item
from checkout.catalog.tables import promotion_codes
from contracts.money import Money, usd
from kit.db.database import Database
from kit.db.unit_of_work import utc_now
from kit.http.problems import Problem
from testkit.postgres_server import Database as Server

PRICE = usd(59_900)


class Shop:
    """The repository with one of its two logins."""

    def __init__(self, login: str, server: Server) -> None:
        self.login = login
        self.owner = Database(server.url, pool_size=5)
        self.database = Database(server.api_url, pool_size=25) if login == "api" else Database(server.url, pool_size=25)

    async def close(self) -> None:
        await self.owner.close()
        await self.database.close()

    def acting(self, student: UUID) -> AbstractAsyncContextManager[AsyncConnection]:
        if self.login == "api":
            return self.database.transaction_of(student_id=student, role="student")
        return self.database.transaction()

    async def code(self, **values: Any) -> str:
        code = f"T{uuid4().hex[:12].upper()}"
        terms = {"code": code, **({} if "amount_off" in values else {"percent_off": 10}), **values}
        async with self.owner.transaction() as db:
            await db.execute(insert(promotion_codes).values(**terms))
        return code

    async def change(self, code: str, **values: Any) -> None:
        async with self.owner.transaction() as db:
            await db.execute(update(promotion_codes).where(promotion_codes.c.code == code).values(**values))

    async def uses(self, code: str) -> int:
        async with self.owner.transaction() as db:
            found = await db.execute(text("SELECT uses FROM promotion_codes WHERE code = :code"), {"code": code})
            return int(found.scalar_one())

    async def status(self, purchase: UUID) -> str | None:
        async with self.owner.transaction() as db:
            wanted = text("SELECT status FROM redemptions WHERE purchase_id = :id")
            return (await db.execute(wanted, {"id": purchase})).scalar_one_or_none()

    async def quote(self, code: str | None, student: UUID, price: Money = PRICE) -> Quote:
        async with self.acting(student) as db:
            return await quote(db, await self.item(db), price, code, student_id=student, at=utc_now())

    async def item(self, db: AsyncConnection, slug: str = "fsd") -> Item:
        found = await find_item(db, slug)
        assert found is not None
        return found

    async def reserve(self, quoted: Quote, student: UUID, purchase: UUID | None = None) -> UUID:
        purchase = purchase or uuid4()
        async with self.acting(student) as db:
            await reserve(db, quoted, purchase_id=purchase, student_id=student, at=utc_now())
        return purchase

    async def buy(self, code: str, student: UUID) -> UUID:
        return await self.reserve(await self.quote(code, student), student)

    async def release(self, purchase: UUID, student: UUID) -> None:
        async with self.acting(student) as db:
            await release(db, purchase, utc_now())

    async def redeem(self, purchase: UUID, student: UUID) -> None:
        async with self.acting(student) as db:
            await redeem(db, purchase, utc_now())


@pytest_asyncio.fixture(params=["api", "owner"])
async def shop(request: pytest.FixtureRequest, checkout_database: Server) -> AsyncIterator[Shop]:
    running = Shop(request.param, checkout_database)
    yield running
    await running.close()


async def test_a_quote_with_and_without_a_code(shop: Shop) -> None:
    code, student = await shop.code(), uuid4()
    plain = await shop.quote(None, student)
    assert (plain.list_price, plain.discount, plain.total, plain.promotion) == (PRICE, usd(0), PRICE, None)
    quoted = await shop.quote(f" {code.lower()} ", student)
    assert (quoted.list_price, quoted.discount, quoted.total) == (PRICE, usd(5_990), usd(53_910))
    assert quoted.promotion is not None and quoted.promotion.code == code
    assert await shop.uses(code) == 0, "a quote reserves nothing"
    fixed = await shop.quote(await shop.code(amount_off=99_999, currency="usd"), student)
    assert fixed.total == usd(0)


async def test_refusals_of_a_quote(shop: Shop) -> None:
    student, now = uuid4(), utc_now()
    for status, reason, terms in (
        (409, "promotion_inactive", {"active": False}),
        (409, "promotion_not_yet", {"valid_from": now + timedelta(hours=1)}),
        (409, "promotion_over", {"valid_until": now - timedelta(hours=1)}),
        (409, "promotion_not_for_this", {"items": ["dp"]}),
        (409, "promotion_not_for_this", {"kinds": ["bundle", "program"]}),
        (409, "promotion_currency_mismatch", {"amount_off": 100, "currency": "eur"}),
        (409, "promotion_used_up", {"most_uses": 2, "uses": 2}),
        (409, "promotion_own_referral", {"referrer_id": student}),
    ):
        with pytest.raises(Problem) as refused:
            await shop.quote(await shop.code(**terms), student)
        assert (refused.value.status, refused.value.code) == (status, reason)
    with pytest.raises(Problem) as refused:
        await shop.quote("NO-SUCH-CODE", student)
    assert (refused.value.status, refused.value.code) == (404, "unknown_promotion")


async def test_a_use_from_reserved_to_redeemed(shop: Shop) -> None:
    code, student = await shop.code(most_uses=2), uuid4()
    purchase = await shop.buy(code, student)
    assert (await shop.uses(code), await shop.status(purchase)) == (1, "reserved")
    await shop.redeem(purchase, student)
    await shop.redeem(purchase, student)
    await shop.release(purchase, student)
    assert (await shop.uses(code), await shop.status(purchase)) == (1, "redeemed"), "what is paid stays used"


async def test_a_use_is_released_once(shop: Shop) -> None:
    code, student = await shop.code(most_uses=2), uuid4()
    first, second = await shop.buy(code, student), await shop.buy(code, student)
    await asyncio.gather(*(shop.release(first, student) for _ in range(5)))
    assert (await shop.uses(code), await shop.status(first), await shop.status(second)) == (1, "released", "reserved")
    await shop.reserve(await shop.quote(code, student), student, first)
    assert (await shop.uses(code), await shop.status(first)) == (2, "reserved"), "the purchase came back to life"


async def test_a_late_payment_counts_even_beyond_the_limit(shop: Shop) -> None:
    code, early, late = await shop.code(most_uses=1), uuid4(), uuid4()
    purchase = await shop.buy(code, early)
    await shop.release(purchase, early)
    await shop.redeem(await shop.buy(code, late), late)
    await asyncio.gather(*(shop.redeem(purchase, early) for _ in range(5)))
    assert (await shop.uses(code), await shop.status(purchase)) == (2, "redeemed")


async def test_the_same_purchase_reserves_once(shop: Shop) -> None:
    code, student, purchase = await shop.code(most_uses=5), uuid4(), uuid4()
    quoted = await shop.quote(code, student)
    await asyncio.gather(*(shop.reserve(quoted, student, purchase) for _ in range(10)))
    assert await shop.uses(code) == 1
    other = await shop.quote(await shop.code(), student)
    with pytest.raises(ValueError, match="another promotion"):
        await shop.reserve(other, student, purchase)
    with pytest.raises((ValueError, DBAPIError)):
        await shop.reserve(quoted, uuid4(), purchase)
    assert await shop.uses(code) == 1


async def test_an_own_reserved_use_does_not_count(shop: Shop) -> None:
    """Resuming an open purchase must not fail because of its own use."""
    code, student = await shop.code(most_uses=1, most_per_student=1), uuid4()
    purchase = await shop.buy(code, student)
    quoted = await shop.quote(code, student)
    assert quoted.discount == usd(5_990)
    with pytest.raises(Problem) as refused:
        await shop.reserve(quoted, student)
    assert refused.value.code == "promotion_used_up", "a second purchase gets none"
    with pytest.raises(Problem) as refused:
        await shop.quote(code, uuid4())
    assert refused.value.code == "promotion_used_up"
    await shop.redeem(purchase, student)
    await shop.change(code, most_uses=None)
    with pytest.raises(Problem) as refused:
        await shop.quote(code, student)
    assert refused.value.code == "promotion_used_by_you"


async def test_50_concurrent_buyers_and_one_use_left(shop: Shop) -> None:
    code = await shop.code(most_uses=3, uses=2)
    students = [uuid4() for _ in range(50)]
    quoted = await shop.quote(code, students[0])
    outcomes = await asyncio.gather(*(shop.reserve(quoted, each) for each in students), return_exceptions=True)
    lost = [each for each in outcomes if isinstance(each, Problem)]
    assert len(lost) == 49 and {each.code for each in lost} == {"promotion_used_up"}
    assert sum(isinstance(each, UUID) for each in outcomes) == 1
    assert await shop.uses(code) == 3


async def test_50_concurrent_requests_of_one_student_with_one_use(shop: Shop) -> None:
    code, student = await shop.code(most_per_student=1), uuid4()
    quoted = await shop.quote(code, student)
    outcomes = await asyncio.gather(*(shop.reserve(quoted, student) for _ in range(50)), return_exceptions=True)
    lost = [each for each in outcomes if isinstance(each, Problem)]
    assert len(lost) == 49 and {each.code for each in lost} == {"promotion_used_by_you"}
    assert await shop.uses(code) == 1


async def test_uses_and_redemptions_agree_after_concurrent_changes(shop: Shop) -> None:
    code = await shop.code(most_uses=8, most_per_student=2)
    students = [uuid4() for _ in range(6)]
    quoted = await shop.quote(code, students[0])

    async def live(student: UUID, n: int) -> None:
        try:
            purchase = await shop.reserve(quoted, student)
        except Problem:
            return
        if n % 2:
            await asyncio.gather(shop.release(purchase, student), shop.redeem(purchase, student))
        elif n % 3:
            await shop.release(purchase, student)

    await asyncio.gather(*(live(student, n) for n in range(5) for student in students))
    async with shop.owner.transaction() as db:
        counted = await db.execute(
            text(
                "SELECT count(*) FROM redemptions r JOIN promotion_codes p ON p.id = promotion_code_id "
                "WHERE code = :code AND status <> 'released'"
            ),
            {"code": code},
        )
        assert await shop.uses(code) == counted.scalar_one()


async def test_a_code_that_was_deactivated_meanwhile(shop: Shop) -> None:
    code, student = await shop.code(), uuid4()
    quoted = await shop.quote(code, student)
    await shop.change(code, active=False)
    async with shop.acting(student) as db:
        with pytest.raises(Problem) as refused:
            await reserve(db, quoted, purchase_id=uuid4(), student_id=student, at=utc_now())
        await db.execute(text("SELECT 1"))  # the transaction of the caller is still good
    assert refused.value.code == "promotion_inactive"
    assert await shop.uses(code) == 0


async def test_without_a_code_there_is_nothing_to_do(shop: Shop) -> None:
    student, purchase = uuid4(), uuid4()
    await shop.reserve(await shop.quote(None, student), student, purchase)
    await shop.redeem(purchase, student)
    await shop.release(purchase, student)
    assert await shop.status(purchase) is None


async def test_a_student_cannot_change_another_students_redemption(service: Service, checkout_database: Server) -> None:
    shop = Shop("api", checkout_database)
    code, student, other = await shop.code(), uuid4(), uuid4()
    purchase = await shop.buy(code, student)
    await shop.release(purchase, other)
    await shop.redeem(purchase, other)
    assert (await shop.status(purchase), await shop.uses(code)) == ("reserved", 1)
    with pytest.raises(DBAPIError):
        async with shop.database.transaction_of(student_id=other, role="student") as db:
            await reserve(db, await shop.quote(code, student), purchase_id=uuid4(), student_id=student, at=utc_now())
    await shop.close()
