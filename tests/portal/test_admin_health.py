"""The health of every part, receivables, and one installment with its forms."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.portal.documented_samples import sample, sample_page, schema_of
from tests.portal.documented_services import PAYMENT_ID, problem
from tests.portal.harness import Browser, Portal

INSTALLMENT = f"/api/admin/payments/schedules/{PAYMENT_ID}"
PAGE = f"/admin/installments/{PAYMENT_ID}"


def database(**other: Any) -> dict[str, Any]:
    shown: dict[str, Any] = sample(schema_of("GET", "/api/admin/database"))
    return {**shown, "size_bytes": 12_345_678, "cache_hit_ratio": 9_950, "slow_queries_available": "available", **other}


@pytest.fixture
def healthy(portal: Portal) -> Portal:
    answers = portal.services.answers
    answers["GET", "/readyz"] = httpx.Response(200, json={"status": "ready"})
    answers["GET", "/api/admin/verification"] = sample(schema_of("GET", "/api/admin/verification"))
    answers["GET", "/api/admin/invariant"] = sample_page("/api/admin/invariant")
    answers["GET", "/api/admin/differences"] = sample_page("/api/admin/differences")
    answers["GET", "/api/admin/database"] = database()
    answers["GET", "/api/admin/dead-letters/queues"] = sample_page("/api/admin/dead-letters/queues", messages=3)
    return portal


async def test_health_displays_every_part(browser: Browser, healthy: Portal) -> None:
    await browser.sign_in("admin")
    shown = await browser.get("/admin/health")
    assert shown.status_code == 200 and "<script>alert" not in shown.text
    assert shown.text.count("<td>yes</td>") == 8 and "not ready" not in shown.text
    assert {request.url.host for request in healthy.services.sent("GET", "/readyz")} == {
        f"{name}.test" for name in healthy.settings.service_urls
    }


async def test_health_is_displayed_when_nothing_answers(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    answers = portal.services.answers
    down = httpx.ConnectError("down")
    answers["GET", "/readyz"] = httpx.Response(503, json={"status": "not ready"})
    answers["GET", "/api/admin/verification"] = problem(404, "not_verified")
    for path in ("invariant", "differences", "dead-letters/queues", "database"):
        answers["GET", f"/api/admin/{path}"] = down
    shown = await browser.get("/admin/health")
    assert shown.status_code == 200
    assert shown.text.count("not ready") == 8 and shown.text.count("never") == 5
    assert shown.text.count("cannot be displayed right now") == 3 + 7 + 1


async def test_health_is_displayed_when_no_database_answers(browser: Browser, healthy: Portal) -> None:
    await browser.sign_in("admin")
    for path in ("verification", "invariant", "differences", "dead-letters/queues", "database"):
        healthy.services.answers["GET", f"/api/admin/{path}"] = problem(503, "unavailable")
    shown = await browser.get("/admin/health")
    assert shown.status_code == 200
    assert shown.text.count("cannot be displayed right now") == 5 + 3 + 7 + 1


async def test_a_service_of_the_previous_version_has_no_database_to_display(browser: Browser, healthy: Portal) -> None:
    await browser.sign_in("admin")
    healthy.services.answers["GET", "/api/admin/database"] = problem(404, "not_found")
    shown = await browser.get("/admin/health")
    assert shown.status_code == 200 and shown.text.count("cannot be displayed right now") == 7 + 1


async def test_health_displays_every_database(browser: Browser, healthy: Portal) -> None:
    await browser.sign_in("admin")
    shown = (await browser.get("/admin/health")).text
    assert shown.count("12.3 MB") == 7 and shown.count("99.50 %") == 7
    assert shown.count("1.2 ms") == 7, "the average of a query"
    assert len(healthy.services.sent("GET", "/api/admin/database")) == 7


@pytest.mark.parametrize(
    ("available", "sentence"),
    [
        ("not_installed", "is not installed in this database"),
        ("not_loaded", "shared_preload_libraries"),
        ("not_permitted", "may not read pg_stat_statements"),
        ("available", "no query is recorded."),
    ],
)
async def test_why_there_are_no_queries(browser: Browser, healthy: Portal, available: str, sentence: str) -> None:
    found = database(slow_queries_available=available, slow_queries=[], tables=[], oldest_transaction_seconds=None)
    healthy.services.answers["GET", "/api/admin/database"] = found
    await browser.sign_in("admin")
    assert (await browser.get("/admin/health")).text.count(sentence) == 7


async def test_a_query_that_is_not_visible(browser: Browser, healthy: Portal) -> None:
    hidden = {"login": "checkout", "query": None, "calls": 1, "total_milliseconds": 1, "average_microseconds": 1}
    healthy.services.answers["GET", "/api/admin/database"] = database(slow_queries=[hidden])
    await browser.sign_in("admin")
    assert "not visible to the service" in (await browser.get("/admin/health")).text


async def test_comparisons_are_requested_of_every_service(browser: Browser, healthy: Portal) -> None:
    await browser.sign_in("admin")
    answers = healthy.services.answers
    answers["POST", "/api/admin/verification"] = sample(schema_of("POST", "/api/admin/verification"))
    answers["POST", "/api/admin/invariant/runs"] = sample(schema_of("POST", "/api/admin/invariant/runs"))
    sent = await browser.submit(await browser.get("/admin/health"), "/admin/health/verify")
    assert sent.headers["location"] == "/admin/health?requested=1"
    assert len(healthy.services.sent("POST", "/api/admin/verification")) == 5


async def test_receivables(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    owed = {"payer": "sponsor", "funding_source": "WIOA", "currency": "usd", "age": "0_to_30", "count": 2, "amount": 12}
    states = ("due", "overdue", "processing", "paid", "waived", "canceled")
    sums = {name: {"count": 1, "amount": 575} for name in states}
    portal.services.answers["GET", "/api/admin/receivables"] = {"items": [owed]}
    statistics = {"items": [{"currency": "usd", **sums}]}
    portal.services.answers["GET", "/api/admin/payments/schedules/statistics"] = statistics
    shown = await browser.get("/admin/receivables")
    assert "WIOA" in shown.text and "$0.12" in shown.text and shown.text.count("$5.75") == 6


@pytest.mark.parametrize(
    ("act", "method", "path", "form", "body"),
    [
        ("pause", "POST", "/pause", {}, {}),
        ("due-date", "PATCH", "", {"due_at": "2026-12-24"}, {"due_at": "2026-12-24T00:00:00Z"}),
        (
            "record-payment",
            "POST",
            "/record-payment",
            {"payment_method": "cash", "transaction_reference": " R-1 ", "notes": ""},
            {"payment_method": "cash", "transaction_reference": "R-1", "notes": None},
        ),
    ],
)
async def test_an_installment_is_changed(
    browser: Browser, portal: Portal, act: str, method: str, path: str, form: dict[str, str], body: dict[str, object]
) -> None:
    await browser.sign_in("admin")
    answers = portal.services.answers
    answers["GET", INSTALLMENT] = sample(schema_of("GET", INSTALLMENT), id=PAYMENT_ID, currency="usd")
    answers[method, INSTALLMENT + path] = problem(409, "installment_closed", "It is closed.")
    shown = await browser.get(PAGE)
    assert "<script>alert" not in shown.text
    refused = await browser.submit(shown, f"{PAGE}/{act}", **form)
    assert refused.status_code == 422 and "It is closed." in refused.text
    answers[method, INSTALLMENT + path] = sample(schema_of(method, INSTALLMENT + path))
    done = await browser.submit(shown, f"{PAGE}/{act}", **form)
    assert done.headers["location"] == f"{PAGE}?saved=1"
    assert json.loads(portal.services.sent(method, INSTALLMENT + path)[-1].content) == body


@pytest.mark.parametrize("path", ["/admin/health", "/admin/receivables", PAGE])
async def test_these_pages_are_for_admins(portal: Portal, path: str) -> None:
    for role in ("student", "case_manager", "specialist"):
        async with portal.browser() as browser:
            await browser.sign_in(role)
            portal.services.requests.clear()
            assert (await browser.get(path)).status_code == 403
            assert not portal.services.requests
