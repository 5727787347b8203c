"""The page of figures: pictures with their tables, periods, and CSV."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.portal.documented_services import NOW, problem
from tests.portal.harness import Browser, Portal

FIGURES = "/api/admin/figures"
PERIOD = {"since": NOW, "until": NOW}


def line(key: str | None, **other: Any) -> dict[str, Any]:
    sums = {"gross": 10_000, "refunded": 2_500, "lost": 0, "net": 7_500, "average": 10_000}
    return {"key": key, "currency": "usd", "payments": 1, "purchases": 1, **sums, **other}


@pytest.fixture
def reported(portal: Portal) -> Portal:
    rate = {
        "name": "payment_success_rate",
        "unit": "basis_points",
        "value": 7_505,
        "numerator": 3,
        "denominator": 4,
        "better": "higher",
        "target": 9_800,
        "meets_target": False,
        "definition": "payments that succeeded / all",
    }
    owed = {"payer": "sponsor", "funding_source": "WIOA", "currency": "usd", "age": "0_to_30", "count": 2, "amount": 12}
    portal.services.answers |= {
        ("GET", FIGURES): {**PERIOD, "items": [rate]},
        ("GET", f"{FIGURES}/revenue"): {
            **PERIOD,
            "by": "month",
            "items": [line("2026-11-01"), line(None, gross=5_000)],
        },
        ("GET", f"{FIGURES}/failures"): {**PERIOD, "items": []},
        ("GET", f"{FIGURES}/outcomes"): {**PERIOD, "items": []},
        ("GET", "/api/admin/receivables"): {"items": [owed]},
    }
    return portal


async def test_a_picture_and_the_table_behind_it(browser: Browser, reported: Portal) -> None:
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures")
    assert page.status_code == 200
    assert page.text.count("<rect") == 4 and 'width="180"' in page.text  # 5,000 of 10,000, of 360
    for text in (
        "$100.00",
        "$75.00",
        "75.05 %",
        "3 / 4",
        "at least 98.00 %: missed",
        "not known",
        "0 to 30 days",
        "$0.12",
    ):
        assert text in page.text
    assert "0 to 30 days" in page.text and "$0.12" in page.text
    assert "No payment failed" in page.text and "No enrollment became active" in page.text


async def test_both_days_are_included(browser: Browser, reported: Portal) -> None:
    await browser.sign_in("admin")
    await browser.get("/admin/figures?since=2026-11-01&until=2026-11-30&by=sponsor")
    (sent,) = reported.services.sent("GET", f"{FIGURES}/revenue")
    assert dict(sent.url.params) == {
        "by": "sponsor",
        "since": "2026-11-01T00:00:00Z",
        "until": "2026-12-01T00:00:00Z",
    }


@pytest.mark.parametrize("query", ["since=&until=", "since=9999-12-31&until=9999-12-31", "since=x&until=2026-13-01"])
async def test_what_is_no_day_is_no_error(browser: Browser, reported: Portal, query: str) -> None:
    await browser.sign_in("admin")
    assert (await browser.get(f"/admin/figures?{query}")).status_code == 200


async def test_a_refused_period_is_explained(browser: Browser, reported: Portal) -> None:
    reported.services.answers["GET", FIGURES] = problem(422, "invalid_period", "`since` must be before `until`.")
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures?since=2026-11-02&until=2026-10-01")
    assert (page.status_code, "must be before" in page.text) == (422, True)


async def test_a_hostile_name_is_text(browser: Browser, reported: Portal) -> None:
    answer = reported.services.answers["GET", f"{FIGURES}/revenue"]
    answer["items"] = [line("<script>alert(1)</script>")]
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures?by=program")
    assert "<script>alert" not in page.text and "&lt;script&gt;" in page.text


async def test_csv(browser: Browser, reported: Portal) -> None:
    headers = {"Content-Type": "text/csv", "Content-Disposition": 'attachment; filename="revenue-by-day.csv"'}
    reported.services.answers["GET", f"{FIGURES}/revenue.csv"] = httpx.Response(200, text="key\r\n", headers=headers)
    await browser.sign_in("admin")
    file = await browser.get("/admin/figures/revenue.csv?by=day")
    assert (file.text, file.headers["content-type"]) == ("key\r\n", "text/csv; charset=utf-8")
    assert file.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
@pytest.mark.parametrize("path", ["/admin/figures", "/admin/figures/revenue.csv"])
async def test_figures_are_for_admins(browser: Browser, reported: Portal, role: str, path: str) -> None:
    await browser.sign_in(role)
    assert (await browser.get(path)).status_code == 403
