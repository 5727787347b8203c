"""A guest needs no account, so guests hold the uses of a limited code for a short time, and never all of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkout.service import Service, wanted
from tests.checkout.test_courses import promotion
from tests.checkout.test_promotions import NOW, TEN, Thing

from checkout.catalog.promotions import Refused, discount
from contracts.money import usd

HELD = "promotion_held_by_guests"


async def as_guest(service: Service, code: str, **sent: Any) -> Any:
    return await service.buy(None, wanted("cpr", 575, promotionCode=code), **sent)


async def as_student(service: Service, code: str) -> Any:
    return await service.buy(uuid4(), wanted("cpr", 575, promotionCode=code))


async def counts(service: Service, code: str) -> tuple[int, int]:
    (row,) = await service.rows("SELECT uses, guest_holds FROM promotion_codes WHERE code = :code", code=code)
    return row["uses"], row["guest_holds"]


async def purchases(service: Service, code: str) -> list[dict[str, Any]]:
    return await service.rows("SELECT * FROM purchases WHERE promotion_code = :code ORDER BY created_at", code=code)


async def expire(service: Service, purchase: dict[str, Any]) -> None:
    await service.sandbox.operate(f"/sessions/{purchase['stripe_checkout_session_id']}/expire")
    await service.deliver_stripe_events(purchase["student_id"])


async def test_five_guests_do_not_keep_a_student_out(service: Service) -> None:
    code = await promotion(service, percent_off=10, most_uses=5)
    answers = await asyncio.gather(*(as_guest(service, code) for _ in range(5)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 3 and {(each.status_code, each.json()["code"]) for each in refused} == {(409, HELD)}
    assert await counts(service, code) == (2, 2)
    for left in (4, 3, 2):
        assert (await as_student(service, code)).status_code == 200, left
    assert (await as_student(service, code)).json()["code"] == "promotion_used_up"
    assert await counts(service, code) == (5, 2), "never more than the limit"


async def test_a_guests_page_expires_soon(service: Service) -> None:
    code = await promotion(service, percent_off=10, most_uses=1)
    assert (await as_guest(service, code)).status_code == 200
    (purchase,) = await purchases(service, code)
    assert timedelta(minutes=30) <= purchase["expires_at"] - purchase["created_at"] <= timedelta(minutes=33)
    assert (await as_student(service, code)).json()["code"] == "promotion_used_up"
    await expire(service, purchase)
    assert await counts(service, code) == (0, 0)
    assert (await as_student(service, code)).status_code == 200


async def test_a_longer_hold_is_a_setting(service: Service) -> None:
    code = await promotion(service, percent_off=10)
    assert (await as_guest(service, code, app=service.app_with(guest_hold_minutes=60))).status_code == 200
    (purchase,) = await purchases(service, code)
    assert timedelta(minutes=60) <= purchase["expires_at"] - purchase["created_at"] <= timedelta(minutes=63)


async def test_a_page_without_a_code_or_of_a_student_stays_open_for_a_day(service: Service) -> None:
    student, code = uuid4(), await promotion(service, percent_off=10)
    await service.buy(student, wanted("cpr", 575, promotionCode=code))
    key = {"Idempotency-Key": str(uuid4())}
    await service.buy(None, wanted("cpr", 575), headers=key)
    rows = [await service.purchase(student), *await service.rows("SELECT * FROM purchases ORDER BY created_at DESC")]
    for row in rows[:2]:
        assert row["expires_at"] - row["created_at"] > timedelta(hours=23)


async def test_a_page_that_was_never_opened_expires_as_soon(service: Service) -> None:
    """Of such a page, Stripe sends no event."""
    code = await promotion(service, percent_off=10)
    assert (await as_guest(service, code)).status_code == 200
    (purchase,) = await purchases(service, code)
    (job,) = await service.rows(
        "SELECT available_at FROM jobs WHERE kind = 'page_expiry' AND key = :key", key=f"{purchase['id']}/expiry"
    )
    assert timedelta(minutes=30) <= job["available_at"] - purchase["created_at"] <= timedelta(minutes=33)


async def test_a_guest_who_pays_holds_nothing_any_more(service: Service) -> None:
    code = await promotion(service, percent_off=10, most_uses=2)
    await as_guest(service, code)
    assert (await as_guest(service, code)).json()["code"] == HELD
    (purchase,) = await purchases(service, code)
    await service.sandbox.pay(purchase["stripe_checkout_session_id"])
    await service.deliver_stripe_events(purchase["student_id"])
    assert await counts(service, code) == (1, 0)
    assert (await as_guest(service, code)).status_code == 200, "the last one"
    assert (await as_guest(service, code)).json()["code"] == "promotion_used_up"


async def test_the_same_guest_resumes_their_page(service: Service) -> None:
    code, key = await promotion(service, percent_off=10, most_uses=1), {"Idempotency-Key": str(uuid4())}
    first = await as_guest(service, code, headers=key)
    (purchase,) = await purchases(service, code)
    await service.rows("DELETE FROM idempotency_keys WHERE key = :key RETURNING key", key=key["Idempotency-Key"])
    again = await as_guest(service, code, headers=key)
    assert (first.status_code, again.json()) == (200, first.json())
    assert [row["id"] for row in await purchases(service, code)] == [purchase["id"]]


async def test_guests_and_students_at_once(service: Service) -> None:
    code = await promotion(service, percent_off=10, most_uses=7)
    callers = (as_guest, as_student) * 10
    answers = await asyncio.gather(*(caller(service, code) for caller in callers))
    assert {answer.status_code for answer in answers} == {200, 409}
    uses, holds = await counts(service, code)
    assert uses == sum(answer.status_code == 200 for answer in answers) <= 7
    assert holds <= 3
    for purchase in await purchases(service, code):
        await expire(service, purchase)
    assert await counts(service, code) == (0, 0)


@pytest.mark.parametrize(("most", "uses", "holds", "refused"), [(2, 0, 0, None), (2, 1, 1, HELD), (4, 1, 1, None)])
def test_a_guest_gets_half_of_what_is_left(most: int, uses: int, holds: int, refused: str | None) -> None:
    code = replace(TEN, most_uses=most, uses=uses, guest_holds=holds)
    found = discount(
        promotion=code, item=Thing(), price=usd(1000), now=NOW, student_id=uuid4(), used_by_student=0, guest=True
    )
    assert (found.code if isinstance(found, Refused) else None) == refused


@given(most=st.integers(1, 1000), data=st.data())
def test_guests_never_hold_all_of_a_code_with_two_uses_left(most: int, data: st.DataObject) -> None:
    others = data.draw(st.integers(0, most))
    code = replace(TEN, most_uses=most, uses=others)
    while code.guests_may_hold is not None and code.guest_holds < min(code.guests_may_hold, most - others):
        code = replace(code, uses=code.uses + 1, guest_holds=code.guest_holds + 1)
    assert code.uses <= most
    assert most - others < 2 or code.uses < most
