"""From an item to the page where it is paid, and back."""

from __future__ import annotations

import json

import httpx
import pytest
from tests.portal.documented_services import NOW, offer, page, price, problem, session_view
from tests.portal.harness import Browser, Portal

BUY = "/enroll/items/barber"
CREATE = "/api/create-checkout-session"


async def test_a_guest_is_led_to_the_payment_page(browser: Browser, portal: Portal) -> None:
    shown = await browser.get(BUY)
    assert "$4,890.00" in shown.text
    answer = await browser.submit(shown, BUY)
    assert (answer.status_code, answer.headers["location"]) == (303, "https://pay.test/c/cs_test_1")
    (sent,) = portal.services.sent("POST", CREATE)
    assert json.loads(sent.content) == {
        "programName": "Barber",
        "programSlug": "barber",
        "price": "4890.0",
        "paymentType": "full",
    }
    assert "authorization" not in sent.headers
    assert sent.headers["x-forwarded-for"] == "203.0.113.7"


async def test_a_second_click_finds_the_same_purchase_and_a_new_page_another(browser: Browser, portal: Portal) -> None:
    shown = await browser.get(BUY)
    await browser.submit(shown, BUY)
    await browser.submit(shown, BUY)
    await browser.submit(await browser.get(BUY), BUY)
    first, second, third = (each.headers["idempotency-key"] for each in portal.services.sent("POST", CREATE))
    assert first == second != third and len(first) >= 20  # a guest's key must not be guessable


async def test_plan_and_code_are_passed_on(browser: Browser, portal: Portal) -> None:
    due = [
        {
            "position": n,
            "kind": "installment",
            "amount": 110_025,
            "currency": "usd",
            "due_at": f"2026-{10 + n}-22T09:00:00Z",
        }
        for n in (1, 2)
    ]
    portal.services.answers["GET", "/api/prices/barber"] = price(discount=48_900, total=440_100, installments=due)
    shown = await browser.get(BUY, params={"payment": "plan", "code": "TEN"})
    assert "−$489.00" in shown.text and "December 22, 2026" in shown.text and "$1,100.25" in shown.text
    await browser.submit(shown, BUY)
    (sent,) = portal.services.sent("POST", CREATE)
    body = json.loads(sent.content)
    assert (body["paymentType"], body["promotionCode"]) == ("plan", "TEN")


async def test_a_code_that_is_refused_is_not_sent(browser: Browser, portal: Portal) -> None:
    plain = price()

    async def answer(request: httpx.Request) -> httpx.Response:
        portal.services.requests.append(request)
        if "promotion_code" in request.url.params:
            return problem(404, "unknown_promotion", "There is no such promotion code.")
        return httpx.Response(200, json=plain)

    original = portal.services.handle_async_request

    async def handle(request: httpx.Request) -> httpx.Response:
        return await (answer(request) if request.url.path.startswith("/api/prices") else original(request))

    portal.services.handle_async_request = handle  # type: ignore[method-assign]
    shown = await browser.get(BUY, params={"code": "NOPE"})
    assert "There is no such promotion code." in shown.text and "$4,890.00" in shown.text
    await browser.submit(shown, BUY)
    (sent,) = portal.services.sent("POST", CREATE)
    assert "promotionCode" not in json.loads(sent.content)


async def test_a_refusal_is_displayed_with_what_to_do(browser: Browser, portal: Portal) -> None:
    portal.services.answers["POST", CREATE] = problem(409, "already_enrolled", "You are enrolled already.")
    answer = await browser.submit(await browser.get(BUY), BUY)
    assert answer.status_code == 409 and "You are enrolled already." in answer.text and "/dashboard" in answer.text


async def test_what_guests_cannot_buy_leads_to_the_sign_in_and_back(browser: Browser) -> None:
    path = "/enroll/items/dp"
    shown = await browser.get(path)
    assert "Sign in and pay" in shown.text
    answer = await browser.submit(shown, path)
    assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?return_to=/enroll/items/dp")


async def test_an_annual_membership_is_bought_by_the_year(browser: Browser, portal: Portal) -> None:
    item = offer(
        "student", "membership", annual_price=490.00, monthly_price=49.00, tier="student", price=49.00, amount=4900
    )
    portal.services.answers["GET", "/api/catalog"] = page(item)
    portal.services.answers["GET", "/api/prices/student"] = price(subtotal=49_000, total=49_000)
    portal.services.answers["POST", "/api/memberships"] = {"url": "https://pay.test/m", "sessionId": "cs_test_2"}
    await browser.sign_in()
    path = "/enroll/items/student"
    answer = await browser.submit(await browser.get(path, params={"interval": "year"}), path)
    assert answer.headers["location"] == "https://pay.test/m"
    (sent,) = portal.services.sent("POST", "/api/memberships")
    assert json.loads(sent.content) == {"membership": "student", "interval": "year"}


@pytest.mark.parametrize(
    "url", ["https://evil.test/c", "https://pay.test.evil.test/", "https://pay.test@evil.test/", "//evil.test"]
)
async def test_nobody_is_led_to_a_payment_page_of_another_host(browser: Browser, portal: Portal, url: str) -> None:
    portal.services.answers["POST", CREATE] = {"url": url}
    answer = await browser.submit(await browser.get(BUY), BUY)
    assert answer.status_code == 502 and "location" not in answer.headers
    portal.services.answers["GET", "/pay/token"] = httpx.Response(303, headers={"Location": url})
    assert (await browser.get("/pay/token")).status_code == 502


async def test_a_pay_link_opens_the_page_or_is_refused_with_the_reason(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", "/pay/token"] = httpx.Response(303, headers={"Location": "https://pay.test/c/1"})
    opened = await browser.get("/pay/token")
    assert (opened.headers["location"], opened.headers["referrer-policy"]) == ("https://pay.test/c/1", "no-referrer")
    portal.services.answers["GET", "/pay/token"] = problem(410, "nothing_owed", "This has expired.")
    ended = await browser.get("/pay/token")
    assert ended.status_code == 410 and "Nothing is owed" in ended.text and "This has expired." in ended.text
    looked = await browser.client.head("/pay/token")
    assert looked.status_code == 204 and len(portal.services.sent("GET", "/pay/token")) == 2


@pytest.mark.parametrize(
    ("status", "paid", "phase", "polls"),
    [
        ("awaiting_payment", 0, "waiting", True),
        ("processing", 0, "processing", True),
        ("processing", 489_000, "waiting", True),  # paid by card, and enrollment has not said anything yet
        ("pending", 0, "processing", True),  # a bank debit
        ("pending", 489_000, "waiting", True),
        ("active", 489_000, "done", False),
        ("expired", 0, "failed", False),
        ("paused", 489_000, "over", False),
    ],
)
async def test_the_page_after_paying_follows_the_purchase(
    browser: Browser, portal: Portal, status: str, paid: int, phase: str, polls: bool
) -> None:
    portal.services.answers["GET", "/api/checkout-sessions/cs_test_1"] = session_view(status, paid=paid)
    answer = await browser.get("/enroll/success", params={"session_id": "cs_test_1", "program": "barber"})
    assert f'data-phase="{phase}"' in answer.text
    assert ('hx-trigger="every 2s"' in answer.text) == polls
    assert ("http-equiv" in answer.text) == polls  # without JavaScript
    part = await browser.get("/enroll/success/status", params={"session_id": "cs_test_1", "program": "barber"})
    assert f'data-phase="{phase}"' in part.text and "<html" not in part.text


async def test_a_session_that_nobody_has_waits_and_promises_nothing(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", "/api/checkout-sessions/unknown"] = problem(422, "invalid_request")
    answer = await browser.get("/enroll/success", params={"session_id": "../../admin", "program": "barber"})
    assert 'data-phase="waiting"' in answer.text and "You are enrolled" not in answer.text
    assert NOW not in answer.text
