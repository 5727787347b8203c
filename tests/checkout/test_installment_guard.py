"""What must hold of the money of a plan. A break stops its collection; an admin resumes it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.checkout.installment_steps import School
from tests.checkout.plan_steps import charge_of, paid_page
from tests.checkout.service import PUBLIC
from tests.checkout.test_installment_domain import NEW

from checkout.installments.domain import Installment
from checkout.installments.guard import Received, contradiction, may_charge, received
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PaymentRefunded, PaymentSucceeded
from ledger.facts import fold

MONTH = 14_375


def _plan(*amounts: int, statuses: tuple[str, ...] = ()) -> list[Installment]:
    found = []
    for n, amount in enumerate(amounts):
        status: Any = statuses[n] if n < len(statuses) else "open"
        values = {"id": uuid4(), "position": n + 1, "amount": amount, "status": status}
        found.append(Installment(**{**{f: getattr(NEW, f) for f in NEW.__dataclass_fields__}, **values}))
    return found


def _of(*events: PaymentEvent) -> Received:
    (purchase,) = fold({str(number): event for number, event in enumerate(events)})
    return received(purchase, "usd")


def test_what_is_kept_of_a_payment_counts() -> None:
    card, cash = PaymentRefs(payment_intent="pi_1", charge="ch_1"), PaymentRefs(manual="m_1")
    taxed = PaymentSucceeded(refs=card, amount=usd(1_100), tax=usd(100))
    assert _of(PaymentSucceeded(refs=card, amount=usd(1))) == Received(amount=1, charges=1)
    assert _of(PaymentSucceeded(refs=cash, amount=usd(1_000))) == Received(amount=1_000, charges=0), "nobody charged it"
    assert _of(taxed, PaymentRefunded(refs=card, total=usd(100), of=usd(1_100))) == Received(amount=900, charges=1)
    refunded_with_its_tax = PaymentRefunded(refs=card, total=usd(1_100), of=usd(1_100))
    assert _of(taxed, refunded_with_its_tax) == Received(amount=0, charges=0)


@given(st.lists(st.integers(50, 10**6), min_size=1, max_size=12), st.integers(0, 2 * 10**7), st.integers(0, 20))
def test_a_break_is_found_exactly_if_there_is_one(amounts: list[int], received: int, charges: int) -> None:
    price = sum(amounts)
    found = contradiction(Received(amount=received, charges=charges), price=price, installments=_plan(*amounts))
    assert (found is not None) == (received > price or charges > len(amounts))


statuses = st.sampled_from(["open", "processing", "paid", "waived", "overdue", "canceled"])


@given(st.lists(st.tuples(st.integers(50, 10**6), statuses), min_size=1, max_size=12), st.data())
def test_charges_never_exceed_the_price(rows: list[tuple[int, str]], data: st.DataObject) -> None:
    """The open ones are charged only up to the price, after what was paid, waived or is processing."""
    plan = _plan(*(amount for amount, _ in rows), statuses=tuple(status for _, status in rows))
    price = sum(each.amount for each in plan)
    paid = sum(each.amount for each in plan if each.status == "paid")
    received = data.draw(st.integers(0, price * 2))
    taken = sum(each.amount for each in plan if each.status in ("processing", "waived"))
    for each in [one for one in plan if one.status == "open"]:
        allowed = may_charge(each, received=received, price=price, installments=plan)
        assert allowed == (max(received, paid) + taken + each.amount <= price)
        if received <= paid:
            assert allowed, "what is planned adds up to the price"


async def _received(school: School, amount: int, **refs: str) -> None:
    """Money that nobody asked for arrives for the purchase, as an event of the gateway."""
    purchase = await school.service.purchase(school.student)
    event = PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{uuid4().hex}", **refs),
        purchase_id=purchase["id"],
        student_id=school.student,
        amount=usd(amount),
        price=usd(purchase["amount"]),
        installments=4,
    )
    await school.service.publish(event)


async def test_more_money_than_owed_stops_the_collection(school: School) -> None:
    await paid_page(school)
    row = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert answer.status_code == 200, answer.text
    invoice = (await school.installments())[1]["stripe_invoice_id"]
    await _received(school, 57_500)
    await school.run_due()
    purchase = await school.service.purchase(school.student)
    assert purchase["collection_stopped"] == "received_more_than_owed"
    (stopped,) = await school.service.published(school.student, "collection.stopped.v1")
    assert (stopped["code"], stopped["received"]["amount"], stopped["owed"]["amount"]) == (
        "received_more_than_owed",
        57_500 + MONTH,
        57_500,
    )
    assert (await school.sandbox.api.invoices.retrieve_async(str(invoice))).status == "void"
    await school.later(days=100)
    assert await school.charges() == MONTH, "nothing is charged"
    assert len(await school.service.published(school.student, "collection.stopped.v1")) == 1
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert (answer.status_code, answer.json()["code"]) == (409, "collection_stopped")
    link = await school.service.call("GET", row["pay_page"].removeprefix(PUBLIC), app=school.app)
    assert (link.status_code, link.json()["code"]) == (409, "collection_stopped"), "not the page of what was paid"
    path = f"/api/admin/payments/schedules/{purchase['id']}/resume-collection"
    refused = await school.admin("POST", path)
    assert (refused.status_code, refused.json()["code"]) == (409, "still_contradictory")


async def test_an_admin_resumes_the_collection_after_a_refund(school: School) -> None:
    await paid_page(school)
    first = (await school.installments())[0]
    for _ in range(4):  # four more payments of the first installment
        await _received(school, 50, installment=f"{first['id']}:1")
    purchase = await school.service.purchase(school.student)
    assert (purchase["collection_stopped"], purchase["charges"]) == ("more_charges_than_installments", 5)
    path = f"/api/admin/payments/schedules/{purchase['id']}/resume-collection"
    assert (await school.admin("POST", path)).status_code == 409
    await school.service.rows("UPDATE purchases SET charges = 1 WHERE id = :id RETURNING 1", id=purchase["id"])
    assert (await school.admin("POST", path)).status_code == 200
    assert (await school.admin("POST", path)).status_code == 200, "idempotent"
    student = await school.call("POST", path)
    assert student.status_code == 403
    assert (await school.admin("POST", path.replace(str(purchase["id"]), str(uuid4())))).status_code == 404
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]


async def test_a_charge_that_the_price_has_no_room_for_is_not_made(school: School) -> None:
    """The event that would stop the collection has not been handled, but its money is counted already."""
    await paid_page(school)
    await school.service.rows(
        "UPDATE purchases SET received = 50000 WHERE student_id = :s RETURNING 1", s=school.student
    )
    await school.later(days=31)
    assert await school.charges() == MONTH
    assert (await school.service.purchase(school.student))["collection_stopped"] == "received_more_than_owed"


@pytest.mark.parametrize("amount", [1000, MONTH])
async def test_a_refund_by_the_school_is_no_contradiction(school: School, amount: int) -> None:
    await paid_page(school)
    await school.later(days=31)
    charge = await charge_of(school, 2)
    await school.sandbox.operate(f"/charges/{charge}/refund", amount=amount)
    await school.run_due()
    for _ in range(2):
        await school.later(days=31)
    assert (await school.service.purchase(school.student))["collection_stopped"] is None
    assert await school.statuses() == ["paid"] * 4
    assert await school.charges() == 57_500 - amount
