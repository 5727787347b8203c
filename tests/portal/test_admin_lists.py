"""The lists of the administration: each fits the document of its API, displays any text as text, filters, pages and
exports."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest
from tests.portal.documented_samples import HOSTILE, resolved, sample_page, schema_of
from tests.portal.documented_services import PAYMENT_ID, PURCHASE_ID, documented, page, problem
from tests.portal.harness import Browser, Portal

from portal.admin_lists import PAYMENTS, PROVIDER_ENROLLMENTS, RECORD_LISTS, REFUND_REQUESTS, UNMATCHED_PAYMENTS
from portal.record_list import Filter, RecordList, filled
from portal.staff_lists import CASELOAD, CASELOAD_PURCHASES, SPONSOR_INVOICES, STAFF_LISTS

PARAMETERS = {"code": "SPRING", "token": "a-token"}
"""Of paths."""
LISTS = (*RECORD_LISTS, *STAFF_LISTS)
every_list = pytest.mark.parametrize("record_list", LISTS, ids=[each.path for each in LISTS])


def path_of(record_list: RecordList) -> str:
    return filled(record_list.path, PARAMETERS)


def api_of(record_list: RecordList) -> str:
    return filled(record_list.api, PARAMETERS)


def parameters(record_list: RecordList) -> dict[str, dict[str, Any]]:
    """Of the API, by name."""
    found = (resolved(each) for each in documented("GET", api_of(record_list)).get("parameters", []))
    return {each["name"]: resolved(each["schema"]) for each in found if each["in"] == "query"}


@every_list
def test_a_list_asks_for_what_its_api_documents(record_list: RecordList) -> None:
    documented_parameters = parameters(record_list)
    assert "cursor" in documented_parameters and documented_parameters["limit"]["maximum"] >= 100
    for each in record_list.filters:
        schema = documented_parameters[each.name]
        assert set(each.choices) == set(schema.get("enum", ())) - {None}
        assert (each.kind == "yes_no") == ("boolean" in schema["type"])
        assert (each.kind in ("since", "until")) == (schema.get("format") == "date-time")
    if record_list.orders:
        sort = documented_parameters["sort"]
        assert {value for value, _ in record_list.orders} == set(sort["enum"])
        assert record_list.orders[0][0] == sort["default"]
    row = resolved(schema_of("GET", api_of(record_list))["properties"]["items"]["items"])
    for name in record_list.fields:
        schema = row
        for part in name.split("."):
            schema = resolved(schema["properties"][part])


@every_list
async def test_a_list_displays_hostile_texts_as_texts(
    browser: Browser, portal: Portal, record_list: RecordList
) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", api_of(record_list)] = sample_page(api_of(record_list))
    shown = await browser.get(path_of(record_list))
    assert shown.status_code == 200 and "<script>alert" not in shown.text and "<img src=x" not in shown.text
    assert shown.text.count(' aria-current="page"') <= 1 and len(shown.content) < 40_000
    exported = await browser.get(f"{path_of(record_list)}.csv")
    assert exported.headers["content-type"].startswith("text/csv")
    header, row = csv.reader(io.StringIO(exported.text))
    assert header == record_list.fields
    assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@"))]  # no formula


@every_list
async def test_an_empty_list_and_one_without_its_service_are_explained(
    browser: Browser, portal: Portal, record_list: RecordList
) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", api_of(record_list)] = {**sample_page(api_of(record_list)), "items": []}
    assert record_list.empty in (await browser.get(path_of(record_list))).text
    portal.services.answers["GET", api_of(record_list)] = httpx.ConnectError("down")
    down = await browser.get(path_of(record_list))
    assert down.status_code == 503 and "cannot be displayed right now" in down.text
    part = await browser.get(path_of(record_list), headers={"HX-Request": "true"})
    assert part.status_code == 200 and "cannot be displayed right now" in part.text


@pytest.mark.parametrize(
    ("record_list", "roles"),
    [
        *((each, ("student", "case_manager", "specialist")) for each in RECORD_LISTS),
        *((each, ("student", "specialist")) for each in (CASELOAD, CASELOAD_PURCHASES)),
    ],
    ids=lambda each: each.path if isinstance(each, RecordList) else "",
)
async def test_a_list_is_closed_to_other_roles(portal: Portal, record_list: RecordList, roles: tuple[str, ...]) -> None:
    for role in roles:
        async with portal.browser() as browser:
            await browser.sign_in(role)
            portal.services.requests.clear()
            for path in (path_of(record_list), f"{path_of(record_list)}.csv"):
                assert (await browser.get(path)).status_code == 403
            assert not portal.services.requests


async def test_filters_are_sent_and_kept_by_the_links(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", PAYMENTS.api] = {**sample_page(PAYMENTS.api), "next": "abc"}
    chosen = {"status": "failed", "from": "2026-11-01", "to": "2026-11-30", "item_slug": f" {HOSTILE} "}
    shown = await browser.get(PAYMENTS.path, params=chosen)
    sent = portal.services.sent("GET", PAYMENTS.api)[-1].url.params
    assert dict(sent) == {
        "status": "failed",
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-12-01T00:00:00Z",  # the day is included
        "item_slug": HOSTILE,
        "limit": "25",
    }
    assert 'value="failed" selected' in shown.text and "<script>alert" not in shown.text
    following = httpx.URL(shown.text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&"))
    assert following.params["cursor"] == "abc" and following.params["status"] == "failed"
    await browser.get(str(following))
    assert portal.services.sent("GET", PAYMENTS.api)[-1].url.params["cursor"] == "abc"


async def test_a_case_managers_lists_and_a_sponsors_are_filtered_sorted_and_exported(portal: Portal) -> None:
    """Each sends the filters of its form with the page and with the file; the sponsor's needs no sign-in."""
    cases: tuple[tuple[RecordList, str | None, dict[str, str]], ...] = (
        (CASELOAD, "case_manager", {"sort": "-name", "funding_source": "WIOA"}),
        (CASELOAD_PURCHASES, "case_manager", {"sort": "-amount", "status": "active", "funding_source": "WIOA"}),
        (SPONSOR_INVOICES, None, {"sort": "amount", "open": "true", "authorization_number": "A-17"}),
    )
    for record_list, role, chosen in cases:
        async with portal.browser() as browser:
            if role:
                await browser.sign_in(role)
            portal.services.answers["GET", api_of(record_list)] = sample_page(api_of(record_list)) | {"next": "abc"}
            shown = await browser.get(path_of(record_list), params=chosen)
            sent = portal.services.sent("GET", api_of(record_list))[-1].url.params
            assert dict(sent) == chosen | {"limit": "25"}
            assert "cursor=abc" in shown.text and f"{path_of(record_list)}.csv?" in shown.text
            portal.services.answers["GET", api_of(record_list)] = sample_page(api_of(record_list))
            exported = await browser.get(f"{path_of(record_list)}.csv", params=chosen)
            assert dict(portal.services.sent("GET", api_of(record_list))[-1].url.params) == chosen | {"limit": "100"}
            assert exported.headers["content-disposition"] == f'attachment; filename="{record_list.filename}"'
            assert "a-token" not in exported.headers["content-disposition"], "a file's name is displayed and kept"


async def test_a_sponsors_file_is_as_private_as_its_page(browser: Browser, portal: Portal) -> None:
    api = api_of(SPONSOR_INVOICES)
    for answer, status in ((sample_page(api), 200), (problem(404, "unknown_link"), 404)):
        portal.services.answers["GET", api] = answer
        exported = await browser.get(f"{path_of(SPONSOR_INVOICES)}.csv")
        assert exported.status_code == status
        headers = [exported.headers[name] for name in ("cache-control", "x-robots-tag", "referrer-policy")]
        assert headers == ["no-store", "noindex", "no-referrer"]


async def test_a_filter_has_its_default_until_another_is_chosen(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", REFUND_REQUESTS.api] = page()
    for query, status in (
        ("", "pending"),
        ("?done=approve", "pending"),
        ("?status=", None),
        ("?status=rejected", "rejected"),
    ):
        await browser.get(REFUND_REQUESTS.path + query)
        assert portal.services.sent("GET", REFUND_REQUESTS.api)[-1].url.params.get("status") == status


async def test_a_filter_that_the_api_refuses_is_explained(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", PAYMENTS.api] = problem(422, "invalid_request", "student_id is no UUID.")
    shown = await browser.get(PAYMENTS.path, params={"student_id": "kim"})
    assert shown.status_code == 422 and "student_id is no UUID." in shown.text and 'value="kim"' in shown.text


async def test_a_file_has_the_rows_of_all_pages(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    rows = sample_page(PAYMENTS.api)["items"]
    portal.services.answers["GET", PAYMENTS.api] = {"items": rows * 3, "next": None}
    await browser.get(f"{PAYMENTS.path}.csv", params={"status": "failed"})
    sent = portal.services.sent("GET", PAYMENTS.api)[-1].url.params
    assert (sent["limit"], sent["status"]) == ("100", "failed")
    portal.services.answers["GET", PAYMENTS.api] = {"items": rows * 100, "next": "more"}
    refused = await browser.get(f"{PAYMENTS.path}.csv")
    assert refused.status_code == 422 and "There are more than 50,000 rows." in refused.text


async def test_a_payment_is_assigned_from_its_row(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    rows = sample_page(UNMATCHED_PAYMENTS.api, id=PAYMENT_ID, status="open")
    portal.services.answers["GET", UNMATCHED_PAYMENTS.api] = rows
    shown = await browser.get(UNMATCHED_PAYMENTS.path)
    api = f"{UNMATCHED_PAYMENTS.api}/{PAYMENT_ID}/assign"
    portal.services.answers["POST", api] = problem(422, "unknown_item", "There is no such item.")
    action = f"{UNMATCHED_PAYMENTS.path}/{PAYMENT_ID}/assign"
    refused = await browser.submit(shown, action, student_id=PURCHASE_ID, item="x")
    assert refused.status_code == 422 and "There is no such item." in refused.text
    purchase = {"amount": 1, "currency": "usd", "item": "cpr", "purchase_id": PURCHASE_ID, "student_id": PURCHASE_ID}
    portal.services.answers["POST", api] = purchase
    done = await browser.submit(shown, action, student_id=PURCHASE_ID, item=" cpr ")
    assert done.headers["location"] == f"{UNMATCHED_PAYMENTS.path}?done=assigned"
    assert portal.services.sent("POST", api)[-1].content == f'{{"student_id":"{PURCHASE_ID}","item":"cpr"}}'.encode()
    assert "The payment was assigned." in (await browser.get(done.headers["location"])).text


def test_a_day_that_is_none_is_not_sent() -> None:
    assert Filter("to", "Through", "until").sent("9999-12-31") is None
    assert Filter("from", "From", "since").sent("yesterday") is None


async def test_an_enrollment_at_the_provider_is_confirmed_or_retried(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    record_list = PROVIDER_ENROLLMENTS
    row = sample_page(record_list.api, status="failed", desired_state="enrolled", program_slug="barber")
    portal.services.answers["GET", record_list.api] = row
    shown = await browser.get(record_list.path)
    for act, sent in (
        ("retry", {}),
        ("confirm", {"miladyEnrollmentId": "M-1", "withdrawn": False}),
    ):
        api = f"/api/admin/milady/{act}"
        portal.services.answers["POST", api] = problem(409, "refused", "Not now.")
        refused = await browser.submit(shown, f"/admin/milady/{act}", milady_enrollment_id="M-1")
        assert refused.status_code == 422 and "Not now." in refused.text
        named = {"studentId": PURCHASE_ID, "programSlug": "barber"}
        assert json.loads(portal.services.sent("POST", api)[-1].content) == named | sent
    document = httpx.Response(200, text="a,b", headers={"Content-Disposition": 'attachment; filename="x.csv"'})
    portal.services.answers["GET", "/api/admin/milady/export.csv"] = document
    exported = await browser.get("/admin/milady/withdraw.csv")
    assert (exported.text, exported.headers["content-type"]) == ("a,b", "text/csv; charset=utf-8")
    assert portal.services.sent("GET", "/api/admin/milady/export.csv")[-1].url.params["action"] == "withdraw"
