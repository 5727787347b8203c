"""No serious violation of WCAG on any page (axe-core), and no page that scrolls sideways."""

from __future__ import annotations

import re

from tests.browser.visitor import Visitor

PUBLIC = {
    "home": "/",
    "catalog": "/enroll",
    "courses": "/micro-classes",
    "item": "/enroll/items/barber-apprenticeship",
    "item-plan": "/enroll/items/barber-apprenticeship?payment=plan",
    "item-sponsor": "/enroll/items/barber-apprenticeship?payer=sponsor",
    "item-code-refused": "/enroll/items/barber-apprenticeship?code=NOPE",
    "waiting": "/enroll/success?session_id=cs_test_aaaaaaaaaaaa",
    "cancel": "/enroll/cancel?program=cpr",
    "not-found": "/no-such-page",
    "pay-link-unknown": "/pay/unknown",
}


async def test_public_pages(visitor: Visitor) -> None:
    for name, path in PUBLIC.items():
        await visitor.go(path)
        await visitor.is_accessible(name)


async def test_pages_of_a_student(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.go("/dashboard")
    await visitor.is_accessible("dashboard-empty")
    await visitor.go("/enroll/items/barber-apprenticeship?payment=plan")
    await visitor.page.click("text=Pay now")
    await visitor.pay_by_card()
    await visitor.page.wait_for_url(re.compile("/enroll/success"))
    await visitor.becomes("done")
    await visitor.is_accessible("enrolled")
    await visitor.loads_until("/dashboard", "(PDF)", "Your instructor:")
    await visitor.page.click("summary:has-text('Request a refund')")
    await visitor.is_accessible("dashboard")
    for path in ("/dashboard/methods", "/dashboard/membership"):
        await visitor.go(path)
        await visitor.is_accessible(path.strip("/").replace("/", "-"))


async def test_pages_of_a_specialist(visitor: Visitor) -> None:
    await visitor.sign_in("specialist")
    await visitor.go("/revenue")
    await visitor.is_accessible("revenue")
