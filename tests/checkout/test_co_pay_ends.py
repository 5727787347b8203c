"""The end of a purchase with a co-pay: a cancellation after uneven refunds, money that arrives late, a lost share."""

from __future__ import annotations

from typing import Any

import pytest
from tests.checkout.co_pay_steps import (
    CO_PAY,
    PRICE,
    SHARE,
    both_paid,
    click,
    funded,
    sponsor_pays,
    sponsors,
    student_pays,
    students,
)
from tests.checkout.installment_steps import DAY, School
from tests.checkout.verification_steps import verify_rows


async def payment_of(school: School, payer: str) -> dict[str, Any]:
    (row,) = await school.service.rows(
        "SELECT * FROM payments WHERE student_id = :s AND payer = :p", s=school.student, p=payer
    )
    return row


async def refunds(school: School) -> dict[str, int]:
    rows = await school.service.rows(
        "SELECT p.payer, sum(r.amount) AS amount FROM refunds r JOIN payments p ON p.id = r.payment_id"
        " WHERE p.student_id = :s AND r.status <> 'failed' GROUP BY p.payer",
        s=school.student,
    )
    return {row["payer"]: int(row["amount"]) for row in rows}


async def holds(school: School) -> bool:
    """Whether verification finds nothing about this student's rows."""
    purchase_id = str((await school.service.purchase(school.student))["id"])
    report = await verify_rows(school.service, repair=False)
    found = [each for each in report.differences if each.unit == purchase_id]
    assert found == []
    return True


@pytest.mark.parametrize(("conceded", "other"), [("student", "sponsor"), ("sponsor", "student")])
async def test_what_one_payer_was_refunded_is_not_taken_from_the_other(
    school: School, conceded: str, other: str
) -> None:
    shares = {"student": CO_PAY, "sponsor": SHARE}
    await both_paid(school)
    path = f"/api/payments/{(await payment_of(school, conceded))['id']}/refund"
    answer = await school.admin("POST", path, json={"reason": "a concession"})
    assert answer.status_code == 201, answer.text
    await school.perform()
    await school.deliver()
    await school.clock.advance(20 * DAY)
    await school.canceled()
    assert await refunds(school) == {conceded: shares[conceded], other: shares[other] // 2}
    (canceled,) = await school.service.rows(
        "SELECT c.paid, c.refunded FROM cancellations c WHERE c.student_id = :s", s=school.student
    )
    assert canceled == {"paid": PRICE, "refunded": shares[other] // 2}


async def test_a_disputed_co_pay_is_not_taken_from_the_sponsors_refund(school: School) -> None:
    await both_paid(school)
    charge = (await payment_of(school, "student"))["stripe_charge_id"]
    await school.sandbox.operate(f"/charges/{charge}/dispute", reason="fraudulent")
    await school.deliver()
    await school.clock.advance(20 * DAY)
    await school.canceled()
    assert await refunds(school) == {"sponsor": SHARE // 2}


@pytest.mark.parametrize("by", ["cancellation", "refund"])
async def test_a_co_pay_that_arrives_after_the_end_is_sent_back(school: School, by: str) -> None:
    await funded(school)
    await sponsor_pays(school)
    answer = await school.call("POST", f"/api/payments/schedules/{(await students(school))['id']}/intent")
    secret = answer.json()["stripe_client_secret"]
    await school.pay(secret, method="us_bank_account")
    await school.deliver()
    await school.later(days=15)
    assert await school.statuses() == ["paid", "processing"], "no reminder meanwhile"
    if by == "cancellation":
        await school.canceled(refund_amount="4500.00")
    else:
        path = f"/api/payments/{(await payment_of(school, 'sponsor'))['id']}/refund"
        assert (await school.admin("POST", path, json={"reason": "no place"})).status_code == 201
    await school.perform()
    await school.deliver()
    await school.sandbox.operate(f"/payment_intents/{secret.split('_secret_')[0]}/settle")
    await school.deliver()
    await school.perform()
    await school.deliver()
    assert (await school.standing())[0] == "withdrawn"
    assert await refunds(school) == {"sponsor": SHARE, "student": CO_PAY}
    assert await school.charges() == 0
    assert await holds(school)


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraudulent"])
async def test_a_sponsors_share_that_is_taken_back_is_the_sponsors_to_pay(school: School, reason: str) -> None:
    code = f"S{school.student.hex[:8].upper()}"
    body = {"code": code, "name": "Works", "finance_email": "f@x.org"}
    assert (await school.admin("POST", "/api/admin/sponsors", json=body)).status_code == 201
    token = (await school.admin("POST", f"/api/admin/sponsors/{code}/link")).json()["url"].rsplit("/", 1)[1]

    async def statement(**query: Any) -> list[tuple[str, int]]:
        answer = await school.service.call("GET", f"/api/sponsor-statements/{token}", params=query, app=school.app)
        assert answer.status_code == 200, answer.text
        return [(each["state"], each["amount"]) for each in answer.json()["items"]]

    async def funding() -> tuple[int, int]:
        listed = await school.admin("GET", "/api/admin/caseload/funding")
        (own,) = [each for each in listed.json()["items"] if each["funding_source"] == code]
        return own["amount"], own["due"]

    await both_paid(school, fundingSource=code)
    assert (await statement(), await funding()) == ([("paid", SHARE)], (SHARE, 0))
    charge = (await payment_of(school, "sponsor"))["stripe_charge_id"]
    dispute = await school.sandbox.operate(f"/charges/{charge}/dispute", reason=reason)
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.deliver()
    assert await school.standing() == ("paused", "past_due")
    assert await school.statuses() == ["overdue", "paid"]
    assert await holds(school)
    assert await funding() == (SHARE, SHARE)
    assert await statement() == [("awaiting_payment", SHARE)]
    assert await statement(open=True) == [("awaiting_payment", SHARE)]
    await click(school, (await school.service.purchase(school.student))["id"])
    await school.sandbox.operate(f"/invoices/{(await sponsors(school))['stripe_invoice_id']}/pay")
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await statement() == [("paid", SHARE)]
    assert await holds(school)


async def test_each_share_taken_back_is_owed_by_its_payer(school: School) -> None:
    """The sponsor's first: a co-pay that is owed again waits for it."""
    await both_paid(school)
    for payer in ("student", "sponsor"):
        charge = (await payment_of(school, payer))["stripe_charge_id"]
        dispute = await school.sandbox.operate(f"/charges/{charge}/dispute", reason="insufficient_funds")
        await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.deliver()
    assert await school.statuses() == ["overdue", "overdue"]
    refused = await school.call("POST", f"/api/payments/schedules/{(await students(school))['id']}/intent")
    assert (refused.status_code, refused.json()["code"]) == (409, "sponsor_has_not_paid"), refused.text
    await click(school, (await school.service.purchase(school.student))["id"])
    await sponsor_pays(school)
    assert await school.statuses() == ["paid", "overdue"]
    await student_pays(school)
    assert await school.standing() == ("active", None)
    assert await holds(school)
