"""The school's staff: a case manager funds a student; an admin finds a student by mail, and decides a refund."""

from __future__ import annotations

import re
from uuid import uuid4

from playwright.async_api import Browser
from tests.browser.visitor import Visitor
from tests.waiting import until

from devstack.stack import Stack


async def test_an_admin_finds_a_student_and_decides_a_refund(stack: Stack, chromium: Browser) -> None:
    reason = f"I am moving away ({uuid4().hex[:6]})."
    async with Visitor.open(stack, chromium) as student:
        email = await student.sign_in()
        await student.go("/enroll/items/cpr")
        await student.page.click("text=Pay now")
        await student.pay_by_card()
        await student.page.wait_for_url(re.compile("/enroll/success"))
        await student.becomes("done")
        await student.go("/dashboard")
        await student.page.click("summary:has-text('Request a refund')")
        await student.page.get_by_label("Why?").fill(reason)
        await student.page.click("text=Send the request")
        await student.page.wait_for_selector("text=Your refund request was received.")
    async with Visitor.open(stack, chromium) as admin:
        page = admin.page
        await admin.sign_in("admin")
        await admin.is_accessible("admin")
        await page.fill("#wanted", email)
        await page.click("text=Search")
        await page.wait_for_selector("td >> text=CPR Certification")
        await admin.is_accessible("admin-found")
        await page.click("td >> text=CPR Certification")
        await page.wait_for_selector("text=enrollment.activated.v1")
        await admin.is_accessible("admin-purchase")
        await page.click("text=Cancel the purchase")
        await page.wait_for_selector("text=This cannot be undone")
        await admin.is_accessible("admin-purchase-cancel")
        await admin.loads_until("/admin/figures?by=program", "cpr")
        assert await page.locator("section[aria-labelledby=deliveries] tbody tr").count(), "no delivery was counted"
        await admin.is_accessible("admin-figures")
        await admin.go("/admin/refund-requests")
        row = page.locator("tr", has_text=reason)
        await row.locator("summary").click()
        await admin.is_accessible("admin-refund-requests")
        await row.get_by_role("button", name=re.compile("Approve")).click()
        await page.wait_for_selector("text=The refund request was approved.")
    async with Visitor.open(stack, chromium) as student:
        await student.sign_in(email=email)
        await student.loads_until("/dashboard", "withdrawn")
        assert "$575.00 refunded" in await student.text()


async def test_a_case_manager_asks_a_sponsor_to_pay_and_it_pays_by_its_link(stack: Stack, chromium: Browser) -> None:
    name, number = f"Kim {uuid4().hex[:6]}", f"AUTH-{uuid4().hex[:6]}"
    async with Visitor.open(stack, chromium) as manager:
        await manager.sign_in("case_manager")
        await manager.is_accessible("caseload-empty")
        await manager.page.get_by_label("Student's name").fill(name)
        await manager.page.get_by_label("Student's email address").fill(f"kim.{uuid4().hex[:8]}@example.com")
        await manager.page.get_by_label("Program").select_option(label="CPR Certification")
        await manager.page.get_by_label("Sponsor", exact=True).select_option("WIOA")
        await manager.page.get_by_label("Authorization number").fill(number)
        await manager.page.get_by_label("Authorized amount").fill("1.00")
        await manager.page.get_by_role("button", name="Send the invoice", exact=True).click()
        await manager.page.wait_for_selector("text=The sponsor would owe more than it has authorized")
        await manager.page.get_by_label("Authorized amount").fill("565")
        await manager.page.get_by_label("Co-pay").fill("10.00")
        await manager.page.get_by_role("button", name="Send the invoice", exact=True).click()
        await manager.page.wait_for_selector("text=The sponsor gets an invoice.")
        await manager.is_accessible("caseload")
        assert "Funding by source" in await manager.text()
        await manager.page.get_by_label("Order").select_option("-updated_at")
        await manager.page.wait_for_selector(f"td:has-text('{name}')")
        row = manager.page.get_by_role("row").filter(has_text=name)
        await row.locator("a[href^='/caseload/purchases']").click()
        await manager.page.wait_for_selector("text=/Send WIOA the invoice/")
        await manager.is_accessible("caseload-purchases")
    async with Visitor.open(stack, chromium) as admin:
        await admin.sign_in("admin")
        await admin.go("/caseload")
        await admin.page.click("form[action='/caseload/sponsors/WIOA/link'] >> text=New link")
        link = await admin.page.get_by_role("link", name="/sponsor/").get_attribute("href")
        await admin.is_accessible("sponsor-link")
    assert link
    async with Visitor.open(stack, chromium) as sponsor:
        await sponsor.page.goto(link)
        await sponsor.is_accessible("sponsor")
        invoice = sponsor.page.get_by_role("row").filter(has_text=number)
        assert name in await invoice.inner_text()
        assert "$565.00" in await invoice.inner_text(), "less the co-pay, and within the cap"
        await invoice.get_by_role("link", name="Pay").click()
        await sponsor.pay_by_card()
        await sponsor.page.wait_for_selector("text=/paid/i")
        await sponsor.page.goto(link)

        async def paid() -> bool:
            await sponsor.page.reload()
            return "paid" in (await invoice.inner_text()).lower()

        await until(paid, what="the event of the payment")


async def test_staff_pages_are_closed_to_students(visitor: Visitor) -> None:
    await visitor.sign_in()
    for path in ("/admin", "/caseload"):
        await visitor.go(path)
        assert "You may not do this" in await visitor.page.inner_text("h1")
