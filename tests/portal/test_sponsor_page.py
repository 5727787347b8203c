"""A sponsor's page by link, and the admin's forms for the link; a specialist's revenue."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.portal.documented_services import NOW, PURCHASE_ID, page, problem
from tests.portal.harness import Browser, Portal
from tests.portal.test_caseload_page import caseload as caseload  # the answers of the page that has the forms

TOKEN = "a-token-of-43-characters-of-the-tests-000000"
STATEMENT = f"/api/sponsor-statements/{TOKEN}"
STATISTICS = "/api/payments/specialist/statistics"


def invoice(**other: Any) -> dict[str, Any]:
    plain = {"id": PURCHASE_ID, "student": "Kim <b>", "program": "Barber", "authorization_number": "A-17"}
    period = {"period_start": "2027-01-04", "period_end": "2027-06-30", "created_at": NOW}
    sums = {"amount": 489_000, "currency": "usd", "state": "awaiting_payment", "pay_url": "https://x.test/pay/t"}
    return {**plain, **period, **sums, **other}


async def test_a_sponsor_sees_open_and_paid_invoices_without_signing_in(browser: Browser, portal: Portal) -> None:
    items = page(invoice(), invoice(state="paid", student="Sam", pay_url="javascript:alert(1)"))
    portal.services.answers["GET", STATEMENT] = items | {"sponsor": "Works & Co", "next": "more"}
    answer = await browser.get(f"/sponsor/{TOKEN}")
    text = answer.text
    assert answer.status_code == 200 and "Invoices of Works &amp; Co" in text
    assert "Kim &lt;b&gt;" in text and "javascript:" not in text
    assert 'href="https://x.test/pay/t"' in text and 'href="https://x.test/pay/t/invoice.pdf"' in text
    assert "January 4, 2027" in text and "June 30, 2027" in text and "cursor=more" in text
    assert "$4,890.00" in text and "<td>open</td>" in text and "<td>paid</td>" in text
    assert (answer.headers["cache-control"], answer.headers["x-robots-tag"]) == ("no-store", "noindex")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not browser.cookie


async def test_a_revoked_link_shows_nothing(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", STATEMENT] = problem(404, "unknown_link")
    answer = await browser.get(f"/sponsor/{TOKEN}")
    assert answer.status_code == 404 and "This link is not valid" in answer.text
    assert answer.headers["x-robots-tag"] == "noindex"


@pytest.mark.parametrize("role", ["case_manager", "student", "specialist"])
async def test_only_admins_have_the_forms_of_links(browser: Browser, role: str) -> None:
    await browser.sign_in(role)
    form = {"form_token": "x"}
    assert (await browser.post("/caseload/sponsors/WIOA/link", form)).status_code == 403
    if role == "case_manager":
        assert "/caseload/sponsors/" not in (await browser.get("/caseload")).text


async def test_an_admin_makes_a_link_and_revokes_it(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    answers = portal.services.answers
    times = {"created_at": NOW, "updated_at": NOW}
    sponsor = {"id": PURCHASE_ID, "code": "WIOA", "name": "Works", "finance_email": None, "active": True}
    answers["GET", "/api/admin/sponsors"] = page(sponsor | times)
    path = "/api/admin/sponsors/WIOA/link"
    answers["POST", path] = {"url": "https://school.test/sponsor/secret"}
    answers["DELETE", path] = httpx.Response(204)
    shown = await browser.get("/caseload")
    made = await browser.submit(shown, "/caseload/sponsors/WIOA/link", act="create")
    assert "https://school.test/sponsor/secret" in made.text and made.headers["cache-control"] == "no-store"
    gone = await browser.submit(shown, "/caseload/sponsors/WIOA/link", act="revoke")
    assert gone.headers["location"] == "/caseload?done=revoked"
    assert len(portal.services.sent("POST", path)) == len(portal.services.sent("DELETE", path)) == 1


async def test_a_specialist_sees_revenue_per_item_and_month(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("specialist")
    sums = {"count": 2, "gross": 100_000, "refunded": 20_000, "lost": 5_000, "net": 75_000}
    disputes = {"open": 1, "withdrawn": 5_000, "lost": 5_000}
    by_item = [{**sums, "item_slug": "x", "item_name": "<i>X"}]
    total = {**sums, "currency": "usd", "disputes": disputes, "by_item": by_item}
    portal.services.answers["GET", STATISTICS] = page({**total, "by_month": [{**sums, "month": "2026-11"}]})
    text = (await browser.get("/revenue", params={"since": "2026-11-01", "until": "2026-11-30"})).text
    assert "$750.00 net" in text and "&lt;i&gt;X" in text and "<td>2026-11</td>" in text
    (sent,) = portal.services.sent("GET", STATISTICS)
    assert dict(sent.url.params) == {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}
    await browser.get("/revenue", params={"since": "soon", "until": "9999-12-31"})
    assert not portal.services.sent("GET", STATISTICS)[1].url.params


@pytest.mark.parametrize("role", ["admin", "case_manager", "student"])
async def test_revenue_is_for_specialists(browser: Browser, role: str) -> None:
    await browser.sign_in(role)
    assert (await browser.get("/revenue")).status_code == 403
