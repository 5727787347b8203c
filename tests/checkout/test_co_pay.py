"""A sponsor pays for a student, and the student pays a co-pay: two payers, one enrollment, open when both have paid."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.checkout.co_pay_steps import (
    BARBER,
    CO_PAY,
    PRICE,
    SHARE,
    SUCCESS,
    click,
    co_pay,
    enroll,
    fund,
    funded,
    link,
    sponsor_pays,
    sponsors,
    student_pays,
    students,
)
from tests.checkout.installment_steps import DAY, School

# --- two shares -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", [fund, enroll])
async def test_the_sponsor_is_invoiced_for_the_price_less_the_co_pay(school: School, route: Any) -> None:
    answer = await route(school)
    assert answer.status_code in (200, 201), answer.text
    rows = await school.installments()
    assert [(row["kind"], row["amount"], row["status"]) for row in rows] == [
        ("full", SHARE, "open"),
        ("co_pay", CO_PAY, "open"),
    ]
    invoice = await school.service.invoice(school.student)
    assert (invoice.amount_due, invoice.status) == (SHARE, "open")
    assert "co-pay" in str(invoice.footer)
    assert (await school.service.funding(school.student))["amount"] == SHARE // 100
    (created,) = await school.service.published(school.student, "purchase.created.v1")
    assert (created["amount"]["amount"], created["co_pay"]["amount"]) == (PRICE, CO_PAY)


async def test_both_routes_make_one_purchase(school: School) -> None:
    await funded(school)
    assert (await enroll(school)).status_code == 201
    (purchase,) = await school.service.purchases(school.student)
    assert (purchase["amount"], purchase["co_pay"]) == (PRICE, CO_PAY)


async def test_the_enrollment_opens_when_both_have_paid(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    assert await school.standing() == ("pending", "underpaid")
    assert await school.state() == "processing"
    assert (await school.service.funding(school.student))["status"] == "paid"
    await student_pays(school)
    assert await school.standing() == ("active", None)
    assert (await school.state(), await school.statuses()) == ("paid", ["paid", "paid"])
    assert (await school.service.funding(school.student))["status"] == "paid"
    payments = await school.service.rows(
        "SELECT payer, amount FROM payments WHERE student_id = :s ORDER BY amount", s=school.student
    )
    assert payments == [{"payer": "student", "amount": CO_PAY}, {"payer": "sponsor", "amount": SHARE}]
    assert await school.charges() == CO_PAY


async def test_a_co_pay_is_charged_once_however_often_it_is_paid(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    id = (await students(school))["id"]
    urls = await asyncio.gather(*(click(school, id) for _ in range(4)))
    assert len(set(urls)) == 1
    answer = await school.call("POST", f"/api/payments/schedules/{id}/intent")
    assert (answer.status_code, answer.json()["amount"]) == (200, CO_PAY), answer.text
    await school.pay(answer.json()["stripe_client_secret"])
    await school.deliver()
    assert await school.charges() == CO_PAY
    assert await click(school, id) == SUCCESS
    again = await school.call("POST", f"/api/payments/schedules/{id}/intent")
    assert (again.status_code, again.json()["code"]) == (409, "already_paid")


async def test_the_rest_that_a_student_can_pay_is_the_co_pay(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    purchase = await school.service.purchase(school.student)
    answer = await school.call("POST", f"/api/enrollments/{purchase['enrollment_id']}/pay-remaining")
    assert (answer.status_code, answer.json()["amount"]) == (200, CO_PAY), answer.text


async def test_each_link_leads_to_what_its_payer_owes(school: School) -> None:
    await funded(school)
    purchase = await school.service.purchase(school.student)
    invoice = (await school.service.invoice(school.student)).hosted_invoice_url
    assert await click(school, purchase["id"]) == invoice
    await sponsor_pays(school)
    assert await click(school, purchase["id"]) == SUCCESS, "the sponsor owes nothing"
    assert await click(school, (await students(school))["id"]) not in (invoice, SUCCESS)
    document = f"{link((await students(school))['id'])}/invoice.pdf"
    assert (await school.service.call("GET", document, app=school.app)).status_code == 404


# --- the sponsor pays first -------------------------------------------------------------------------------------------


async def test_a_co_pay_is_not_paid_before_the_sponsor_has_paid(school: School) -> None:
    """Or money of the student's would open, end or hold what the sponsor has not paid for."""
    await funded(school)
    id, purchase = (await students(school))["id"], await school.service.purchase(school.student)
    by_hand = {"payment_method": "cash", "transaction_reference": "c-1"}

    async def refusals() -> list[Any]:
        answers = [
            await school.service.call("GET", link(id), app=school.app),
            await school.call("POST", f"/api/payments/schedules/{id}/intent"),
            await school.call("POST", f"/api/enrollments/{purchase['enrollment_id']}/pay-remaining"),
            await school.admin("POST", f"/api/admin/payments/schedules/{id}/record-payment", json=by_hand),
        ]
        return [(each.status_code, each.json()["code"]) for each in answers]

    assert await refusals() == [(409, "sponsor_has_not_paid")] * 4
    schedule = f"/api/admin/payments/schedules/{id}"
    due = {"due_at": (await school.clock.now() + DAY).isoformat()}
    for method, path, sent in (
        ("POST", f"{schedule}/pause", {}),
        ("POST", f"{schedule}/resume", {}),
        ("PATCH", schedule, {"json": due}),
    ):
        answer = await school.admin(method, path, **sent)
        assert (answer.status_code, answer.json()["code"]) == (409, "sponsor_has_not_paid"), answer.text
    await school.later(days=20)
    assert await school.service.published(school.student, "installment.announced.v1") == []
    assert (await students(school))["stripe_invoice_id"] is None
    refused = await school.call("POST", f"/api/payments/schedules/{(await sponsors(school))['id']}/intent")
    assert (refused.status_code, refused.json()["code"]) == (409, "sponsor_pays")


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [PRICE, PRICE - 49, PRICE + 1, 49])
@pytest.mark.parametrize("route", [fund, enroll])
async def test_a_co_pay_is_a_part_of_the_price(school: School, route: Any, amount: int) -> None:
    for wrong in (co_pay(amount), co_pay(currency="eur")):
        answer = await route(school, coPay=wrong) if route is fund else await route(school, co_pay=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "co_pay_refused"), answer.text
    assert await school.service.purchases(school.student) == []


async def test_a_school_that_adds_tax_has_no_co_pays(school: School) -> None:
    school.app = school.service.app_with(test_clock=True, stripe_tax=True)
    answer = await fund(school)
    assert (answer.status_code, answer.json()["code"]) == (409, "co_pay_untaxed"), answer.text
    assert await school.service.purchases(school.student) == []


async def test_only_staff_state_a_co_pay(school: School) -> None:
    sent = {"product_id": BARBER, "user_id": str(school.student), "co_pay": co_pay()}
    answer = await school.call("POST", "/api/enrollments", json=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "funding_source_missing")
    answer = await school.call("POST", "/api/enrollments", json=sent | {"funding_source": "WIOA"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await school.service.purchases(school.student) == []


async def test_a_cap_applies_to_what_the_sponsor_pays(school: School) -> None:
    named = {"authorizationNumber": "A-1"}
    refused = await fund(school, **named, cap={"amount": SHARE - 1, "currency": "usd"})
    assert (refused.status_code, refused.json()["code"], refused.json()["amount"]) == (409, "over_cap", SHARE)
    await funded(school, **named, cap={"amount": SHARE, "currency": "usd"})
    other = {"programSlug": "dsp", "programId": "dsp", "coPay": None}
    over = await fund(school, **named, **other)
    assert (over.json()["code"], over.json()["amount"]) == ("over_cap", SHARE + 432_500)


async def test_another_co_pay_replaces_the_purchase(school: School) -> None:
    await funded(school)
    await funded(school, coPay=co_pay(10_000))
    rows = await school.service.purchases(school.student)
    assert sorted((row["state"], row["co_pay"]) for row in rows) == [("awaiting_payment", 10_000), ("expired", CO_PAY)]
    assert (await school.installments())[1]["status"] == "canceled"
    await student_pays_is_refused(school)


async def student_pays_is_refused(school: School) -> None:
    """The link of a co-pay whose purchase has ended."""
    ended = link((await students(school))["id"])
    assert (await school.service.call("GET", ended, app=school.app)).status_code == 410


# --- reminders --------------------------------------------------------------------------------------------------------


async def test_a_co_pay_is_announced_at_once_and_never_charged(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    await school.run_due()
    (announced,) = await school.service.published(school.student, "installment.announced.v1")
    assert (announced["payer"], announced["co_pay"], announced["automatic"]) == ("student", True, False)
    assert (announced["amount"]["amount"], announced["installments"]) == (CO_PAY, 1)
    due = (await students(school))["due_at"] - await school.clock.now()
    assert 13 * DAY < due <= 14 * DAY, "from when the sponsor has paid"
    await school.later(days=31)
    assert (await students(school))["attempts"] > 0
    (failed, *_) = await school.failures()
    assert (failed["payer"], failed["amount"]["amount"]) == ("student", CO_PAY)
    assert failed["pay_url"].endswith(link((await students(school))["id"]))
    for _ in range(6):
        await school.later(days=15)
    assert (await students(school))["status"] == "overdue"
    assert await school.standing() == ("pending", "underpaid")
    await student_pays(school)
    assert await school.standing() == ("active", None)
