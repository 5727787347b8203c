"""Promotion codes at work: quoted, reserved when a purchase starts, redeemed when it is paid, released when it is not.

The row of the code is the lock: whoever has counted a use up holds it until the commit, so that neither limit can be
passed by buyers who come at once. The redemption's row is always locked before the code's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.promotions import Promotion, RefusalCode, Refused, Sold, discount
from checkout.catalog.tables import promotion_codes, redemptions
from contracts.money import Money
from kit.http.errors import Problem

_DETAILS: dict[RefusalCode, str] = {
    "promotion_unknown": "There is no such promotion code; look at its spelling, or buy without it.",
    "promotion_inactive": "This promotion code is not in use (any more); buy without it.",
    "promotion_changed": "This promotion code has been changed this very moment; look at the price again.",
    "promotion_not_yet": "This promotion code cannot be used yet; buy without it, or later.",
    "promotion_over": "The time of this promotion code is over; buy without it.",
    "promotion_not_for_this": "This promotion code is not for this item; buy without it.",
    "promotion_currency_mismatch": "This promotion code is for another currency; buy without it.",
    "promotion_used_up": "This promotion code is used up; buy without it.",
    "promotion_used_by_you": "You have used this promotion code as often as you can; buy without it.",
    "promotion_not_for_guests": "This promotion code is for students who have signed in; sign in, or buy without it.",
    "promotion_own_referral": "Your own referral code is for others; buy without it.",
}


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A price as it is shown: `total` = `list_price` - `discount`."""

    list_price: Money
    discount: Money
    total: Money
    promotion: Promotion | None = None


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
    """The price with this code (in whatever case it is written), or without any.

    A use that the student has reserved and not paid counts as free for them: whoever asks again for the same finds
    their open purchase, and `reserve` looks strictly. Raises Problem: 404 unknown_promotion, 409 with the reason.
    """
    if code is None:
        return Quote(list_price=price, discount=Money(amount=0, currency=price.currency), total=price)
    promotion = await find(db, code)
    redeemed = 0
    if promotion is not None:
        counted = await _count(db, promotion.id, student_id)
        redeemed = counted.get("redeemed", 0)
        promotion = replace(promotion, uses=max(0, promotion.uses - counted.get("reserved", 0)))
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
    return Quote(list_price=price, discount=off, total=price - off, promotion=promotion)


async def reserve(db: AsyncConnection, quote: Quote, *, purchase_id: UUID, student_id: UUID, at: datetime) -> None:
    """Takes one use of the quote's code for this purchase, once; nothing when the quote has none.

    Raises Problem 409 (promotion_used_up, promotion_used_by_you, promotion_inactive, promotion_changed) when somebody
    else was faster; nothing is taken then.
    """
    promotion = quote.promotion
    if promotion is None:
        return
    async with db.begin_nested():
        if await _redemption(db, quote, promotion, purchase_id=purchase_id, student_id=student_id, at=at):
            await _take(db, promotion, student_id=student_id)


async def release(db: AsyncConnection, purchase_id: UUID, at: datetime) -> None:
    """The purchase will not be paid: gives its reserved use back, once. What was paid stays used, also when the money
    went back later."""
    code_id = await _become(db, purchase_id, "released", of="reserved", at=at)
    if code_id is not None:
        await _count_by(db, code_id, -1)


async def redeem(db: AsyncConnection, purchase_id: UUID, at: datetime) -> None:
    """The purchase is paid. When its use was given back before, it is taken again, beyond the limit if need be: the
    money was taken at that price."""
    if await _become(db, purchase_id, "redeemed", of="reserved", at=at) is not None:
        return
    code_id = await _become(db, purchase_id, "redeemed", of="released", at=at)
    if code_id is not None:
        await _count_by(db, code_id, +1)


async def find(db: AsyncConnection, code: str) -> Promotion | None:
    row = (await db.execute(select(promotion_codes).where(promotion_codes.c.code == written(code)))).one_or_none()
    return None if row is None else promotion_of(row)


def written(code: str) -> str:
    """As codes are kept."""
    return code.strip().upper()


def promotion_of(row: Row[Any]) -> Promotion:
    values = {name: getattr(row, name) for name in Promotion.__dataclass_fields__}
    for name in ("kinds", "items"):
        values[name] = None if values[name] is None else tuple(values[name])
    return Promotion(**values)


def refusal(code: RefusalCode) -> Problem:
    if code == "promotion_unknown":
        return Problem(404, "unknown_promotion", _DETAILS[code])
    return Problem(409, code, _DETAILS[code])


async def _redemption(
    db: AsyncConnection, quote: Quote, promotion: Promotion, *, purchase_id: UUID, student_id: UUID, at: datetime
) -> bool:
    """Whether a use has to be taken for the purchase's redemption, whose row is locked from here on."""
    values = {
        "promotion_code_id": promotion.id,
        "amount": quote.discount.amount,
        "currency": quote.discount.currency,
        "status": "reserved",
        "updated_at": at,
    }
    first = insert(redemptions).values(purchase_id=purchase_id, student_id=student_id, created_at=at, **values)
    if (await db.execute(first.on_conflict_do_nothing(index_elements=["purchase_id"]))).rowcount == 1:
        return True
    mine = redemptions.c.purchase_id == purchase_id
    known = (await db.execute(select(redemptions).where(mine).with_for_update())).one_or_none()
    if known is None or known.student_id != student_id:
        raise ValueError("this purchase is somebody else's")
    if known.status != "released":
        if known.promotion_code_id != promotion.id:
            raise ValueError("this purchase has another promotion code")
        return False
    await db.execute(update(redemptions).where(mine).values(**values))
    return True


async def _take(db: AsyncConnection, promotion: Promotion, *, student_id: UUID) -> None:
    codes = promotion_codes.c
    free = or_(codes.most_uses.is_(None), codes.uses < codes.most_uses)
    taken = await db.execute(
        update(promotion_codes)
        .where(codes.id == promotion.id, codes.active, free)
        .values(uses=codes.uses + 1)
        .returning(codes.most_per_student, codes.percent_off, codes.amount_off, codes.currency)
    )
    row = taken.one_or_none()
    if row is None:
        active = (await db.execute(select(codes.active).where(codes.id == promotion.id))).scalar_one()
        raise refusal("promotion_used_up" if active else "promotion_inactive")
    if (row.percent_off, row.amount_off, row.currency) != (
        promotion.percent_off,
        promotion.amount_off,
        promotion.currency,
    ):
        raise refusal("promotion_changed")
    # in a statement of its own: it sees what was committed while the one above waited for the row
    counted = await _count(db, promotion.id, student_id)
    if row.most_per_student is not None and sum(counted.values()) > row.most_per_student:
        raise refusal("promotion_used_by_you")


async def _count(db: AsyncConnection, code_id: UUID, student_id: UUID) -> dict[str, int]:
    """How many uses of the code the student holds, by status."""
    mine = (redemptions.c.promotion_code_id == code_id, redemptions.c.student_id == student_id)
    live = redemptions.c.status != "released"
    found = await db.execute(
        select(redemptions.c.status, func.count()).where(*mine, live).group_by(redemptions.c.status)
    )
    return {status: count for status, count in found}


async def _become(db: AsyncConnection, purchase_id: UUID, status: str, *, of: str, at: datetime) -> UUID | None:
    """The code whose redemption has changed; None when there was nothing to change."""
    changed = await db.execute(
        update(redemptions)
        .where(redemptions.c.purchase_id == purchase_id, redemptions.c.status == of)
        .values(status=status, updated_at=at)
        .returning(redemptions.c.promotion_code_id)
    )
    code_id: UUID | None = changed.scalar_one_or_none()
    return code_id


async def _count_by(db: AsyncConnection, code_id: UUID, number: int) -> None:
    codes = promotion_codes.c
    await db.execute(update(promotion_codes).where(codes.id == code_id).values(uses=codes.uses + number))
