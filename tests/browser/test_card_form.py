"""Paying by card on a page of the portal, with the sandbox's stand-in for Stripe.js."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
from playwright.async_api import Browser, Request
from tests.browser.visitor import PHONE, Visitor

from devstack.stack import Stack

FORM = "/enroll/items/cpr/card"
GOOD, DECLINED, WITHOUT_FUNDS, SECURE = "4242424242424242", "4000000000000002", "4000000000009995", "4000002760003184"


async def fill(visitor: Visitor, number: str = GOOD) -> None:
    page = visitor.page
    await page.get_by_label("Card number").fill(number)
    await page.get_by_label("Expiration date").fill("12 / 34")
    await page.get_by_label("Security code").fill("123")


async def pay(visitor: Visitor, number: str = GOOD) -> None:
    await fill(visitor, number)
    await visitor.page.click("#card-pay")


async def intents(stack: Stack, email: str) -> list[dict[str, object]]:
    """At the sandbox, of the student with this address."""
    async with httpx.AsyncClient(base_url=stack.url("stripe_sandbox"), timeout=30, trust_env=False) as stripe:
        key = {"Authorization": f"Bearer {stack.identity.stripe_api_key}"}
        customers = (await stripe.get("/v1/customers", params={"email": email}, headers=key)).json()["data"]
        return [
            each
            for customer in customers
            for each in (
                await stripe.get("/v1/payment_intents", params={"customer": customer["id"]}, headers=key)
            ).json()["data"]
        ]


async def test_a_student_pays_by_card_without_leaving_the_school(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await visitor.page.click("text=Pay by card here")
    await visitor.page.get_by_label("Card number").wait_for()
    assert "Stripe sandbox: test cards only" in await visitor.text()
    await visitor.is_accessible("card-form")
    await pay(visitor)
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    assert "secret" not in visitor.page.url
    await visitor.becomes("done")
    await visitor.go("/dashboard")
    text = await visitor.text()
    assert "CPR Certification" in text and "active" in text
    await visitor.go(FORM)  # it is owned now
    await visitor.page.wait_for_selector("text=See your enrollments")
    assert not await visitor.page.is_visible("#card-pay")


async def test_a_declined_card_is_replaced_at_once(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go(FORM)
    await pay(visitor, DECLINED)
    await visitor.page.wait_for_selector("text=Your card was declined. No money was taken: try another card")
    await visitor.is_accessible("card-form-declined")
    assert await visitor.page.is_visible("text=Pay on Stripe's page")
    await pay(visitor, WITHOUT_FUNDS)
    await visitor.page.wait_for_selector("text=Your card has insufficient funds.")
    await pay(visitor)
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")


async def test_a_declined_payment_can_be_made_on_stripes_page(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go(FORM)
    await pay(visitor, DECLINED)
    await visitor.page.wait_for_selector("text=Your card was declined.")
    await visitor.page.click("text=Pay on Stripe's page")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")


async def test_an_incomplete_card_is_not_sent(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go(FORM)
    sent: list[str] = []
    await visitor.page.get_by_label("Card number").fill("4242")
    visitor.page.on("request", lambda request: sent.append(request.url))
    await visitor.page.click("#card-pay")
    await visitor.page.wait_for_selector("text=Your card number is incomplete.")
    assert await visitor.page.get_by_label("Card number").get_attribute("aria-invalid") == "true"
    assert not sent


async def test_three_d_secure_returns_to_the_confirmation(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go(FORM)
    await pay(visitor, SECURE)
    await visitor.page.wait_for_url(f"{visitor.stack.url('stripe_sandbox')}/authenticate/**")
    await visitor.page.click("text=Complete")
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    assert "payment_intent=pi_" in visitor.page.url and "secret" not in visitor.page.url
    await visitor.becomes("done")


async def test_a_failed_3_d_secure_offers_another_card(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go(FORM)
    await pay(visitor, SECURE)
    await visitor.page.wait_for_url(f"{visitor.stack.url('stripe_sandbox')}/authenticate/**")
    await visitor.page.click("text=Fail")
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("failed")
    await visitor.is_accessible("card-form-failed")
    await visitor.page.get_by_role("link", name="Try another card").click()
    await pay(visitor)
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")


async def test_who_leaves_3_d_secure_can_go_back_to_it(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go(FORM)
    await pay(visitor, SECURE)
    await visitor.page.wait_for_url(re.compile("/authenticate/"))
    intent = visitor.page.url.rpartition("/")[2]
    await visitor.go(f"/enroll/success?program=cpr&payment_intent={intent}")
    await visitor.page.get_by_role("link", name="Back to the payment").click()
    await pay(visitor)
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")


async def test_a_reload_finds_the_same_intent(stack: Stack, visitor: Visitor) -> None:
    email = await visitor.sign_in()
    for _ in range(3):
        await visitor.go(FORM)
        await visitor.page.get_by_label("Card number").wait_for()
    await pay(visitor)
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    assert [each["status"] for each in await intents(stack, email)] == ["succeeded"]


async def test_a_code_lowers_the_price_of_the_form(stack: Stack, visitor: Visitor) -> None:
    code = f"CARD{uuid4().hex[:6].upper()}"
    async with httpx.AsyncClient(base_url=stack.url("checkout"), timeout=30, trust_env=False) as checkout:
        admin = {"Authorization": f"Bearer {stack.token('admin')}"}
        made = await checkout.post("/api/admin/promotions", json={"code": code, "percent_off": 20}, headers=admin)
        assert made.is_success, made.text
    await visitor.sign_in()
    await visitor.go(f"/enroll/items/cpr?code={code}")
    await visitor.page.click("text=Pay by card here")
    await visitor.page.wait_for_selector("text=Pay $460.00")
    await pay(visitor)
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    assert "$460.00" in await visitor.text()


async def test_a_price_that_changed_meanwhile_is_not_charged(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.page.route(
        f"**{FORM}",
        lambda route, request: (
            route.continue_(post_data=(request.post_data or "").replace("57500", "100"))
            if request.method == "POST"
            else route.continue_()
        ),
    )
    await visitor.go(FORM)
    await visitor.page.wait_for_selector("text=See the current price")
    assert "The price has changed." in await visitor.page.inner_text("#card-problem")
    assert not await visitor.page.is_visible("#card-pay")


async def test_the_secret_of_an_intent_leaves_only_for_stripe(visitor: Visitor) -> None:
    seen: list[Request] = []
    visitor.page.on("request", lambda request: seen.append(request))
    await visitor.sign_in()
    await visitor.go(FORM)
    await pay(visitor, SECURE)
    await visitor.page.click("text=Complete")
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    here = [each for each in seen if each.url.startswith(visitor.url)]
    with_secret = [each for each in here if "_secret_" in each.url or "_secret_" in each.headers.get("referer", "")]
    assert len(with_secret) == 1  # the return from Stripe, which is redirected at once
    response = await with_secret[0].response()
    assert response is not None and response.status == 303
    assert await visitor.page.evaluate("document.referrer.includes('_secret_')") is False
    assert all("_secret_" not in each.headers.get("referer", "") for each in seen)


async def test_the_keyboard_is_enough(stack: Stack, chromium: Browser) -> None:
    async with Visitor.open(stack, chromium, size=PHONE) as visitor:
        await visitor.sign_in()
        await visitor.go(FORM)
        page = visitor.page
        await page.get_by_label("Card number").wait_for()
        await visitor.is_accessible("card-form-phone")
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate("document.activeElement.id") == "stripe-sandbox-number":
                break
        await page.keyboard.type(GOOD)
        await page.keyboard.press("Tab")
        await page.keyboard.type("12/34")
        await page.keyboard.press("Tab")
        await page.keyboard.type("123")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile("/enroll/success"))
        await visitor.becomes("done")


async def test_without_javascript_stripes_page_is_offered(stack: Stack, chromium: Browser) -> None:
    async with Visitor.open(stack, chromium, javascript=False) as visitor:
        await visitor.sign_in()
        await visitor.go(FORM)
        assert "needs JavaScript" in await visitor.text() and not await visitor.page.is_visible("#card-pay")
        await visitor.page.click("text=Pay on Stripe's page")
        await visitor.pay_by_card()
        await visitor.page.wait_for_url(re.compile("/enroll/success"))


async def test_without_stripes_script_its_page_is_offered(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.page.route("**/v3/", lambda route: route.abort())
    await visitor.go(FORM)
    await visitor.page.wait_for_selector("text=The card form could not be loaded.")
    assert await visitor.page.is_visible("text=Pay on Stripe's page")
