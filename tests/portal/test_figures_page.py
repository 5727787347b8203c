"""The page of figures: pictures with their tables, periods, and CSV."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.portal.documented_services import NOW, problem
from tests.portal.harness import Browser, Portal

FIGURES = "/api/admin/figures"
DELIVERIES = "/api/admin/deliveries"
PERIOD = {"since": NOW, "until": NOW}


def line(key: str | None, **other: Any) -> dict[str, Any]:
    sums = {"gross": 10_000, "refunded": 2_500, "lost": 0, "net": 7_500, "average": 10_000}
    return {"key": key, "currency": "usd", "payments": 1, "purchases": 1, **sums, **other}


def day(number: int, delivered: int, fetched: int, *, duplicates: int = 0, rate: int | None) -> dict[str, Any]:
    counts = {"delivered": delivered, "fetched": fetched, "duplicates": duplicates, "delivery_rate": rate}
    return {"day": f"2026-11-{number:02}", **counts}


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
    delivered = rate | {
        "name": "webhook_delivery_rate",
        "value": 9_898,
        "numerator": 98,
        "denominator": 99,
        "target": 9_900,
        "definition": "events that Stripe delivered / all",
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
        ("GET", DELIVERIES): {
            "first_day": "2026-11-01",
            "last_day": "2026-11-30",
            "figures": [delivered],
            "items": [day(2, 98, 1, rate=9_898), day(3, 0, 0, duplicates=1_005, rate=None)],
        },
    }
    return portal


async def test_a_picture_and_the_table_behind_it(browser: Browser, reported: Portal) -> None:
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures")
    assert page.status_code == 200
    assert page.text.count("<rect") == 4 + 2 and 'width="180"' in page.text  # 5,000 of 10,000, of 360
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


async def test_deliveries_with_their_target(browser: Browser, reported: Portal) -> None:
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures?since=2026-11-01&until=2026-11-30")
    assert 'width="356"' in page.text, "9,898 of 10,000, of 360"
    assert '<line class="target" x1="526"' in page.text, "170, and 9,900 of 10,000 of 360"
    for text in ("98.98 %", "98 / 99", "at least 99.00 %: missed", "events that Stripe delivered / all", "1,005"):
        assert text in page.text
    (sent,) = reported.services.sent("GET", DELIVERIES)
    assert dict(sent.url.params) == {"since": "2026-11-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}
    assert "/admin/figures/deliveries.csv?since=2026-11-01&amp;until=2026-11-30" in page.text


async def test_of_many_days_the_last_are_displayed(browser: Browser, reported: Portal) -> None:
    days = [{**day(1, 1, 0, rate=10_000), "day": f"2026-{n // 28 + 1:02}-{n % 28 + 1:02}"} for n in range(300)]
    reported.services.answers["GET", DELIVERIES] = {**reported.services.answers["GET", DELIVERIES], "items": days}
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures")
    assert page.text.count("<rect") == 4 + 2 * 31 and "These are the last 31 days." in page.text
    assert days[-1]["day"] in page.text and days[-32]["day"] not in page.text
    assert len(page.content) < 100_000


@pytest.mark.parametrize(
    "answer",
    [httpx.ConnectError("down"), problem(503, "unavailable"), problem(404, "not_found")],
    ids=["", "503", "404"],
)
async def test_without_the_gateway_the_other_figures_are_displayed(
    browser: Browser, reported: Portal, answer: object
) -> None:
    reported.services.answers["GET", DELIVERIES] = answer
    await browser.sign_in("admin")
    page = await browser.get("/admin/figures")
    assert page.status_code == 200
    assert "75.05 %" in page.text and "They cannot be displayed right now." in page.text


async def test_a_period_without_deliveries(browser: Browser, reported: Portal) -> None:
    answer = reported.services.answers["GET", DELIVERIES]
    reported.services.answers["GET", DELIVERIES] = {**answer, "items": []}
    await browser.sign_in("admin")
    assert "Stripe sent nothing in this period." in (await browser.get("/admin/figures")).text


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


@pytest.mark.parametrize(
    ("path", "file_path"),
    [
        (f"{FIGURES}/revenue.csv", "revenue.csv?by=day"),
        (f"{FIGURES}/outcomes.csv", "outcomes.csv?since=2026-11-01"),
        ("/api/admin/receivables.csv", "receivables.csv"),
        (f"{DELIVERIES}.csv", "deliveries.csv?since=2026-11-01"),
    ],
)
async def test_csv(browser: Browser, reported: Portal, path: str, file_path: str) -> None:
    headers = {"Content-Type": "text/csv", "Content-Disposition": 'attachment; filename="figures.csv"'}
    reported.services.answers["GET", path] = httpx.Response(200, text="key\r\n", headers=headers)
    await browser.sign_in("admin")
    file = await browser.get(f"/admin/figures/{file_path}")
    assert (file.text, file.headers["content-type"]) == ("key\r\n", "text/csv; charset=utf-8")
    assert file.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
@pytest.mark.parametrize("path", ["/admin/figures", "/admin/figures/revenue.csv", "/admin/figures/deliveries.csv"])
async def test_figures_are_for_admins(browser: Browser, reported: Portal, role: str, path: str) -> None:
    await browser.sign_in(role)
    assert (await browser.get(path)).status_code == 403
