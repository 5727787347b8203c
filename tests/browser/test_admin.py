"""The administration: an unmatched payment is assigned, a dead letter replayed, the catalog changed; every page."""

from __future__ import annotations

from uuid import uuid4

import aio_pika
import httpx
from playwright.async_api import Browser
from tests.browser.visitor import PHONE, Visitor

from devstack.stack import Stack

PAGES = {
    "purchases": "/admin/purchases",
    "payments": "/admin/payments",
    "payments-empty": "/admin/payments?method=none",
    "installments": "/admin/installments",
    "receivables": "/admin/receivables",
    "disputes": "/admin/disputes",
    "receipts": "/admin/receipts",
    "catalog": "/admin/items",
    "new-item": "/admin/new/items",
    "item": "/admin/items/cpr",
    "promotions": "/admin/promotions",
    "new-promotion": "/admin/new/promotions",
    "sponsors": "/admin/sponsors",
    "sponsor": "/admin/sponsors/WIOA",
    "instructors": "/admin/instructors",
    "assignments": "/admin/instructor-assignments",
    "audit": "/admin/audit",
    "milady": "/admin/milady",
    "differences": "/admin/differences",
    "health": "/admin/health",
}


async def paid_by_nobody(stack: Stack) -> str:
    """A payment of another system that names no student. Returns its id at Stripe."""
    async with httpx.AsyncClient(base_url=stack.url("stripe_sandbox"), timeout=30, trust_env=False) as stripe:
        form = {"amount": "57500", "currency": "usd", "metadata[program_id]": "cpr"}
        key = {"Authorization": f"Bearer {stack.identity.stripe_api_key}"}
        made = await stripe.post("/v1/payment_intents", data=form, headers=key)
        assert made.status_code == 200, made.text
        payment = {"method": "card", "card": "4242424242424242", "email": "nobody@example.org"}
        path = f"/sandbox/api/payment_intents/{made.json()['id']}/pay"
        paid = await stripe.post(path, json=payment, headers=stack.operator_headers)
        assert paid.status_code == 200, paid.text
    return str(made.json()["id"])


async def test_an_admin_assigns_an_unmatched_payment(stack: Stack, visitor: Visitor) -> None:
    intent, student = await paid_by_nobody(stack), str(uuid4())
    page = visitor.page
    await visitor.sign_in("admin")
    await visitor.loads_until("/admin/unmatched-payments", intent)
    row = page.locator("tr", has_text=intent)
    await row.locator("summary").click()
    await visitor.is_accessible("admin-unmatched-payments")
    await row.get_by_label("Student's id").fill(student)
    await row.get_by_label("Item (its slug)").fill("cpr")
    await row.get_by_role("button", name="Assign").click()
    await page.wait_for_selector("text=The payment was assigned.")
    await visitor.loads_until(f"/admin/purchases?user_id={student}", "active")
    await visitor.is_accessible("admin-purchases-of-student")


async def test_an_admin_replays_a_dead_letter(stack: Stack, visitor: Visitor) -> None:
    queue = "enrollment.payments"
    async with await aio_pika.connect(stack.amqp_url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"\xff not JSON"), routing_key=queue)
    page = visitor.page
    await visitor.sign_in("admin")
    await visitor.loads_until("/admin/dead-letters", link=queue)
    await visitor.is_accessible("admin-dead-letter-queues")
    await page.get_by_role("link", name=queue, exact=True).click()
    await page.wait_for_url("**queue=**")
    assert "BadEnvelope" in await visitor.text()
    await page.get_by_role("button", name="Replay").first.click()
    await page.wait_for_selector("text=The message was returned to its queue.")
    await visitor.is_accessible("admin-dead-letters")
    await visitor.loads_until(page.url.removeprefix(visitor.url), link="Discard")  # it has failed again
    await page.get_by_role("row").nth(1).locator("a[href*='/message?']").click()
    await page.wait_for_selector("h2:has-text('Content')")
    await visitor.is_accessible("admin-dead-letter")
    await page.get_by_role("link", name="Discard").click()
    await page.get_by_label("Reason").fill("It was no event.")
    await visitor.is_accessible("admin-dead-letter-discard")
    await page.get_by_role("button", name="Discard the message").click()
    await page.wait_for_selector("text=The message was discarded.")


async def test_an_admin_adds_an_item_and_changes_its_price(visitor: Visitor) -> None:
    page, slug = visitor.page, f"course-{uuid4().hex[:6]}"
    await visitor.sign_in("admin")
    await visitor.go("/admin/items")
    await page.click("text=Add an item")
    await page.get_by_label("Kind").select_option("course")
    await page.get_by_label("Slug").fill(slug)
    await page.get_by_label("Name").fill("Shears and Clippers")
    await page.locator("#price").fill("49.00")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_selector("text=It was saved.")
    await page.locator("#price").fill("a lot")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_selector("text=This was refused.")
    await visitor.is_accessible("admin-item-refused")
    await page.locator("#price").fill("59.00")
    await page.get_by_role("button", name="Save").click()
    await page.wait_for_selector("text=It was saved.")
    await visitor.go(f"/enroll/items/{slug}")
    assert "$59.00" in await visitor.text()


async def test_a_list_is_filtered_without_loading_the_page(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.sign_in("admin")
    await visitor.go("/admin/items")
    assert not await page.locator("#loading").is_visible()
    await page.evaluate("window.marked = true")
    await page.get_by_label("Kind").select_option("program")
    await page.wait_for_selector("#list td:has-text('program')")
    await page.wait_for_url("**kind=program**")
    assert "course" not in await page.locator("#list tbody td:nth-child(3)").all_inner_texts()
    assert await page.evaluate("window.marked")


async def test_every_page_of_the_administration(visitor: Visitor) -> None:
    await visitor.sign_in("admin")
    for name, path in PAGES.items():
        await visitor.go(path)
        assert await visitor.page.locator("nav[aria-label=Administration] [aria-current=page]").count() <= 1
        await visitor.is_accessible(f"admin-{name}")


async def test_a_phone_is_wide_enough_for_a_list(stack: Stack, chromium: Browser) -> None:
    async with Visitor.open(stack, chromium, size=PHONE) as visitor:
        await visitor.sign_in("admin")
        for name in ("catalog", "new-item", "health"):
            await visitor.go(PAGES[name])
            await visitor.is_accessible(f"phone-admin-{name}")
