"""What every page has: headers against framing, sniffing and caching, and texts that stay texts."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from tests.portal.documented_samples import sample_page
from tests.portal.documented_services import (
    NOW,
    PAYMENT_ID,
    PURCHASE_ID,
    RECEIPT_ID,
    enrollment,
    offer,
    page,
    payment,
    problem,
    session_view,
)
from tests.portal.harness import PAYMENT_PAGES, Browser, Portal

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
PAGES = (
    "/",
    "/enroll",
    "/micro-classes",
    "/enroll/items/barber",
    "/enroll/success",
    "/enroll/cancel",
    "/no-such-page",
    "/dashboard",
    "/dashboard/methods",
)


def directives(answer: httpx.Response) -> dict[str, str]:
    policy = answer.headers["content-security-policy"]
    return {name: value for name, _, value in (each.strip().partition(" ") for each in policy.split(";"))}


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_closed_to_frames_scripts_and_caches(browser: Browser, path: str) -> None:
    await browser.sign_in()
    answer = await browser.get(path)
    assert answer.status_code in (200, 404), answer.text
    policy = directives(answer)
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["form-action"].split() == ["'self'", PAYMENT_PAGES, "https://identity.test"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    # what the policy would stop is not there either
    assert not re.search(r"<[^>]* (style|on\w+)=|<script(?![^>]* src=\"/static/)|<style|javascript:", answer.text)


async def test_files_are_kept_by_browsers_under_the_name_of_their_content(browser: Browser) -> None:
    text = (await browser.get("/")).text
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
    assert len(found) == 3
    for path in found:
        answer = await browser.get(path)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        assert (await browser.get(re.sub(r"/static/\w+/", "/static/other/", path))).status_code == 404
    assert (await browser.get("/static/x/..%2fsettings.py")).status_code == 404


async def test_a_page_with_its_files_is_light(browser: Browser) -> None:
    for path in PAGES[:6]:
        text = (await browser.get(path)).text
        files = [len((await browser.get(each)).content) for each in re.findall(r'(?:href|src)="(/static/[^"]+)"', text)]
        assert len(text.encode()) + sum(files) < 100_000, path


def hostile_services(portal: Portal) -> None:
    answers = portal.services.answers
    item = offer("barber", name=HOSTILE, category=HOSTILE, provider=HOSTILE, projects=[HOSTILE])
    answers["GET", "/api/catalog"] = page(item)
    method = {
        "method": "card",
        "label": HOSTILE,
        "offered": False,
        "reason": HOSTILE,
        "min": 1,
        "max": 2,
        "currency": "usd",
    }
    answers["GET", "/api/payment-methods"] = page(method)
    answers["GET", "/api/checkout-sessions/cs_test_1"] = session_view("active", name=HOSTILE)
    answers["GET", "/api/enrollments"] = page(enrollment(program_name=HOSTILE, program_slug="barber"))
    card = {"id": PURCHASE_ID, "name": HOSTILE, "specialty": HOSTILE, "avatar": HOSTILE}
    own = {
        "id": PURCHASE_ID,
        "student_id": PURCHASE_ID,
        "program_id": "p",
        "program_slug": "barber",
        "program_name": HOSTILE,
    }
    times = {"created_at": NOW, "updated_at": NOW}
    instructor = {
        **own,
        **times,
        "purchase_id": None,
        "reason": None,
        "since": NOW,
        "status": "assigned",
        "instructor": card,
    }
    answers["GET", "/api/instructors/mine"] = page(instructor)
    links = [{"title": HOSTILE, "url": "javascript:alert(1)"}, {"title": "Course", "url": f"https://x.test/{HOSTILE}"}]
    answers["GET", "/api/milady/mine"] = page(
        {**own, **times, "links": links, "milady_enrollment_id": HOSTILE, "status": "enrolled"}
    )
    answers["GET", "/api/payments/my-payments"] = {**page(payment(item_name=HOSTILE, method=HOSTILE)), "payments": []}


async def test_hostile_texts_stay_texts(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    hostile_services(portal)
    for path in ("/", "/enroll", "/enroll/items/barber", "/enroll/success?session_id=cs_test_1", "/dashboard"):
        answer = await browser.get(path)
        assert answer.status_code == 200, answer.text
        assert "&lt;script&gt;" in answer.text and "<script>alert" not in answer.text, path
        assert "<img src=x" not in answer.text and "javascript:" not in answer.text, path


async def test_hostile_parameters_stay_texts(browser: Browser, portal: Portal) -> None:
    for path, parameter in (
        ("/enroll/items/barber", "code"),
        ("/enroll/cancel", "program"),
        ("/enroll/success", "program"),
    ):
        answer = await browser.get(path, params={parameter: HOSTILE})
        assert answer.status_code == 200 and "<script>alert" not in answer.text and "<img src=x" not in answer.text


async def test_a_student_sees_their_receipts_and_can_ask_for_a_refund(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    answers = portal.services.answers
    answers["GET", "/api/payments/my-payments"] = {**page(payment()), "payments": []}
    money = {"amount": 489_000, "currency": "usd"}
    receipt: dict[str, Any] = {
        "id": RECEIPT_ID,
        "number": "R-2026-000001",
        "kind": "receipt",
        "payment_id": PAYMENT_ID,
        "program": "X",
    }
    receipt |= {"purchase_id": PURCHASE_ID, "student_id": PURCHASE_ID, "pdf": "/x", "method": "card", "balance": None}
    answers["GET", "/api/receipts"] = page(receipt | {"amount": money, "created_at": NOW, "issued_at": NOW})
    shown = await browser.get("/dashboard")
    assert f'href="/receipts/{RECEIPT_ID}.pdf"' in shown.text and "$4,890.00" in shown.text
    answers["GET", f"/api/payments/{PAYMENT_ID}"] = {**payment(), "refunds": [], "refundable": refundable()}
    answers["POST", "/api/payments/request-refund"] = problem(409, "refund_requested", "You have asked already.")
    action = f"/payments/{PAYMENT_ID}/refund-request"
    refused = await browser.submit(shown, action, reason="I moved")
    assert "You have asked already." in refused.text
    (sent,) = portal.services.sent("POST", "/api/payments/request-refund")
    assert b'"payment_intent_id":"pi_1"' in sent.content.replace(b" ", b"")
    answers["GET", f"/api/receipts/{RECEIPT_ID}/pdf"] = httpx.Response(200, content=b"%PDF-")
    assert (await browser.get(f"/receipts/{RECEIPT_ID}.pdf")).headers["content-type"] == "application/pdf"


def refundable() -> dict[str, Any]:
    from tests.portal.documented_services import DOCUMENT

    schema = DOCUMENT["components"]["schemas"]["Refundable"]
    return {name: _plain(each) for name, each in schema["properties"].items()}


def _plain(schema: dict[str, Any]) -> Any:
    options = schema.get("anyOf", [schema])
    if any("null" in option.get("type", "") for option in options):  # alone, or in a list of types
        return None
    return {"integer": 0, "boolean": False, "array": []}.get(options[0].get("type", "string"), "")


async def test_a_service_that_a_page_can_do_without_leaves_the_rest(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    portal.services.answers["GET", "/api/enrollments"] = page(enrollment(program_name="Barber"))
    portal.services.answers["GET", "/api/instructors/mine"] = httpx.ConnectError("down")
    answer = await browser.get("/dashboard")
    assert answer.status_code == 200 and "Your instructor cannot be displayed right now." in answer.text


async def test_a_service_that_is_down_is_an_honest_page(browser: Browser, portal: Portal) -> None:
    for failure in (httpx.ConnectError("down"), httpx.Response(502, text="<html>")):
        portal.services.answers["GET", "/api/catalog"] = failure
        answer = await browser.get("/enroll")
        assert answer.status_code == 503 and "Not available right now" in answer.text
    portal.services.answers["GET", "/api/catalog"] = page()
    assert "Nothing is on sale right now." in (await browser.get("/enroll")).text


ADMIN_LISTS = (
    ("GET", "/api/admin/refund-requests"),
    ("GET", "/api/admin/unmatched-payments"),
    ("GET", "/api/admin/disputes"),
    ("GET", "/api/admin/dead-letters/queues"),
)


def administration(portal: Portal) -> None:
    for each in ADMIN_LISTS:
        portal.services.answers[each] = page()


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("student", "/admin"),
        ("case_manager", "/admin"),
        ("specialist", "/admin"),
        ("student", f"/admin/purchases/{PURCHASE_ID}"),
        ("case_manager", "/admin/dead-letters"),
        ("case_manager", "/admin/dead-letters/message?queue=x&event_id=e"),
        ("case_manager", f"/admin/purchases/{PURCHASE_ID}/cancel"),
        ("student", "/caseload"),
        ("admin", "/dashboard"),
        ("case_manager", "/dashboard/methods"),
        ("admin", "/dashboard/membership"),
        ("specialist", "/caseload"),
        ("specialist", "/dashboard"),
    ],
)
async def test_each_role_is_kept_out_of_the_pages_of_others(portal: Portal, role: str, path: str) -> None:
    async with portal.browser() as browser:
        await browser.sign_in(role)
        portal.services.requests.clear()
        assert (await browser.get(path)).status_code == 403
        assert not portal.services.requests
    async with portal.browser() as nobody:
        assert (await nobody.get(path)).headers["location"].startswith("/sign-in?return_to=")


async def test_an_admin_finds_a_student_by_an_address_that_no_url_names(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    administration(portal)
    answers = portal.services.answers
    answers["POST", "/api/admin/students/search"] = page({"student_id": PURCHASE_ID, "name": HOSTILE})
    shown = await browser.get("/admin")
    found = await browser.submit(shown, "/admin/search", wanted="kim@example.com")
    assert PURCHASE_ID in found.text and "<script>alert" not in found.text
    assert not any("kim" in str(request.url) for request in portal.services.requests)


async def test_an_admin_finds_a_student_by_name_and_a_purchase_by_its_receipt(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    administration(portal)
    answers = portal.services.answers
    answers["GET", "/api/receipts"] = page()
    answers["POST", "/api/admin/students/search"] = page({"student_id": PURCHASE_ID, "name": "Kim Known"})
    shown = await browser.get("/admin")
    assert "Kim Known" in (await browser.submit(shown, "/admin/search", wanted="kim known")).text
    (sent,) = portal.services.sent("POST", "/api/admin/students/search")
    assert sent.content == b'{"name":"kim known"}'
    answers["GET", "/api/receipts"] = sample_page("/api/receipts", purchase_id=PURCHASE_ID)
    found = await browser.submit(shown, "/admin/search", wanted="R-2026-000001")
    assert found.headers["location"] == f"/admin/purchases/{PURCHASE_ID}"
    assert portal.services.sent("GET", "/api/receipts")[-1].url.params["number"] == "R-2026-000001"


async def test_an_admin_finds_a_purchase_by_an_id_of_stripes(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    administration(portal)
    portal.services.answers["GET", "/api/admin/timelines"] = page({"purchase_id": PURCHASE_ID, "events": []})
    found = await browser.submit(await browser.get("/admin"), "/admin/search", wanted="pi_123")
    assert (found.status_code, found.headers["location"]) == (303, f"/admin/purchases/{PURCHASE_ID}")
    event: dict[str, Any] = {
        "event_id": "e",
        "type": "payment.succeeded.v1",
        "source": HOSTILE,
        "time": NOW,
        "received_at": NOW,
    }
    event |= {"causation_id": "", "data": {}, "refs": ["pi_123"]}
    path = f"/api/admin/purchases/{PURCHASE_ID}/timeline"
    portal.services.answers["GET", path] = {"purchase_id": PURCHASE_ID, "events": [event]}
    portal.services.answers["GET", f"/api/enrollments/{PURCHASE_ID}/payment"] = problem(404, "unknown_enrollment")
    story = await browser.get(f"/admin/purchases/{PURCHASE_ID}")
    assert "payment.succeeded.v1" in story.text and "<script>alert" not in story.text


async def test_a_part_that_is_down_leaves_the_rest_of_the_administration(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    administration(portal)
    portal.services.answers[ADMIN_LISTS[-1]] = httpx.ConnectError("down")
    answer = await browser.get("/admin")
    assert answer.status_code == 200 and "cannot be displayed right now" in answer.text
