"""A plan on Stripe's page: four monthly installments that sum to the price, of which the page takes the first."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

import pytest
from tests.checkout.installment_steps import School
from tests.checkout.plan_steps import page, paid_page, program
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import major, wanted


@pytest.mark.parametrize(
    ("price", "first", "regular"),
    [(489_000, 122_250, 122_250), (432_500, 108_125, 108_125), (57_501, 14_376, 14_375), (10_003, 2_503, 2_500)],
)
async def test_the_sum_is_the_price(school: School, price: int, first: int, regular: int) -> None:
    slug = await program(school, price)
    session = await page(school, slug, major(price))
    assert (session.mode, session.amount_total, session.customer is not None) == ("payment", first, True)
    amounts = [row["amount"] for row in await school.installments()]
    assert amounts == [first, regular, regular, regular]
    assert sum(amounts) == price
    (event,) = await school.service.published(school.student, "purchase.created.v1")
    assert (event["payment_type"], event["installments"], event["amount"]["amount"]) == ("plan", 4, price)


async def test_the_installments_are_listed_before_anything_is_paid(school: School) -> None:
    await page(school)
    purchase = await school.service.purchase(school.student)
    listed = await school.overview(purchase["id"])
    assert (listed["price"], listed["paid"], listed["due"]) == (575, 0, 57_500)
    assert listed["payment_plan"] == {"type": "installments", "installments": 4}
    assert [each["status"] for each in listed["schedules"]] == ["open"] * 4
    months = [datetime.fromisoformat(each["due_at"]) for each in listed["schedules"]]
    assert [(at.year * 12 + at.month) - (months[0].year * 12 + months[0].month) for at in months] == [0, 1, 2, 3]
    assert all(each["pay_url"] for each in listed["schedules"])
    assert listed["next_due"]["installment_id"] == listed["schedules"][0]["id"]
    row = (await school.call("GET", "/api/purchases")).json()["items"][0]
    assert (row["due"], row["plan"], row["status"]) == (57_500, "installments", "awaiting_payment")


async def test_the_page_saves_the_method_and_names_the_installment(school: School) -> None:
    session = await page(school)
    first = (await school.installments())[0]
    data = metadata_of(session)
    assert data["installment"] == f"{first['id']}:1"
    assert (data["due"], data["price"], data["installments"]) == ("14375", "57500", "4")
    await school.sandbox.pay(session.id)
    paid = await school.sandbox.api.checkout.sessions.retrieve_async(session.id)
    assert paid.subscription is None
    intent = await school.sandbox.api.payment_intents.retrieve_async(str(paid.payment_intent))
    assert intent.setup_future_usage == "off_session"
    assert metadata_of(intent) == data


async def test_the_others_are_collected_by_themselves_and_it_ends(school: School) -> None:
    await paid_page(school)
    assert await school.statuses() == ["paid", "open", "open", "open"]
    assert await school.standing() == ("active", None)
    for paid in (2, 3, 4):
        await school.later(days=31)
        assert (await school.statuses()).count("paid") == paid
    assert await school.charges() == 57_500
    await school.later(days=200)
    assert await school.charges() == 57_500
    listed = await school.overview((await school.service.purchase(school.student))["id"])
    assert (listed["paid"], listed["due"], listed["next_due"]) == (57_500, 0, None)
    subscriptions = await school.sandbox.api.subscriptions.list_async({"customer": await school.customer()})
    assert subscriptions.data == []


async def test_nothing_is_collected_before_the_page_is_paid(school: School) -> None:
    await page(school)
    await school.later(days=100)
    assert await school.charges() == 0
    purchase = await school.service.purchase(school.student)
    for path in (f"/api/enrollments/{purchase['id']}/pay-remaining",):
        answer = await school.call("POST", path)
        assert (answer.status_code, answer.json()["code"]) == (409, "paid_on_page")


async def test_a_page_that_expires_closes_its_installments(school: School) -> None:
    session = await page(school)
    await school.sandbox.operate(f"/sessions/{session.id}/expire")
    await school.run_due()
    assert await school.state() == "expired"
    assert await school.statuses() == ["canceled"] * 4
    await paid_page(school)
    assert sorted(await school.statuses()) == ["canceled"] * 4 + ["open"] * 3 + ["paid"]


async def test_a_debit_on_the_page_settles_days_later(school: School) -> None:
    session = await page(school)
    await school.sandbox.pay(session.id, method="us_bank_account")
    await school.deliver()
    assert (await school.statuses())[0] == "processing"
    await school.later(days=31)
    assert (await school.statuses())[1] == "open", "nothing is charged before the first has settled"
    paid = await school.sandbox.api.checkout.sessions.retrieve_async(session.id)
    await school.sandbox.operate(f"/payment_intents/{paid.payment_intent}/settle")
    await school.run_due()
    assert (await school.statuses())[:2] == ["paid", "processing"]
    due = (await school.installments())[1]
    await school.sandbox.operate(f"/payment_intents/{await school.intent_of(due)}/settle")
    await school.run_due()
    assert (await school.statuses())[:3] == ["paid", "paid", "open"]


async def test_a_debit_on_the_page_that_fails_ends_the_purchase(school: School) -> None:
    session = await page(school)
    await school.sandbox.pay(session.id, method="us_bank_account")
    await school.deliver()
    paid = await school.sandbox.api.checkout.sessions.retrieve_async(session.id)
    await school.sandbox.operate(f"/payment_intents/{paid.payment_intent}/fail")
    await school.run_due()
    assert await school.state() == "failed"
    assert await school.statuses() == ["canceled"] * 4
    await school.later(days=100)
    assert await school.charges() == 0


async def test_a_guest_has_a_customer_who_is_charged_later(school: School) -> None:
    key = str(uuid4())
    body = wanted("cpr", 575, paymentType="plan")
    answer = await school.service.call(
        "POST", "/api/create-checkout-session", app=school.app, json=body, headers={"Idempotency-Key": key}
    )
    assert answer.status_code == 200, answer.text
    (row,) = await school.service.rows("SELECT * FROM purchases WHERE checkout_url = :url", url=answer.json()["url"])
    school.student = UUID(str(row["student_id"]))
    session = (await school.sandbox.sessions_of(school.student))[0]
    assert session.customer == await school.customer()
    await school.sandbox.pay(session.id, email="guest@example.org")
    await school.deliver()
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert await school.charges() == 28_750


async def test_the_rest_is_paid_at_once(school: School) -> None:
    await paid_page(school)
    purchase = await school.service.purchase(school.student)
    answer = await school.call("POST", f"/api/enrollments/{purchase['id']}/pay-remaining")
    assert (answer.status_code, answer.json()["amount"]) == (200, 43_125), answer.text
    await school.pay(answer.json()["stripe_client_secret"])
    await school.run_due()
    assert await school.statuses() == ["paid"] + ["canceled"] * 3 + ["paid"]
    await school.later(days=100)
    assert await school.charges() == 57_500


async def test_a_discount_is_part_of_every_installment(school: School) -> None:
    code = await school.code(percent_off=10)
    body = wanted("cpr", 575, paymentType="plan", promotionCode=code)
    answer = await school.call("POST", "/api/create-checkout-session", json=body)
    assert answer.status_code == 200, answer.text
    (session,) = await school.sandbox.sessions_of(school.student)
    assert session.amount_total == 12_939
    assert sum(row["amount"] for row in await school.installments()) == 51_750


async def test_tax_on_the_page_is_on_the_later_invoices_too(school: School) -> None:
    school.app = school.service.app_with(test_clock=True, stripe_tax=True)
    session = await page(school)
    assert session.automatic_tax.enabled
    await school.sandbox.pay(session.id)
    await school.deliver()
    await school.later(days=31)
    due = (await school.installments())[1]
    invoice = await school.sandbox.api.invoices.retrieve_async(due["stripe_invoice_id"])
    assert invoice.automatic_tax.enabled
    assert due["status"] == "paid"
    purchase = await school.service.purchase(school.student)
    assert (purchase["received"], purchase["collection_stopped"]) == (28_750, None)


async def test_a_plan_is_not_split_below_the_smallest_charge(school: School) -> None:
    slug = await program(school, 199)
    body = wanted(slug, 1.99, paymentType="plan")
    answer = await school.call("POST", "/api/create-checkout-session", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "amount_not_payable")


async def test_the_same_request_again_keeps_the_page_and_its_installments(school: School) -> None:
    first = await page(school)
    again = await page(school)
    assert first.id == again.id
    assert len(await school.installments()) == 4


async def test_another_payment_type_replaces_the_plan(school: School) -> None:
    await page(school)
    answer = await school.call("POST", "/api/create-checkout-session", json=wanted("cpr", 575))
    assert answer.status_code == 200, answer.text
    await school.run_due()
    assert await school.statuses() == ["canceled"] * 4
    states = sorted(row["state"] for row in await school.service.purchases(school.student))
    assert states == ["expired", "session_open"]
