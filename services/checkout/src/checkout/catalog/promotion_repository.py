"""Uses of promotion codes: quoted, reserved when a purchase starts, redeemed when it is paid, released when it is not.

The row of the code is the lock: a transaction that increments its uses holds it until the commit, so concurrent buyers
cannot exceed either limit. The redemption's row is always locked before the code's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.problems import (
    PROMOTION_CHANGED,
    PROMOTION_CURRENCY_MISMATCH,
    PROMOTION_HELD_BY_GUESTS,
    PROMOTION_INACTIVE,
    PROMOTION_NOT_FOR_GUESTS,
    PROMOTION_NOT_FOR_THIS,
    PROMOTION_NOT_YET,
    PROMOTION_OVER,
    PROMOTION_OWN_REFERRAL,
    PROMOTION_USED_BY_YOU,
    PROMOTION_USED_UP,
)
from checkout.catalog.promotions import Promotion, RefusalCode, Refused, Sold, discount
from checkout.catalog.tables import promotion_codes, redemptions
from checkout.problems import UNKNOWN_PROMOTION
from checkout.schema import row_as
from contracts.money import Money
from kit.http.problems import Problem, ProblemType

_REFUSALS: dict[RefusalCode, ProblemType] = {
    "promotion_unknown": UNKNOWN_PROMOTION,
    "promotion_inactive": PROMOTION_INACTIVE,
    "promotion_changed": PROMOTION_CHANGED,
    "promotion_not_yet": PROMOTION_NOT_YET,
    "promotion_over": PROMOTION_OVER,
    "promotion_not_for_this": PROMOTION_NOT_FOR_THIS,
    "promotion_currency_mismatch": PROMOTION_CURRENCY_MISMATCH,
    "promotion_used_up": PROMOTION_USED_UP,
    "promotion_used_by_you": PROMOTION_USED_BY_YOU,
    "promotion_not_for_guests": PROMOTION_NOT_FOR_GUESTS,
    "promotion_held_by_guests": PROMOTION_HELD_BY_GUESTS,
    "promotion_own_referral": PROMOTION_OWN_REFERRAL,
}


@dataclass(frozen=True, kw_only=True)
class Quote:
    """`total` = `list_price` - `discount`."""

    list_price: Money
    discount: Money
    total: Money
    promotion: Promotion | None = None
    guest: bool = False


async def quote(
    db: AsyncConnection,
    item: Sold,
    price: Money,
    code: str | None,
    *,
    student_id: UUID,
    at: datetime,
    guest: bool = False,
) -> Quote:
    """The price with this code (case does not matter), or without one.

    A use that the student has reserved and not paid does not count: the same request again resumes their open purchase,
    and `reserve` checks strictly. Raises Problem: 404 unknown_promotion, 409 with the reason.
    """
    if code is None:
        return Quote(list_price=price, discount=Money(amount=0, currency=price.currency), total=price)
    promotion = await find(db, code)
    redeemed = 0
    if promotion is not None:
        counted = await _count(db, promotion.id, student_id)
        redeemed = counted.get("redeemed", 0)
        held = counted.get("reserved", 0)
        promotion = replace(
            promotion,
            uses=max(0, promotion.uses - held),
            guest_holds=max(0, promotion.guest_holds - held) if guest else promotion.guest_holds,
        )
    off = discount(
        promotion=promotion,
        item=item,
        price=price,
        now=at,
        student_id=student_id,
        used_by_student=redeemed,
        guest=guest,
    )
    if isinstance(off, Refused):
        raise refusal(off.code)
    return Quote(list_price=price, discount=off, total=price - off, promotion=promotion, guest=guest)


async def reserve(db: AsyncConnection, quote: Quote, *, purchase_id: UUID, student_id: UUID, at: datetime) -> None:
    """Reserves one use of the quote's code for this purchase, once; nothing when the quote has no code.

    Raises Problem 409 (promotion_used_up, promotion_used_by_you, promotion_inactive, promotion_changed,
    promotion_held_by_guests) when the code has changed or was used up since the quote; nothing is reserved then.
    """
    promotion = quote.promotion
    if promotion is None:
        return
    async with db.begin_nested():
        if await _redemption(db, quote, promotion, purchase_id=purchase_id, student_id=student_id, at=at):
            await _take(db, promotion, student_id=student_id, guest=quote.guest)


async def release(db: AsyncConnection, purchase_id: UUID, at: datetime) -> None:
    """The purchase will not be paid: releases its reserved use, once. A use that was paid stays used, also after a
    refund."""
    changed = await _change_status(db, purchase_id, "released", of="reserved", at=at)
    if changed is not None:
        await _add_uses(db, changed.code_id, -1, guest_holds=-1 if changed.guest else 0)


async def redeem(db: AsyncConnection, purchase_id: UUID, at: datetime) -> None:
    """The purchase is paid. If its use was released before, it is taken again, beyond the limit if need be: that price
    was charged."""
    if (changed := await _change_status(db, purchase_id, "redeemed", of="reserved", at=at)) is not None:
        if changed.guest:
            await _add_uses(db, changed.code_id, 0, guest_holds=-1)
    elif (changed := await _change_status(db, purchase_id, "redeemed", of="released", at=at)) is not None:
        await _add_uses(db, changed.code_id, +1)


async def find(db: AsyncConnection, code: str) -> Promotion | None:
    await name_code(db, code)
    row = (await db.execute(select(promotion_codes).where(promotion_codes.c.code == normalized(code)))).one_or_none()
    return None if row is None else promotion_of(row)


async def name_code(db: AsyncConnection, code: str) -> None:
    """Lets a student's request read this code: row-level security hides those that it does not name."""
    await db.execute(select(func.set_config("app.promotion_code", normalized(code), True)))


def normalized(code: str) -> str:
    """As codes are stored."""
    return code.strip().upper()


def promotion_of(row: Row[Any]) -> Promotion:
    kinds, items = (None if each is None else tuple(each) for each in (row.kinds, row.items))
    moments = {name: aware(row._mapping[name]) for name in ("valid_from", "valid_until")}
    return row_as(Promotion, row, kinds=kinds, items=items, **moments)


def aware(stored: datetime | None) -> datetime | None:
    """The driver returns PostgreSQL's infinities as the first and the last moment, without a time zone."""
    return stored.replace(tzinfo=UTC) if stored is not None and stored.tzinfo is None else stored


def refusal(code: RefusalCode) -> Problem:
    return _REFUSALS[code]()


async def _redemption(
    db: AsyncConnection, quote: Quote, promotion: Promotion, *, purchase_id: UUID, student_id: UUID, at: datetime
) -> bool:
    """Whether a use has to be taken for the purchase's redemption, whose row is locked from then on."""
    first = insert(redemptions).values(
        purchase_id=purchase_id,
        student_id=student_id,
        promotion_code_id=promotion.id,
        amount=quote.discount.amount,
        currency=quote.discount.currency,
        status="reserved",
        guest=quote.guest,
        created_at=at,
        updated_at=at,
    )
    if (await db.execute(first.on_conflict_do_nothing(index_elements=["purchase_id"]))).rowcount == 1:
        return True
    mine = redemptions.c.purchase_id == purchase_id
    existing = (await db.execute(select(redemptions).where(mine).with_for_update())).one_or_none()
    if existing is None or existing.student_id != student_id:
        raise ValueError("this purchase is another student's")
    if existing.status != "released":
        if existing.promotion_code_id != promotion.id:
            raise ValueError("this purchase has another promotion code")
        return False
    await db.execute(
        update(redemptions)
        .where(mine)
        .values(
            promotion_code_id=promotion.id,
            amount=quote.discount.amount,
            currency=quote.discount.currency,
            status="reserved",
            guest=quote.guest,
            updated_at=at,
        )
    )
    return True


async def _take(db: AsyncConnection, promotion: Promotion, *, student_id: UUID, guest: bool) -> None:
    codes = promotion_codes.c
    free = or_(codes.most_uses.is_(None), codes.uses < codes.most_uses)
    taken = await db.execute(
        update(promotion_codes)
        .where(codes.id == promotion.id, codes.active, free)
        .values(uses=codes.uses + 1, guest_holds=codes.guest_holds + (1 if guest else 0))
        .returning(promotion_codes)
    )
    row = taken.one_or_none()
    if row is None:
        active = (await db.execute(select(codes.active).where(codes.id == promotion.id))).scalar_one()
        raise PROMOTION_USED_UP() if active else PROMOTION_INACTIVE()
    current = promotion_of(row)
    if (current.percent_off, current.amount_off, current.currency) != (
        promotion.percent_off,
        promotion.amount_off,
        promotion.currency,
    ):
        raise PROMOTION_CHANGED()
    # (taking a guest's use changes both counts, so it does not change what guests may hold)
    if guest and current.guests_may_hold is not None and current.guest_holds > current.guests_may_hold:
        raise PROMOTION_HELD_BY_GUESTS()
    # a separate statement: it sees what was committed while the one above waited for the row
    counted = await _count(db, promotion.id, student_id)
    if current.most_per_student is not None and sum(counted.values()) > current.most_per_student:
        raise PROMOTION_USED_BY_YOU()


async def _count(db: AsyncConnection, code_id: UUID, student_id: UUID) -> dict[str, int]:
    """The number of uses of the code that the student holds, by status."""
    mine = (redemptions.c.promotion_code_id == code_id, redemptions.c.student_id == student_id)
    live = redemptions.c.status != "released"
    found = await db.execute(
        select(redemptions.c.status, func.count()).where(*mine, live).group_by(redemptions.c.status)
    )
    return {status: count for status, count in found}


@dataclass(frozen=True, kw_only=True)
class _Changed:
    code_id: UUID
    guest: bool


async def _change_status(
    db: AsyncConnection, purchase_id: UUID, status: str, *, of: str, at: datetime
) -> _Changed | None:
    """The redemption that has changed; None when there was nothing to change."""
    changed = await db.execute(
        update(redemptions)
        .where(redemptions.c.purchase_id == purchase_id, redemptions.c.status == of)
        .values(status=status, updated_at=at)
        .returning(redemptions.c.promotion_code_id, redemptions.c.guest)
    )
    row = changed.one_or_none()
    return None if row is None else _Changed(code_id=row.promotion_code_id, guest=row.guest)


async def _add_uses(db: AsyncConnection, code_id: UUID, number: int, *, guest_holds: int = 0) -> None:
    codes = promotion_codes.c
    counts = {"uses": codes.uses + number, "guest_holds": codes.guest_holds + guest_holds}
    await db.execute(update(promotion_codes).where(codes.id == code_id).values(counts))
