"""Steps of the tests of plans that start on Stripe's page."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import stripe
from tests.checkout.installment_steps import School
from tests.checkout.service import Service, major, wanted


async def plan(service: Service, student: UUID, slug: str, price: Any) -> stripe.checkout.Session:
    answer = await service.buy(student, wanted(slug, price, paymentType="plan"))
    assert answer.status_code == 200, answer.text
    (session,) = await service.sandbox.sessions_of(student)
    return session


async def page(school: School, slug: str = "cpr", price: Any = 575, **sent: Any) -> stripe.checkout.Session:
    """Opens the page of a plan of four installments; by default, of 143.75 dollars each."""
    body = wanted(slug, price, paymentType="plan")
    answer = await school.call("POST", "/api/create-checkout-session", json=body, **sent)
    assert answer.status_code == 200, answer.text
    session: stripe.checkout.Session = (await school.sandbox.sessions_of(school.student))[0]
    return session


async def paid_page(school: School, slug: str = "cpr", price: Any = 575, **choice: Any) -> None:
    """The first installment is paid on the page, and its event has arrived."""
    session = await page(school, slug, price)
    await school.sandbox.pay(session.id, **choice)
    await school.deliver()


async def program(school: School, price: int) -> str:
    """Adds a program; its slug. `price`: minor units."""
    slug = f"plan-{school.student.hex[:8]}-{price}"
    answer = await school.admin("POST", "/api/admin/programs", json={"slug": slug, "name": "P", "price": major(price)})
    assert answer.status_code == 201, answer.text
    return slug


async def charge_of(school: School, position: int) -> str:
    """The charge that paid the installment at this position of the student's only plan."""
    installment = (await school.installments())[position - 1]
    (payment,) = await school.service.rows(
        "SELECT * FROM payments WHERE student_id = :s AND status = 'succeeded' AND installment LIKE :id",
        s=school.student,
        id=f"{installment['id']}:%",
    )
    intent_id = payment["stripe_payment_intent_id"]
    if intent_id is None:
        found = await school.service.stripe.invoice_intent(payment["stripe_invoice_id"])
        assert found is not None
        intent_id = found.id
    intent = await school.sandbox.api.payment_intents.retrieve_async(intent_id)
    assert isinstance(intent.latest_charge, str)
    return intent.latest_charge


async def lose(school: School, position: int, reason: str = "insufficient_funds") -> str:
    """The payer's bank takes back what paid the installment; the dispute's id."""
    charge = await charge_of(school, position)
    dispute = await school.sandbox.operate(f"/charges/{charge}/dispute", reason=reason)
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.run_due()
    return str(dispute["id"])
