"""An installment is paid when all of it was received, or an admin has said that it is not owed."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from tests.checkout.external_steps import enveloped, external_intent
from tests.checkout.installment_steps import DAY, EACH, FIRST, School

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import utc_now


async def _transfer(school: School, invoice: str, amount: int) -> None:
    """A bank transfer that pays some of the invoice: `invoice_payment.paid` names the invoice, and nobody."""
    refs = PaymentRefs(invoice=invoice, payment_intent=f"pi_{uuid4().hex}")
    await school.service.deliver(enveloped(PaymentSucceeded(refs=refs, amount=usd(amount), as_of=utc_now())))


async def _forged(school: School, id: UUID, installment: str, amount: int) -> None:
    """A payment of another system whose metadata names our installment."""
    metadata = {
        "purchase_id": str(id),
        "student_id": str(school.student),
        "program_slug": "barber-apprenticeship",
        "installments": "6",
        "price": "489000",
        "due": str(FIRST),
        "installment": f"{installment}:1",
    }
    await external_intent(school.service, metadata, amount=amount)
    await school.deliver()


async def _accept(school: School, id: UUID) -> Any:
    return await school.admin("POST", f"/api/admin/purchases/{id}/accept", json={"reason": "a discount by phone"})


async def test_a_cent_does_not_pay_an_installment(school: School) -> None:
    enrollment = await school.started()
    await school.call("POST", f"/api/payments/schedules/{enrollment['schedules'][1]['id']}/intent")
    invoice = (await school.installments())[1]["stripe_invoice_id"]
    await _transfer(school, invoice, 1)
    await school.fail_next(1)
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "open"]
    await school.later(days=1)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert await school.charges() == FIRST + EACH


async def test_a_cent_does_not_pay_a_sponsors_invoice(school: School) -> None:
    sent = {"funding_source": "WIOA", "product_id": "barber-apprenticeship", "user_id": str(school.student)}
    answer = await school.call("POST", "/api/enrollments", role="case_manager", json=sent)
    assert answer.status_code == 201, answer.text
    await school.run_due()
    invoice = (await school.installments())[0]["stripe_invoice_id"]
    await _transfer(school, invoice, 1)
    for _ in range(3):
        await school.later(days=20)
    assert await school.statuses() != ["paid"]
    assert (await school.standing())[0] != "active"
    await _transfer(school, invoice, 488_999)
    assert await school.statuses() == ["paid"]
    assert await school.standing() == ("active", None)


async def test_metadata_that_names_our_installment_does_not_pay_it(school: School) -> None:
    enrollment = await school.started()
    purchase = await school.service.purchase(school.student)
    await _forged(school, purchase["id"], enrollment["schedules"][1]["id"], 50)
    await school.later(days=31)
    assert await school.charges() == FIRST + EACH
    assert (await school.statuses())[:2] == ["paid", "paid"]


async def test_what_an_admin_has_accepted_is_not_collected(school: School) -> None:
    enrollment = await school.enrolled()
    purchase = await school.service.purchase(school.student)
    await _forged(school, purchase["id"], enrollment["schedules"][0]["id"], FIRST - 100)
    assert await school.standing() == ("pending", "underpaid")
    assert (await school.statuses())[0] == "open"
    assert (await _accept(school, purchase["id"])).json()["amount"] == 100
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await school.statuses() == ["paid"] + ["open"] * 5


async def test_an_enrollment_that_an_admin_keeps_for_free_is_not_charged(school: School) -> None:
    await school.started()
    await school.clock.advance(2 * DAY)
    (payment,) = await school.service.rows("SELECT id FROM payments WHERE student_id = :s", s=school.student)
    body = {"reason": "hardship", "keep_enrollment": True}
    assert (await school.admin("POST", f"/api/payments/{payment['id']}/refund", json=body)).status_code == 201
    await school.run_due()
    for _ in range(3):
        await school.later(days=31)
    assert await school.statuses() == ["paid"] + ["canceled"] * 5
    assert await school.standing() == ("active", None)
    assert await school.charges() == 0
