"""A student, from the start page to the enrollment."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
from playwright.async_api import Browser
from tests.browser.visitor import PHONE, Visitor

from devstack.stack import Stack


async def test_a_student_pays_by_card_and_is_enrolled(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.go("/")
    await page.click("text=Sign in >> nth=0")
    await page.fill("#email", f"jordan.{uuid4().hex[:8]}@example.com")
    await page.click("button[value=student]")
    await page.click("nav >> text=Enroll")
    await page.click("text=CPR Certification")
    assert "$575.00" in await visitor.text()
    await page.click("text=Pay now")
    await visitor.pay_by_card()
    await page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")  # by itself
    await page.click("text=Open your dashboard")
    text = await visitor.text()
    assert "CPR Certification" in text and "active" in text


async def test_a_guest_pays_and_sees_it_confirmed(visitor: Visitor) -> None:
    await visitor.go("/enroll/items/cpr")
    await visitor.page.click("text=Pay now")
    await visitor.pay_by_card(email=f"guest.{uuid4().hex[:8]}@example.com")
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    assert "Check your email" in await visitor.text()


async def test_a_bank_debit_opens_the_enrollment_when_it_settles(stack: Stack, visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await visitor.page.click("text=Pay now")
    await visitor.page.wait_for_url(f"{stack.url('stripe_sandbox')}/**")
    await visitor.page.check("#method-us_bank_account")
    await visitor.page.get_by_role("button", name=re.compile("^Pay ")).click()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("processing")
    await visitor.is_accessible("success-bank-debit")
    session = re.search(r"cs_\w+", visitor.page.url)
    assert session
    await settle(stack, session.group())
    await visitor.becomes("done")  # by itself


async def settle(stack: Stack, session: str) -> None:
    """The bank debit that has paid the session, days later."""
    async with httpx.AsyncClient(base_url=stack.url("stripe_sandbox"), timeout=30, trust_env=False) as stripe:
        key = {"Authorization": f"Bearer {stack.identity.stripe_api_key}"}
        intent = (await stripe.get(f"/v1/checkout/sessions/{session}", headers=key)).json()["payment_intent"]
        settled = await stripe.post(
            f"/sandbox/api/payment_intents/{intent}/settle", json={}, headers=stack.operator_headers
        )
        assert settled.is_success, settled.text


async def test_a_code_lowers_the_price(stack: Stack, visitor: Visitor) -> None:
    code = f"BROWSER{uuid4().hex[:6].upper()}"
    async with httpx.AsyncClient(base_url=stack.url("checkout"), timeout=30, trust_env=False) as checkout:
        admin = {"Authorization": f"Bearer {stack.token('admin')}"}
        made = await checkout.post("/api/admin/promotions", json={"code": code, "percent_off": 20}, headers=admin)
        assert made.is_success, made.text
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await visitor.page.get_by_label("Promotion code").fill("NO-SUCH-CODE")
    await visitor.page.click("text=Update the price")
    await visitor.page.wait_for_selector("text=The code was not applied.")
    await visitor.page.get_by_label("Promotion code").fill(code)
    await visitor.page.click("text=Update the price")
    await visitor.page.wait_for_selector("text=$460.00")
    await visitor.page.click("text=Pay now")
    await visitor.page.wait_for_selector("text=Pay $460.00")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")


async def test_a_declined_card_can_be_replaced_at_once(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await visitor.page.click("text=Pay now")
    await visitor.pay_by_card("4000000000000002")
    await visitor.page.wait_for_selector("text=declined")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")


async def test_a_plan_shows_each_installment_before_and_after_paying(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go("/enroll/items/barber-apprenticeship")
    await visitor.page.click("text=In four monthly installments")
    await visitor.page.wait_for_selector("caption:has-text('Installments')")
    assert (await visitor.text()).count("$1,222.50") == 4
    await visitor.page.click("text=Pay now")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    await visitor.go("/dashboard")
    text = await visitor.text()
    assert "$1,222.50 of $4,890.00 paid" in text and "Pay installment 4 now" in text
    await visitor.page.click("text=Pay installment 2 now")
    await visitor.page.wait_for_url(f"{visitor.stack.url('stripe_sandbox')}/**")


async def test_a_student_asks_for_a_refund(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await visitor.page.click("text=Pay now")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    await visitor.go("/dashboard")
    await visitor.page.click("summary:has-text('Request a refund')")
    await visitor.page.get_by_label("Why?").fill("I am moving away.")
    await visitor.page.click("text=Send the request")
    assert "Your refund request was received." in await visitor.text()


async def test_nothing_needs_javascript(stack: Stack, chromium: Browser) -> None:
    async with Visitor.open(stack, chromium, javascript=False) as visitor:
        await visitor.sign_in()
        await visitor.go("/enroll/items/cpr")
        await visitor.page.click("text=In four monthly installments")
        await visitor.page.click("text=Update the price")
        assert (await visitor.text()).count("$143.75") == 4
        await visitor.page.click("text=In one payment")
        await visitor.page.click("text=Update the price")
        await visitor.page.click("text=Pay now")
        await visitor.pay_by_card()
        await visitor.page.wait_for_url(re.compile("/enroll/success"))
        await visitor.becomes("done")  # the page loads itself again


async def test_the_keyboard_is_enough(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Pay now":
            break
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{visitor.stack.url('stripe_sandbox')}/**")


async def test_a_phone_is_wide_enough(stack: Stack, chromium: Browser) -> None:
    async with Visitor.open(stack, chromium, size=PHONE) as visitor:
        for name, path in (("home", "/"), ("catalog", "/enroll"), ("item", "/enroll/items/cpr?payment=plan")):
            await visitor.go(path)
            await visitor.is_accessible(f"phone-{name}")
