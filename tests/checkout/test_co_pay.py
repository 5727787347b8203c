"""A sponsor pays for a student, and the student pays a co-pay: two payers, one enrollment, open when both have paid."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tests.checkout.installment_steps import DAY, School
from tests.checkout.service import FRONTEND, FUND, PAY_LINK_SECRET
from tests.checkout.verification_steps import verify_rows

from checkout.purchases.pay_links import token_of

BARBER = "barber-apprenticeship"
PRICE, CO_PAY = 489_000, 39_000
SHARE = PRICE - CO_PAY
SUCCESS = f"{FRONTEND}/enroll/success?program={BARBER}"


def co_pay(amount: int = CO_PAY, currency: str = "usd") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


async def fund(school: School, **body: Any) -> Any:
    sent = {"studentId": str(school.student), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    return await school.call("POST", FUND, role="case_manager", json=sent | {"coPay": co_pay()} | body)


async def funded(school: School, **body: Any) -> None:
    answer = await fund(school, **body)
    assert answer.status_code == 200, answer.text


async def enroll(school: School, **body: Any) -> Any:
    sent = {"product_id": BARBER, "user_id": str(school.student), "funding_source": "WIOA"}
    return await school.call("POST", "/api/enrollments", role="case_manager", json=sent | {"co_pay": co_pay()} | body)


def by_hand(installment: dict[str, Any]) -> str:
    return f"/api/admin/payments/schedules/{installment['id']}/record-payment"


async def sponsors(school: School) -> dict[str, Any]:
    return (await school.installments())[0]


async def students(school: School) -> dict[str, Any]:
    return (await school.installments())[1]


async def sponsor_pays(school: School) -> None:
    await school.sandbox.operate(f"/invoices/{(await sponsors(school))['stripe_invoice_id']}/pay")
    await school.deliver()


async def click(school: School, id: UUID) -> str:
    """Where the link of the purchase or the installment leads, for a browser that nobody is signed in to."""
    link = f"/pay/{token_of(id, secret=PAY_LINK_SECRET)}"
    answer = await school.service.call("GET", link, app=school.app)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def student_pays(school: School) -> None:
    """By the link of their mail, on the page of an invoice."""
    await click(school, (await students(school))["id"])
    await school.sandbox.operate(f"/invoices/{(await students(school))['stripe_invoice_id']}/pay")
    await school.deliver()


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
    document = f"/pay/{token_of((await students(school))['id'], secret=PAY_LINK_SECRET)}/invoice.pdf"
    assert (await school.service.call("GET", document, app=school.app)).status_code == 404


# --- the sponsor pays first -------------------------------------------------------------------------------------------


async def test_a_co_pay_is_not_paid_before_the_sponsor_has_paid(school: School) -> None:
    """Or money of the student's would open, end or hold what the sponsor has not paid for."""
    await funded(school)
    id, purchase = (await students(school))["id"], await school.service.purchase(school.student)
    link = f"/pay/{token_of(id, secret=PAY_LINK_SECRET)}"
    by_hand = {"payment_method": "cash", "transaction_reference": "c-1"}

    async def refusals() -> list[Any]:
        answers = [
            await school.service.call("GET", link, app=school.app),
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
    link = f"/pay/{token_of((await students(school))['id'], secret=PAY_LINK_SECRET)}"
    assert (await school.service.call("GET", link, app=school.app)).status_code == 410


# --- money back, by hand, or not owed ---------------------------------------------------------------------------------


async def test_a_student_cannot_refund_the_sponsors_money_by_their_co_pay(school: School) -> None:
    """A student's own refund returns all payments of the purchase."""
    await funded(school)
    await sponsor_pays(school)
    await student_pays(school)
    rows = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    for row in rows:
        shown = (await school.call("GET", f"/api/payments/{row['id']}")).json()
        assert shown["refundable"]["allowed"] is False
        answer = await school.call("POST", f"/api/payments/{row['id']}/refund", json={"reason": "mine"})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await school.standing() == ("active", None)


async def test_an_admin_refunds_a_co_pay_and_the_enrollment_stays(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    await student_pays(school)
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
    await funded(school)
    await sponsor_pays(school)
    await student_pays(school)
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
    await funded(school)
    await sponsor_pays(school)
    await student_pays(school)
    await school.clock.advance(20 * DAY)
    purchase = await school.service.purchase(school.student)
    body = {"reason": "closed"} | ({"refund_amount": refund_amount} if refund_amount else {})
    answer = await school.admin("POST", f"/api/admin/enrollments/{purchase['enrollment_id']}/cancel", json=body)
    assert answer.status_code == 200, answer.text
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
    await funded(school)
    await sponsor_pays(school)
    await student_pays(school)
    purchase = await school.service.purchase(school.student)
    path = f"/api/admin/enrollments/{purchase['enrollment_id']}/cancel"
    answer = await school.admin("POST", path, json={"reason": "closed"})
    assert answer.status_code == 200, answer.text
    await school.perform()
    await school.deliver()
    rows = await school.service.rows("SELECT amount, refunded FROM payments WHERE student_id = :s", s=school.student)
    assert all(row["refunded"] == row["amount"] for row in rows), rows
    assert (await school.standing())[0] == "withdrawn"


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
    assert failed["pay_url"].endswith(token_of((await students(school))["id"], secret=PAY_LINK_SECRET))
    for _ in range(6):
        await school.later(days=15)
    assert (await students(school))["status"] == "overdue"
    assert await school.standing() == ("pending", "underpaid")
    await student_pays(school)
    assert await school.standing() == ("active", None)


# --- what others see --------------------------------------------------------------------------------------------------


async def test_figures_of_sponsors_have_no_co_pays(school: School) -> None:
    code = f"S{school.student.hex[:8].upper()}"
    made = await school.admin(
        "POST", "/api/admin/sponsors", json={"code": code, "name": "Works", "finance_email": "f@x.org"}
    )
    assert made.status_code == 201, made.text
    await funded(school, fundingSource=code)
    link = (await school.admin("POST", f"/api/admin/sponsors/{code}/link")).json()["url"].rsplit("/", 1)[1]

    async def statement(**query: Any) -> list[tuple[str, int]]:
        answer = await school.service.call("GET", f"/api/sponsor-statements/{link}", params=query, app=school.app)
        assert answer.status_code == 200, answer.text
        return [(each["state"], each["amount"]) for each in answer.json()["items"]]

    async def funding() -> tuple[int, int, int]:
        return await funding_by(school, code)

    async def receivable() -> list[int]:
        listed = (await school.admin("GET", "/api/admin/receivables")).json()["items"]
        return [each["amount"] for each in listed if each["funding_source"] == code]

    assert (await statement(), await receivable()) == ([("awaiting_payment", SHARE)], [SHARE])
    assert await statement(open=True, sort="-amount") == [("awaiting_payment", SHARE)]
    assert await funding() == (SHARE, 0, SHARE)
    await sponsor_pays(school)
    assert (await statement(), await receivable()) == ([("paid", SHARE)], [])
    assert await statement(open=True) == []
    assert await funding() == (SHARE, SHARE, 0)
    await student_pays(school)
    assert (await statement(), await funding()) == ([("paid", SHARE)], (SHARE, SHARE, 0))


async def test_nothing_of_a_co_pay_that_is_being_processed_is_the_sponsors(school: School) -> None:
    await funded(school, fundingSource="OJT")
    await sponsor_pays(school)
    before = await funding_by(school, "OJT")
    answer = await school.call("POST", f"/api/payments/schedules/{(await students(school))['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    assert await school.statuses() == ["paid", "processing"]
    assert await funding_by(school, "OJT") == before


async def funding_by(school: School, code: str) -> tuple[int, int, int]:
    """Funded, paid and due."""
    listed = await school.admin("GET", "/api/admin/caseload/funding")
    (own,) = [each for each in listed.json()["items"] if each["funding_source"] == code]
    return own["amount"], own["paid"], own["due"]


@pytest.mark.parametrize("by_check", [True, False])
async def test_receipts_are_about_the_share_of_who_has_paid(school: School, by_check: bool) -> None:
    await funded(school, studentName="Ada Lovelace", studentEmail="ada@example.org")
    if by_check:
        body = {"payment_method": "check", "transaction_reference": f"k-{school.student}"}
        assert (await school.admin("POST", by_hand(await sponsors(school)), json=body)).status_code == 200
        await school.deliver()
    else:
        await sponsor_pays(school)
    await student_pays(school)
    rows = await school.service.rows(
        "SELECT d.kind, d.content FROM documents d JOIN purchases p ON p.id = d.purchase_id WHERE p.student_id = :s"
        " ORDER BY d.created_at, d.serial",
        s=school.student,
    )
    sums = [(row["kind"], row["content"]["paid"]["amount"], row["content"]["total"]["amount"]) for row in rows]
    assert sums == [("invoice" if by_check else "receipt", SHARE, SHARE), ("receipt", CO_PAY, CO_PAY)]
    assert "ada@example.org" not in str(rows[0]["content"]["buyer"])
    assert rows[1]["content"]["buyer"] == {"name": "Ada Lovelace", "email": "ada@example.org"}
    assert [row["content"]["funding_source"] for row in rows] == ["WIOA", None]


async def test_verification_finds_a_co_pay_that_was_changed(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    id = str((await students(school))["id"])

    async def differences(*, repair: bool = False) -> set[str | None]:
        report = await verify_rows(school.service, repair=repair)
        return {each.column for each in report.differences if each.row == id}

    assert await differences() == set()
    await school.service.rows("UPDATE installments SET amount = 1 WHERE id = :id RETURNING 1", id=id)
    assert await differences(repair=True) == {"amount"}
    assert (await students(school))["amount"] == CO_PAY


async def test_verification_raises_no_share_of_a_purchase_whose_co_pay_is_gone(school: School) -> None:
    await funded(school)
    id = (await school.service.purchase(school.student))["id"]
    await school.service.rows("UPDATE purchases SET co_pay = NULL WHERE id = :id RETURNING 1", id=id)
    await verify_rows(school.service, repair=True)
    assert [row["amount"] for row in await school.installments()] == [SHARE, CO_PAY]
