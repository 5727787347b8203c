"""A student asks their instructor: here the automatic tutor, as no language model is set."""

from __future__ import annotations

import re

from playwright.async_api import Browser
from tests.browser.visitor import PHONE, Visitor

from devstack.stack import Stack


async def open_chat(visitor: Visitor) -> None:
    """Of a student who has just paid."""
    await visitor.sign_in()
    await visitor.go("/enroll/items/cpr")
    await visitor.page.click("text=Pay now")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.page.wait_for_load_state()
    await visitor.loads_until("/dashboard", "Your instructor:")
    await visitor.page.click("text=Ask Nadia Okafor")
    await visitor.page.wait_for_selector("text=There are no messages yet.")


async def test_an_answer_is_streamed_into_the_page(visitor: Visitor) -> None:
    await open_chat(visitor)
    await visitor.is_accessible("instructor-empty")
    page = visitor.page
    loaded = await page.evaluate("window.loaded = true")
    await page.get_by_label("Your question").fill("How deep are compressions? <img src=x onerror=alert(1)>")
    await page.get_by_role("button", name="Ask").click()
    await page.wait_for_selector("article.instructor[aria-busy=false]")
    text = await visitor.text()
    assert "Push hard and fast" in text and "<img src=x onerror=alert(1)>" in text
    assert loaded and await page.evaluate("window.loaded") is True, "the page was not loaded again"
    assert await page.get_by_label("Your question").input_value() == ""
    await page.get_by_label("Your question").fill("What is the capital of France?")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("article.instructor >> nth=1 >> text=I found nothing about this")
    await page.reload()
    assert await page.locator("article.message").count() == 4, "everything is stored"
    await visitor.is_accessible("instructor")


async def test_a_question_that_fails_is_displayed_and_the_page_goes_on(visitor: Visitor) -> None:
    await open_chat(visitor)
    page = visitor.page
    await page.evaluate("document.querySelector('[data-chat] [name=form_token]').value = 'of another session'")
    await page.get_by_label("Your question").fill("How deep are compressions?")
    await page.get_by_role("button", name="Ask").click()
    await page.wait_for_selector("#problem:not([hidden])")
    assert await page.get_by_label("Your question").input_value() == "How deep are compressions?"
    assert await page.get_by_role("button", name="Ask").is_enabled()


async def test_without_javascript_the_page_is_loaded_with_the_answer(stack: Stack, chromium: Browser) -> None:
    async with Visitor.open(stack, chromium, size=PHONE, javascript=False) as visitor:
        await open_chat(visitor)
        await visitor.page.get_by_label("Your question").fill("What does an AED do?")
        await visitor.page.get_by_role("button", name="Ask").click()
        await visitor.page.wait_for_selector("article.instructor")
        assert "follow its voice" in await visitor.text()
