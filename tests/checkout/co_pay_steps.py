"""Steps of the tests of co-pays: a sponsor is invoiced for a barber apprenticeship, and the student pays a part."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.checkout.installment_steps import School
from tests.checkout.service import FRONTEND, FUND, PAY_LINK_SECRET

from checkout.purchases.pay_links import token_of

BARBER = "barber-apprenticeship"
PRICE, CO_PAY = 489_000, 39_000
SHARE = PRICE - CO_PAY
SUCCESS = f"{FRONTEND}/enroll/success?program={BARBER}"


def co_pay(amount: int = CO_PAY, currency: str = "usd") -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


async def fund(school: School, **body: Any) -> Any:
    sent = {"studentId": str(school.student), "programId": BARBER, "programSlug": BARBER, "fundingSource": "WIOA"}
    return await school.call("POST", FUND, role="case_manager", json=sent | {"coPay": co_pay()} | body)


async def funded(school: School, **body: Any) -> None:
    answer = await fund(school, **body)
    assert answer.status_code == 200, answer.text


async def enroll(school: School, **body: Any) -> Any:
    sent = {"product_id": BARBER, "user_id": str(school.student), "funding_source": "WIOA"}
    return await school.call("POST", "/api/enrollments", role="case_manager", json=sent | {"co_pay": co_pay()} | body)


def by_hand(installment: dict[str, Any]) -> str:
    return f"/api/admin/payments/schedules/{installment['id']}/record-payment"


async def sponsors(school: School) -> dict[str, Any]:
    return (await school.installments())[0]


async def students(school: School) -> dict[str, Any]:
    return (await school.installments())[1]


async def sponsor_pays(school: School) -> None:
    await school.sandbox.operate(f"/invoices/{(await sponsors(school))['stripe_invoice_id']}/pay")
    await school.deliver()


def link(id: UUID) -> str:
    """Of the purchase or the installment."""
    return f"/pay/{token_of(id, secret=PAY_LINK_SECRET)}"


async def click(school: School, id: UUID) -> str:
    """Where the link leads, for a browser that nobody is signed in to."""
    answer = await school.service.call("GET", link(id), app=school.app)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


async def student_pays(school: School) -> None:
    """By the link of their mail, on the page of an invoice."""
    await click(school, (await students(school))["id"])
    await school.sandbox.operate(f"/invoices/{(await students(school))['stripe_invoice_id']}/pay")
    await school.deliver()


async def both_paid(school: School, **body: Any) -> None:
    await funded(school, **body)
    await sponsor_pays(school)
    await student_pays(school)
