"""Links in mails: they lead to a page that can be paid now, for as long as something is owed, and to nothing else."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.checkout.installment_steps import School
from tests.checkout.service import CASE_MANAGER, FRONTEND, FUND, PAY_LINK_SECRET, PUBLIC, Service, bearer, wanted

from checkout.purchases.pay_links import token_of

BARBER = "barber-apprenticeship"
SUCCESS = f"{FRONTEND}/enroll/success?program="


def link_of(id: UUID) -> str:
    return f"/pay/{token_of(id, secret=PAY_LINK_SECRET)}"


async def click(service: Service, path: str, *, method: str = "GET", app: Any = None) -> httpx.Response:
    """Without a bearer token, as a browser that opens a link of a mail."""
    return await service.call(method, path.removeprefix(PUBLIC), app=app)


async def opened(service: Service, path: str, **sent: Any) -> str:
    answer = await click(service, path, **sent)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def bought(service: Service, student: UUID, **body: Any) -> str:
    """Starts a purchase on a page; the link of its mails."""
    assert (await service.buy(student, wanted("dsp", 4325, **body))).status_code == 200
    (event,) = await service.published(student, "purchase.created.v1")
    return str(event["checkout_url"])


async def funded(school: School) -> tuple[str, str]:
    """A sponsor's link and invoice."""
    sent = {"studentId": str(school.student), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    answer = await school.call("POST", FUND, role="case_manager", json=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()["url"], answer.json()["sessionId"]


NOBODY = UUID("0d5f3c6e-8a51-4f0e-9d3c-2b7a1e4c6f98")


# --- strangers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "A" * 43,
        str(NOBODY),
        base64.urlsafe_b64encode(NOBODY.bytes * 2).decode().rstrip("="),
        token_of(NOBODY, secret="another secret of 32 characters."),
        "%00",
        "%F0%9F%92%B8",
        "..%2F..%2Fetc",
        "A" * 5_000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_guess_is_not_found(service: Service, token: str, method: str) -> None:
    answer = await click(service, f"/pay/{token}", method=method)
    assert answer.status_code == 404


async def test_a_token_of_nothing_is_not_found(service: Service) -> None:
    answer = await click(service, link_of(uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_link")


async def test_ids_are_no_tokens(school: School) -> None:
    await funded(school)
    purchase = await school.service.purchase(school.student)
    assert (await click(school.service, f"/pay/{purchase['id']}")).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_link_is_only_read(service: Service, method: str) -> None:
    assert (await click(service, link_of(uuid4()), method=method)).status_code == 405


# --- a page -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_open_page_stays_the_same(service: Service, method: str) -> None:
    student = uuid4()
    link = await bought(service, student)
    assert link.startswith(f"{PUBLIC}/pay/")
    (session,) = await service.sandbox.sessions_of(student)
    answer = await click(service, link, method=method)
    assert (answer.status_code, answer.headers["location"]) == (303, session.url)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert len(await service.sandbox.sessions_of(student)) == 1


async def test_an_expired_page_is_opened_anew(service: Service) -> None:
    student = uuid4()
    link = await bought(service, student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    first = await opened(service, link)
    await service.deliver_stripe_events(student)
    assert await opened(service, link) == first, "the same page at the next click"
    new, old = await service.sandbox.sessions_of(student)
    assert (new.url, new.status, new.amount_total) == (first, "open", session.amount_total)
    assert (old.id, old.status) == (session.id, "expired")
    await service.sandbox.pay(new.id)
    await service.deliver_stripe_events(student)
    assert await opened(service, link) == f"{SUCCESS}dsp"


async def test_clicks_at_once_open_one_page(service: Service) -> None:
    student = uuid4()
    link = await bought(service, student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    await service.deliver_stripe_events(student)
    answers = await asyncio.gather(*(click(service, link) for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {303, 503}
    assert len({answer.headers["location"] for answer in answers if answer.status_code == 303}) == 1
    assert sorted(str(each.status) for each in await service.sandbox.sessions_of(student)) == ["expired", "open"]


async def test_a_paid_page_is_not_opened_again(service: Service) -> None:
    student = uuid4()
    link = await bought(service, student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id)
    assert await opened(service, link) == f"{SUCCESS}dsp", "before its event"
    await service.deliver_stripe_events(student)
    assert await opened(service, link) == f"{SUCCESS}dsp"
    assert len(await service.sandbox.sessions_of(student)) == 1


async def test_an_old_link_leads_to_what_the_student_has_started_since(service: Service) -> None:
    student = uuid4()
    link = await bought(service, student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    await service.deliver_stripe_events(student)
    url = (await service.buy(student, wanted("dsp", 4325))).json()["url"]
    assert await opened(service, link) == url
    assert len(await service.sandbox.sessions_of(student)) == 2


async def test_a_link_at_an_old_price_is_gone(service: Service) -> None:
    slug, student = f"price-{uuid4().hex[:6]}", uuid4()
    await service.admin("POST", "/api/admin/programs", slug=slug, name="X", price=900)
    await service.buy(student, wanted(slug, 900))
    (event,) = await service.published(student, "purchase.created.v1")
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    await service.deliver_stripe_events(student)
    await service.admin("PATCH", f"/api/admin/programs/{slug}", price=950)
    answer = await click(service, event["checkout_url"])
    assert (answer.status_code, answer.json()["code"]) == (410, "no_longer_payable")
    assert answer.json()["reason"] == "price_changed"
    assert len(await service.sandbox.sessions_of(student)) == 1


async def test_a_refunded_purchase_is_gone(service: Service) -> None:
    student = uuid4()
    link = await bought(service, student)
    (session,) = await service.sandbox.sessions_of(student)
    paid = await service.sandbox.pay(session.id)
    intent = await service.sandbox.api.payment_intents.retrieve_async(paid["payment_intent"])
    await service.sandbox.operate(f"/charges/{intent.latest_charge}/refund")
    await service.deliver_stripe_events(student)
    answer = await click(service, link)
    assert (answer.status_code, answer.json()["code"]) == (410, "nothing_owed")


async def test_stripe_is_unavailable(service: Service) -> None:
    link = await bought(service, uuid4())
    await service.sandbox.faults(fail_requests=1000)
    try:
        for method in ("GET", "HEAD"):
            assert (await click(service, link, method=method)).status_code == 503
    finally:
        await service.sandbox.faults()


async def test_an_intent_gets_a_page(service: Service) -> None:
    student = uuid4()
    body = {"itemType": "program", "itemId": "dsp"}
    answer = await service.call("POST", "/api/payments/create-intent", json=body, headers=bearer("student", student))
    assert answer.status_code == 200, answer.text
    (event,) = await service.published(student, "purchase.created.v1")
    url = await opened(service, event["checkout_url"])
    (session,) = await service.sandbox.sessions_of(student)
    assert (session.url, session.status) == (url, "open")
    purchase, *_ = await service.purchases(student)
    intent = await service.sandbox.api.payment_intents.retrieve_async(purchase["stripe_payment_intent_id"])
    assert intent.status == "canceled", "one of the two can be paid"


# --- a sponsor's invoice ----------------------------------------------------------------------------------------------


async def test_a_sponsors_link_leads_to_the_invoice(school: School) -> None:
    link, invoice_id = await funded(school)
    invoice = await school.sandbox.api.invoices.retrieve_async(invoice_id)
    assert await opened(school.service, link, app=school.app) == invoice.hosted_invoice_url
    await school.later(days=44, minutes=1)
    assert await opened(school.service, link, app=school.app) == invoice.hosted_invoice_url, "overdue"
    failure = (await school.failures())[-1]
    assert await opened(school.service, failure["pay_url"], app=school.app) == invoice.hosted_invoice_url


async def test_the_document_is_there_at_once(school: School) -> None:
    link, invoice_id = await funded(school)
    invoice = await school.sandbox.api.invoices.retrieve_async(invoice_id)
    assert await opened(school.service, f"{link}/invoice.pdf", app=school.app) == invoice.invoice_pdf


async def test_a_students_purchase_has_no_invoice(service: Service) -> None:
    answer = await click(service, f"{await bought(service, uuid4())}/invoice.pdf")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_invoice")


async def test_a_link_used_after_the_payment_charges_nothing(school: School) -> None:
    link, invoice_id = await funded(school)
    await school.sandbox.operate(f"/invoices/{invoice_id}/pay")
    for _ in range(2):
        assert await opened(school.service, link, app=school.app) == f"{SUCCESS}{BARBER}"
        await school.deliver()
    (invoice,) = (await school.sandbox.api.invoices.list_async({"customer": await _customer(school)})).data[:1]
    assert (invoice.id, invoice.status) == (invoice_id, "paid")
    assert await school.state() == "paid"


async def test_a_canceled_invoice_is_gone(school: School) -> None:
    link, _ = await funded(school)
    await school.canceled()
    for _ in range(2):
        answer = await click(school.service, link, app=school.app)
        assert (answer.status_code, answer.json()["code"]) == (410, "nothing_owed")
        await school.perform()
        await school.deliver()


async def test_an_invoice_that_was_voided_at_stripe_is_made_anew(school: School) -> None:
    link, invoice_id = await funded(school)
    await school.sandbox.api.invoices.void_invoice_async(invoice_id)
    url = await opened(school.service, link, app=school.app)
    (new,) = [
        each
        for each in (await school.sandbox.api.invoices.list_async({"customer": await _customer(school)})).data
        if each.hosted_invoice_url == url
    ]
    assert (new.status, new.amount_due) == ("open", 489_000) and new.id != invoice_id
    assert (await school.service.funding(school.student))["stripe_invoice_id"] == new.id


async def test_a_recorded_check_ends_the_invoice(school: School) -> None:
    link, invoice_id = await funded(school)
    (installment,) = await school.installments()
    path = f"/api/admin/payments/schedules/{installment['id']}/record-payment"
    body = {"payment_method": "check", "transaction_reference": "C-1"}
    answer = await school.admin("POST", path, json=body)
    assert answer.status_code == 200, answer.text
    await school.deliver()
    await school.perform()
    assert await opened(school.service, link, app=school.app) == f"{SUCCESS}{BARBER}"
    assert (await school.sandbox.api.invoices.retrieve_async(invoice_id)).status == "void"


# --- installments -----------------------------------------------------------------------------------------------------


async def test_an_overdue_installment_leads_to_its_invoice(school: School) -> None:
    enrolled = await school.started()
    await school.fail_next(4)
    await school.later(days=31)
    for days in (1, 2, 4):
        await school.later(days=days)
    assert (await school.statuses())[:2] == ["paid", "overdue"]
    failure = (await school.failures())[-1]
    url = await opened(school.service, failure["pay_url"], app=school.app)
    _, second, *_ = await school.installments()
    invoice = await school.sandbox.api.invoices.retrieve_async(second["stripe_invoice_id"])
    assert (invoice.hosted_invoice_url, invoice.status) == (url, "open")
    assert await opened(school.service, link_of(UUID(enrolled["purchase_id"])), app=school.app) == url
    first = (await school.installments())[0]
    assert await opened(school.service, link_of(first["id"]), app=school.app) == f"{SUCCESS}{BARBER}", "it is paid"


async def test_a_first_installment_that_was_abandoned_gets_a_page(school: School) -> None:
    enrolled = await school.enrolled()
    (event,) = await school.service.published(school.student, "purchase.created.v1")
    url = await opened(school.service, event["checkout_url"], app=school.app)
    first = (await school.installments())[0]
    invoice = await school.sandbox.api.invoices.retrieve_async(first["stripe_invoice_id"])
    assert (invoice.hosted_invoice_url, invoice.amount_due) == (url, first["amount"])
    intent = enrolled["stripe_client_secret"].split("_secret_")[0]
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"


async def test_an_enrollment_that_expired_is_gone(school: School) -> None:
    enrolled = await school.enrolled()
    await school.later(days=8)
    answer = await click(school.service, link_of(UUID(enrolled["purchase_id"])), app=school.app)
    assert (answer.status_code, answer.json()["code"]) == (410, "nothing_owed")


async def _customer(school: School) -> str:
    (row,) = await school.service.rows("SELECT stripe_customer_id FROM sponsor_customers WHERE code = 'WIOA'")
    return str(row["stripe_customer_id"])


async def test_a_sponsors_free_purchase_with_an_authorization_has_a_link(service: Service) -> None:
    student = uuid4()
    code = f"FREE{student.hex[:8].upper()}"
    assert (await service.admin("POST", "/api/admin/promotions", code=code, percent_off=100)).status_code == 201
    body = {
        "user_id": str(student),
        "product_id": "dsp",
        "funding_source": "WIOA",
        "authorization_number": "A-1",
        "promotion_code": code,
    }
    answer = await service.call("POST", "/api/enrollments", json=body, headers=bearer("case_manager", CASE_MANAGER))
    assert answer.status_code == 201, answer.text
    purchase = await service.purchase(student)
    assert await opened(service, link_of(purchase["id"])) == f"{SUCCESS}dsp"
