"""The school's staff: a case manager funds a student; an admin finds a student by mail, and decides a refund."""

from __future__ import annotations

import re
from uuid import uuid4

from playwright.async_api import Browser
from tests.browser.visitor import Visitor

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
        await admin.go("/admin/figures?by=program")
        while "$575.00" not in await admin.text():
            await admin.go("/admin/figures?by=program")
        await admin.is_accessible("admin-figures")
        await admin.go("/admin")
        card = page.locator("article", has_text=reason)
        await card.locator("summary").click()
        await card.get_by_role("button", name=re.compile("Approve")).click()
        await page.wait_for_selector("text=The refund request was approved.")
    async with Visitor.open(stack, chromium) as student:
        await student.sign_in(email=email)
        await student.go("/dashboard")
        while "withdrawn" not in await student.text():
            await student.go("/dashboard")
        assert "$575.00 refunded" in await student.text()


async def test_a_case_manager_asks_a_sponsor_to_pay(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.sign_in("case_manager")
    await visitor.is_accessible("caseload-empty")
    await page.get_by_label("Student's name").fill("Kim Known")
    await page.get_by_label("Student's email address").fill(f"kim.{uuid4().hex[:8]}@example.com")
    await page.get_by_label("Authorization number").fill("WIOA-2026-17")
    await page.click("text=Send the invoice")
    await page.wait_for_selector("text=The sponsor gets an invoice.")
    await visitor.is_accessible("caseload")
    assert "sponsor" in await visitor.text()


async def test_staff_pages_are_closed_to_students(visitor: Visitor) -> None:
    await visitor.sign_in()
    for path in ("/admin", "/caseload"):
        await visitor.go(path)
        assert "You may not do this" in await visitor.page.inner_text("h1")
