"""A case manager's page: students with their names, funding by source, invoices that are sent again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.portal.documented_services import NOW, PAYMENT_ID, PURCHASE_ID, page, problem
from tests.portal.harness import Browser, Portal

FUND = "/api/funding/create-checkout"
FUNDING = "/api/admin/caseload/funding"
FORM = {"student_name": "Kim", "student_email": "kim@x.test", "program": "barber", "funding_source": "WIOA"}


def purchase(**other: Any) -> dict[str, Any]:
    ids = {"id": PURCHASE_ID, "enrollment_id": PURCHASE_ID, "student_id": PURCHASE_ID}
    item = {"product": "barber", "name": "Barber", "kind": "program", "plan": "full", "price": 4890.00}
    sums = {"amount": 489_000, "shortfall": 0, "paid": 0, "due": 489_000, "currency": "usd", "next_due_at": NOW}
    sponsor = {"payer": "sponsor", "funding_source": "WIOA", "status": "awaiting_payment"} | dict.fromkeys(
        ("reason", "co_pay")
    )
    return {**ids, **item, **sums, **sponsor, "collected_by": "checkout", "created_at": NOW, **other}


@pytest.fixture(autouse=True)
def caseload(portal: Portal) -> None:
    answers = portal.services.answers
    entry = {"case_manager_id": None, "student_id": PURCHASE_ID, "updated_at": NOW}
    answers["GET", "/api/admin/caseload"] = page(entry | {"name": "Kim <b>", "email": "kim@x.test"})
    answers["POST", FUND] = {"ok": True, "url": "https://pay.test/i", "sessionId": "in_1"}


async def test_a_case_manager_asks_a_sponsor_to_pay_once(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("case_manager")
    shown = await browser.get("/caseload")
    for _ in range(2):
        assert (await browser.submit(shown, "/caseload/fund", **FORM)).headers["location"] == "/caseload?done=funded"
    first, second = portal.services.sent("POST", FUND)
    assert first.content == second.content and first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert "cap" not in json.loads(first.content)


@pytest.mark.parametrize(("typed", "minor"), [("4,890.00", 489_000), ("0.1", 10), (" 12 ", 1200)])
async def test_an_authorized_amount_is_sent_exactly(browser: Browser, portal: Portal, typed: str, minor: int) -> None:
    await browser.sign_in("case_manager")
    form = FORM | {"cap": typed, "authorization_number": "A-1"}
    await browser.submit(await browser.get("/caseload"), "/caseload/fund", **form)
    (sent,) = portal.services.sent("POST", FUND)
    assert json.loads(sent.content)["cap"] == {"amount": minor, "currency": "usd"}


async def test_a_co_pay_is_sent_in_the_programs_currency(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("case_manager")
    await browser.submit(await browser.get("/caseload"), "/caseload/fund", **FORM, co_pay="390")
    (sent,) = portal.services.sent("POST", FUND)
    assert json.loads(sent.content)["coPay"] == {"amount": 39_000, "currency": "usd"}


@pytest.mark.parametrize("field", ["cap", "co_pay"])
@pytest.mark.parametrize("typed", ["much", "1.005", "1e999999", "NaN", "Infinity", "0x10"])
async def test_what_is_no_amount_is_not_sent_as_one(browser: Browser, portal: Portal, typed: str, field: str) -> None:
    await browser.sign_in("case_manager")
    answer = await browser.submit(await browser.get("/caseload"), "/caseload/fund", **FORM | {field: typed})
    assert answer.status_code == 422 and "Write amounts like 4,890.00." in answer.text
    assert 'value="kim@x.test"' in answer.text, "what was typed is kept"
    assert not portal.services.sent("POST", FUND)


async def test_a_refused_cap_is_explained(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("case_manager")
    portal.services.answers["POST", FUND] = problem(409, "over_cap", "The sponsor would owe more.")
    answer = await browser.submit(await browser.get("/caseload"), "/caseload/fund", **FORM, cap="1")
    assert answer.status_code == 422 and "The sponsor would owe more." in answer.text


async def test_students_have_names_and_sources_have_totals(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("case_manager")
    sums = {"students": 1, "amount": 589_000, "paid": 100_000, "due": 489_000, "currency": "usd"}
    portal.services.answers["GET", FUNDING] = {"items": [sums | {"funding_source": "WIOA"}]}
    text = (await browser.get("/caseload")).text
    assert "Kim &lt;b&gt;" in text and "<b>" not in text
    row = '<td>WIOA</td><td class="number">1</td><td class="number">$5,890.00</td><td class="number">$1,000.00</td>'
    assert row + '<td class="number">$4,890.00</td>' in text


async def test_a_page_of_the_caseload_takes_four_requests_however_many_students_there_are(
    browser: Browser, portal: Portal
) -> None:
    await browser.sign_in("case_manager")
    (entry,) = portal.services.answers["GET", "/api/admin/caseload"]["items"]
    portal.services.answers["GET", "/api/admin/caseload"] = {"items": [entry] * 25, "next": "more"}
    portal.services.requests.clear()
    assert (await browser.get("/caseload")).status_code == 200
    asked = sorted(each.url.path for each in portal.services.requests)
    assert asked == ["/api/admin/caseload", FUNDING, "/api/admin/sponsors", "/api/programs"]


async def test_an_open_invoice_is_sent_again(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("case_manager")
    portal.services.answers["GET", "/api/purchases"] = page(purchase(), purchase(id=PAYMENT_ID, status="active"))
    shown = await browser.get("/caseload/purchases")
    path = f"/api/funding/{PURCHASE_ID}/send"
    portal.services.answers["POST", path] = {"ok": True, "url": "https://pay.test/i", "sessionId": "in_1"}
    action = f"/caseload/purchases/{PURCHASE_ID}/send"
    assert PAYMENT_ID not in shown.text, "only what is open can be sent; what has happened is for admins"
    sent = await browser.submit(shown, action)
    assert sent.headers["location"] == "/caseload/purchases?done=sent"
    assert "Stripe has mailed the invoice" in (await browser.get(sent.headers["location"])).text
    portal.services.answers["POST", path] = problem(409, "nothing_due", "It was paid.")
    refused = await browser.submit(shown, action)
    assert refused.status_code == 422 and "It was paid." in refused.text


async def test_a_contact_is_corrected(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("case_manager")
    path = f"/api/admin/students/{PURCHASE_ID}/contact"
    portal.services.answers["PUT", path] = {"email": "kim@y.test", "name": "Kim"}
    action = f"/caseload/students/{PURCHASE_ID}/contact"
    sent = await browser.submit(await browser.get("/caseload"), action, email="kim@y.test", name="")
    assert sent.headers["location"] == "/caseload?done=contact"
    (request,) = portal.services.sent("PUT", path)
    assert json.loads(request.content) == {"email": "kim@y.test", "name": None}
