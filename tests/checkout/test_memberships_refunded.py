"""A membership that is refunded: it ends at Stripe, and what was credited is not paid back a second time."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from tests.checkout.membership_steps import MONTH, Member, refused
from tests.checkout.payment_steps import deliver_published
from tests.checkout.service import ADMIN, bearer

YEAR_PRICE = 19_000
MONTH_PRICE = 1_900
CREDIT = YEAR_PRICE - MONTH_PRICE


async def _payments(member: Member) -> list[dict[str, Any]]:
    return await member.service.rows(
        "SELECT * FROM payments WHERE student_id = :student AND amount > 0 ORDER BY created_at", student=member.id
    )


async def _refund(member: Member, *, role: str = "student", **body: Any) -> httpx.Response:
    (payment, *_) = await _payments(member)
    headers = bearer(role, member.id if role == "student" else ADMIN)
    path = f"/api/payments/{payment['id']}/refund"
    return await member.service.call("POST", path, json={"reason": "moved", **body}, headers=headers)


async def _balance(member: Member) -> int:
    customer = await member.sandbox.api.customers.retrieve_async(str((await member.subscription()).customer))
    return customer.balance or 0


async def _charged(member: Member) -> int:
    """What Stripe has charged, less what it has refunded."""
    customer = str((await member.subscription()).customer)
    charges = (await member.sandbox.api.charges.list_async({"customer": customer, "limit": 100})).data
    return sum(charge.amount - charge.amount_refunded for charge in charges if charge.paid)


async def _finish(member: Member) -> None:
    """Delivers what checkout has published, performs the jobs, and delivers their events."""
    await deliver_published(member.service, member.id)
    await member.catch_up()
    await member.catch_up()


async def test_a_refund_ends_the_membership_at_stripe(member: Member) -> None:
    await member.join("student")
    answer = await _refund(member)
    assert (answer.status_code, answer.json()["amount"], answer.json()["purchase_ended"]) == (201, MONTH_PRICE, True)
    assert (await member.subscription()).status == "canceled", "before anything is promised"
    await _finish(member)
    assert (await member.row())["status"] == "canceled"
    assert (await member.standing())[0] == "withdrawn"
    assert await _charged(member) == 0
    await member.later(MONTH, MONTH)
    assert await member.invoices() == [("paid", MONTH_PRICE)]


async def test_the_one_cent_attack_on_a_membership(member: Member) -> None:
    await member.join("student")
    assert refused(await _refund(member, amount=MONTH_PRICE - 1)) == (403, "partial_refund_needs_admin")
    assert (await member.subscription()).status == "active", "a refusal ends nothing"


@pytest.mark.parametrize("role", ["student", "admin"])
async def test_the_credit_attack(member: Member, role: str) -> None:
    """A year is paid, changed to a month (the rest becomes credit), and refunded: the credit is deducted."""
    await member.join("student", interval="year")
    await member.done("change", membership="student", interval="month")
    assert await _balance(member) == -CREDIT
    assert await _charged(member) == YEAR_PRICE
    answer = await _refund(member, role=role)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["amount"], made["credit_deducted"], made["purchase_ended"]) == (MONTH_PRICE, CREDIT, True)
    await _finish(member)
    assert (await member.standing())[0] == "withdrawn"
    assert await _charged(member) == CREDIT == -(await _balance(member)), "the school has what the student can spend"

    await member.enrollment()
    await member.join("student")
    for _ in range(2):
        await member.renewal()
        await member.catch_up()
    charged, credit = await _charged(member), -(await _balance(member))
    assert (charged, credit) == (CREDIT + MONTH_PRICE, CREDIT - 2 * MONTH_PRICE), "each of three months costs its price"


async def test_credit_that_was_spent_elsewhere_is_deducted_all_the_same(member: Member) -> None:
    """The balance alone would not show it."""
    await member.join("student", interval="year")
    await member.done("change", membership="student", interval="month")
    await member.done("cancel", at="now")
    await member.enrollment()
    await member.join("student")
    await member.renewal()
    await member.catch_up()
    assert await _balance(member) == -(CREDIT - MONTH_PRICE)
    answer = await _refund(member)
    assert (answer.status_code, answer.json()["amount"]) == (201, MONTH_PRICE), answer.text
    assert answer.json()["credit_deducted"] == CREDIT


async def test_an_admin_may_refund_the_credited_amount_too(member: Member) -> None:
    await member.join("student", interval="year")
    await member.done("change", membership="student", interval="month")
    answer = await _refund(member, role="admin", amount=YEAR_PRICE)
    assert (answer.status_code, answer.json()["amount"], answer.json()["purchase_ended"]) == (201, YEAR_PRICE, True)


async def test_the_schools_policy_does_not_pay_back_credit(member: Member) -> None:
    await member.join("student", interval="year")
    await member.done("change", membership="student", interval="month")
    path = f"/api/admin/enrollments/{(await member.row())['id']}/cancel"
    answer = await member.service.call("POST", path, json={"reason": "moved"}, headers=bearer("admin", ADMIN))
    assert answer.status_code == 200, answer.text
    assert (await member.subscription()).status == "canceled"
    await _finish(member)
    assert await _charged(member) == CREDIT == -(await _balance(member))


async def test_a_change_beside_a_refund_gains_nothing(member: Member) -> None:
    """The membership is canceled at Stripe before its credit is read."""
    await member.join("student", interval="year")
    changed, refunded = await asyncio.gather(
        member.act("change", membership="student", interval="month"), _refund(member)
    )
    assert refunded.status_code == 201, refunded.text
    await member.catch_up()
    credited = -(await _balance(member))
    assert credited == (CREDIT if changed.status_code == 200 else 0)
    assert refunded.json()["amount"] + credited <= YEAR_PRICE


async def test_a_pending_proration_is_not_kept(member: Member) -> None:
    """A lower tier is a credit on the next invoice; canceling removes it, so all of the money is refunded."""
    await member.join("career")
    await member.done("change", membership="student")
    answer = await _refund(member)
    assert (answer.status_code, answer.json()["amount"], answer.json()["credit_deducted"]) == (201, 4_900, 0)
    await _finish(member)
    assert await _balance(member) == 0
    await member.enrollment()
    await member.join("student")
    assert (await member.invoices())[-1] == ("paid", MONTH_PRICE), "the new one is paid in money"


async def test_later_months_are_not_refunded_alone(member: Member) -> None:
    await member.join("student")
    await member.renewal()
    await member.catch_up()
    first, latest = await _payments(member)
    await member.service.rows(
        "UPDATE payments SET paid_at = now() - interval '31 days' WHERE id = :id RETURNING id", id=first["id"]
    )
    path, headers = f"/api/payments/{latest['id']}/refund", bearer("student", member.id)
    for body in ({"reason": "x"}, {"reason": "x", "amount": MONTH_PRICE}):
        answer = await member.service.call("POST", path, json=body, headers=headers)
        assert refused(answer) == (409, "refund_window_over")


async def test_credit_of_a_disputed_payment_buys_nothing(member: Member) -> None:
    """A year is paid, changed to a month, and charged back: the credit goes with the money."""
    await member.join("student", interval="year")
    await member.done("change", membership="student", interval="month")
    assert await _balance(member) == -CREDIT
    (payment,) = await _payments(member)
    dispute = await member.sandbox.operate(f"/charges/{payment['stripe_charge_id']}/dispute")
    await member.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await member.catch_up()
    await _finish(member)
    assert (await member.standing())[0] == "withdrawn"
    assert await _balance(member) == 0
    await member.catch_up()
    await member.enrollment()
    await member.join("student")
    assert (await member.invoices())[-1] == ("paid", MONTH_PRICE), "the new one is paid in money"
    assert await _balance(member) == 0
