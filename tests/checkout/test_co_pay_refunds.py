"""A co-pay that is refunded, disputed, paid by hand, waived or accepted."""

from __future__ import annotations

import pytest
from tests.checkout.co_pay_steps import (
    CO_PAY,
    SHARE,
    SUCCESS,
    both_paid,
    by_hand,
    click,
    funded,
    sponsor_pays,
    sponsors,
    student_pays,
    students,
)
from tests.checkout.installment_steps import DAY, School


async def test_a_student_cannot_refund_the_sponsors_money_by_their_co_pay(school: School) -> None:
    """A student's own refund returns all payments of the purchase."""
    await both_paid(school)
    rows = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    for row in rows:
        shown = (await school.call("GET", f"/api/payments/{row['id']}")).json()
        assert shown["refundable"]["allowed"] is False
        answer = await school.call("POST", f"/api/payments/{row['id']}/refund", json={"reason": "mine"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await school.standing() == ("active", None)


async def test_an_admin_refunds_a_co_pay_and_the_enrollment_stays(school: School) -> None:
    await both_paid(school)
    (row,) = await school.service.rows(
        "SELECT id FROM payments WHERE student_id = :s AND payer = 'student'", s=school.student
    )
    answer = await school.admin("POST", f"/api/payments/{row['id']}/refund", json={"reason": "a concession"})
    assert answer.status_code == 201, answer.text
    await school.perform()
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await school.charges() == 0


async def test_nothing_that_is_waived_opens_what_the_other_has_not_paid(school: School) -> None:
    await funded(school)
    body = {"payment_method": "waiver", "transaction_reference": "w-1"}
    refused = await school.admin("POST", by_hand(await sponsors(school)), json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "sponsor_must_pay"), refused.text
    refused = await school.admin("POST", by_hand(await students(school)), json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "sponsor_has_not_paid"), refused.text
    await sponsor_pays(school)
    assert (await school.admin("POST", by_hand(await students(school)), json=body)).status_code == 200
    await school.deliver()
    assert await school.standing() == ("active", None)


async def test_a_co_pay_in_cash_is_the_students(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    body = {"payment_method": "cash", "transaction_reference": "c-1"}
    answer = await school.admin("POST", by_hand(await students(school)), json=body)
    assert answer.status_code == 200, answer.text
    await school.deliver()
    assert await school.standing() == ("active", None)
    events = await school.service.published(school.student, "payment.succeeded.v1")
    assert [(event["payer"], event["amount"]["amount"]) for event in events] == [("student", CO_PAY)]


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraudulent"])
async def test_a_co_pay_that_is_taken_back_is_owed_again(school: School, reason: str) -> None:
    """It takes nothing from the sponsor."""
    await both_paid(school)
    (row,) = await school.service.rows(
        "SELECT stripe_charge_id FROM payments WHERE student_id = :s AND payer = 'student'", s=school.student
    )
    dispute = await school.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute", reason=reason)
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.deliver()
    assert await school.standing() == ("paused", "past_due")
    assert await school.statuses() == ["paid", "overdue"]
    await student_pays(school)
    assert await school.standing() == ("active", None)


@pytest.mark.parametrize("refund_amount", [None, "2445.00"])
async def test_a_cancellation_refunds_the_same_part_to_each_payer(school: School, refund_amount: str | None) -> None:
    await both_paid(school)
    await school.clock.advance(20 * DAY)
    await school.canceled(**({"refund_amount": refund_amount} if refund_amount else {}))
    rows = await school.service.rows(
        "SELECT p.payer, r.amount FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE p.student_id = :s"
        " ORDER BY r.amount",
        s=school.student,
    )
    assert rows == [{"payer": "student", "amount": CO_PAY // 2}, {"payer": "sponsor", "amount": SHARE // 2}]


async def test_an_accepted_co_pay_is_not_owed(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    purchase = await school.service.purchase(school.student)
    answer = await school.admin("POST", f"/api/admin/purchases/{purchase['id']}/accept", json={"reason": "hardship"})
    assert answer.status_code == 200, answer.text
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await school.statuses() == ["paid", "canceled"]
    assert await click(school, (await students(school))["id"]) == SUCCESS


async def test_a_canceled_purchase_refunds_each_payer(school: School) -> None:
    await both_paid(school)
    await school.canceled()
    await school.perform()
    await school.deliver()
    rows = await school.service.rows("SELECT amount, refunded FROM payments WHERE student_id = :s", s=school.student)
    assert all(row["refunded"] == row["amount"] for row in rows), rows
    assert (await school.standing())[0] == "withdrawn"
