"""The end of a purchase with a co-pay: a cancellation after uneven refunds, money that arrives late, a lost share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from tests.checkout.co_pay_steps import (
    BARBER,
    CO_PAY,
    PRICE,
    SHARE,
    both_paid,
    click,
    funded,
    link,
    sponsor_pays,
    sponsors,
    student_pays,
    students,
)
from tests.checkout.installment_steps import DAY, School
from tests.checkout.service import Service
from tests.checkout.verification_steps import verify_rows

from checkout.purchases.domain import installment_id
from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentDisputeClosed, PaymentPending, PaymentSucceeded


async def payment_of(school: School, payer: str) -> dict[str, Any]:
    (row,) = await school.service.rows(
        "SELECT * FROM payments WHERE student_id = :s AND payer = :p", s=school.student, p=payer
    )
    return row


async def refunds(school: School) -> dict[str, int]:
    rows = await school.service.rows(
        "SELECT p.payer, sum(r.amount) AS amount FROM refunds r JOIN payments p ON p.id = r.payment_id"
        " WHERE p.student_id = :s AND r.status <> 'failed' GROUP BY p.payer",
        s=school.student,
    )
    return {row["payer"]: int(row["amount"]) for row in rows}


async def holds(school: School) -> bool:
    """Whether verification finds nothing about this student's rows."""
    purchase_id = str((await school.service.purchase(school.student))["id"])
    report = await verify_rows(school.service, repair=False)
    found = [each for each in report.differences if each.unit == purchase_id]
    assert found == []
    return True


@pytest.mark.parametrize(("conceded", "other"), [("student", "sponsor"), ("sponsor", "student")])
async def test_what_one_payer_was_refunded_is_not_taken_from_the_other(
    school: School, conceded: str, other: str
) -> None:
    shares = {"student": CO_PAY, "sponsor": SHARE}
    await both_paid(school)
    path = f"/api/payments/{(await payment_of(school, conceded))['id']}/refund"
    answer = await school.admin("POST", path, json={"reason": "a concession"})
    assert answer.status_code == 201, answer.text
    await school.perform()
    await school.deliver()
    await school.clock.advance(20 * DAY)
    await school.canceled()
    assert await refunds(school) == {conceded: shares[conceded], other: shares[other] // 2}
    (canceled,) = await school.service.rows(
        "SELECT c.paid, c.refunded FROM cancellations c WHERE c.student_id = :s", s=school.student
    )
    assert canceled == {"paid": PRICE, "refunded": shares[other] // 2}


async def test_a_disputed_co_pay_is_not_taken_from_the_sponsors_refund(school: School) -> None:
    await both_paid(school)
    charge = (await payment_of(school, "student"))["stripe_charge_id"]
    await school.sandbox.operate(f"/charges/{charge}/dispute", reason="fraudulent")
    await school.deliver()
    await school.clock.advance(20 * DAY)
    await school.canceled()
    assert await refunds(school) == {"sponsor": SHARE // 2}


@pytest.mark.parametrize("by", ["cancellation", "refund"])
async def test_a_co_pay_that_arrives_after_the_end_is_sent_back(school: School, by: str) -> None:
    await funded(school)
    await sponsor_pays(school)
    answer = await school.call("POST", f"/api/payments/schedules/{(await students(school))['id']}/intent")
    secret = answer.json()["stripe_client_secret"]
    await school.pay(secret, method="us_bank_account")
    await school.deliver()
    await school.later(days=15)
    assert await school.statuses() == ["paid", "processing"], "no reminder meanwhile"
    if by == "cancellation":
        await school.canceled(refund_amount="4500.00")
    else:
        path = f"/api/payments/{(await payment_of(school, 'sponsor'))['id']}/refund"
        assert (await school.admin("POST", path, json={"reason": "no place"})).status_code == 201
    await school.perform()
    await school.deliver()
    await school.sandbox.operate(f"/payment_intents/{secret.split('_secret_')[0]}/settle")
    await school.deliver()
    await school.perform()
    await school.deliver()
    assert (await school.standing())[0] == "withdrawn"
    assert await refunds(school) == {"sponsor": SHARE, "student": CO_PAY}
    assert await school.charges() == 0
    assert await holds(school)


@pytest.mark.parametrize("reason", ["insufficient_funds", "fraudulent"])
async def test_a_sponsors_share_that_is_taken_back_is_the_sponsors_to_pay(school: School, reason: str) -> None:
    code = f"S{school.student.hex[:8].upper()}"
    body = {"code": code, "name": "Works", "finance_email": "f@x.org"}
    assert (await school.admin("POST", "/api/admin/sponsors", json=body)).status_code == 201
    token = (await school.admin("POST", f"/api/admin/sponsors/{code}/link")).json()["url"].rsplit("/", 1)[1]

    async def statement(**query: Any) -> list[tuple[str, int]]:
        answer = await school.service.call("GET", f"/api/sponsor-statements/{token}", params=query, app=school.app)
        assert answer.status_code == 200, answer.text
        return [(each["state"], each["amount"]) for each in answer.json()["items"]]

    async def funding() -> tuple[int, int]:
        listed = await school.admin("GET", "/api/admin/caseload/funding")
        (own,) = [each for each in listed.json()["items"] if each["funding_source"] == code]
        return own["amount"], own["due"]

    await both_paid(school, fundingSource=code)
    assert (await statement(), await funding()) == ([("paid", SHARE)], (SHARE, 0))
    charge = (await payment_of(school, "sponsor"))["stripe_charge_id"]
    dispute = await school.sandbox.operate(f"/charges/{charge}/dispute", reason=reason)
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.deliver()
    assert await school.standing() == ("paused", "past_due")
    assert await school.statuses() == ["overdue", "paid"]
    assert await holds(school)
    assert await funding() == (SHARE, SHARE)
    assert await statement() == [("awaiting_payment", SHARE)]
    assert await statement(open=True) == [("awaiting_payment", SHARE)]
    await click(school, (await school.service.purchase(school.student))["id"])
    await school.sandbox.operate(f"/invoices/{(await sponsors(school))['stripe_invoice_id']}/pay")
    await school.deliver()
    assert await school.standing() == ("active", None)
    assert await statement() == [("paid", SHARE)]
    assert await holds(school)


async def test_each_share_taken_back_is_owed_by_its_payer(school: School) -> None:
    """The sponsor's first: a co-pay that is owed again waits for it."""
    await both_paid(school)
    for payer in ("student", "sponsor"):
        charge = (await payment_of(school, payer))["stripe_charge_id"]
        dispute = await school.sandbox.operate(f"/charges/{charge}/dispute", reason="insufficient_funds")
        await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.deliver()
    assert await school.statuses() == ["overdue", "overdue"]
    refused = await school.call("POST", f"/api/payments/schedules/{(await students(school))['id']}/intent")
    assert (refused.status_code, refused.json()["code"]) == (409, "sponsor_has_not_paid"), refused.text
    await click(school, (await school.service.purchase(school.student))["id"])
    await sponsor_pays(school)
    assert await school.statuses() == ["paid", "overdue"]
    await student_pays(school)
    assert await school.standing() == ("active", None)
    assert await holds(school)


async def test_a_co_pay_is_requested_again_when_the_sponsors_dispute_is_won_after_all(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    id = (await students(school))["id"]
    page = await click(school, id)
    charge = (await payment_of(school, "sponsor"))["stripe_charge_id"]
    dispute = await school.sandbox.operate(f"/charges/{charge}/dispute", reason="fraudulent")
    invoice = str((await students(school))["stripe_invoice_id"])
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.deliver()
    await school.perform()
    assert (await school.standing(), await school.statuses()) == (("withdrawn", "dispute_lost"), ["paid", "canceled"])
    assert (await school.service.stripe.invoice(invoice)).status == "void", "nobody can pay it anymore"
    assert (await school.service.call("GET", link(id), app=school.app)).status_code == 410
    await school.sandbox.operate(f"/disputes/{dispute['id']}/appeal")
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="won")
    await school.deliver()
    assert await school.standing() == ("pending", "underpaid")
    assert await school.statuses() == ["paid", "open"]
    assert await click(school, id) != page
    announced = await school.service.published(school.student, "installment.announced.v1")
    assert [each["installment"] for each in announced] == [f"{id}:1", f"{id}:2"]
    await student_pays(school)
    assert await school.standing() == ("active", None)
    assert await holds(school)


async def test_a_student_with_an_unpaid_co_pay_is_not_erased(school: School) -> None:
    await funded(school)
    for pay in (sponsor_pays, None):
        answer = await school.admin("POST", f"/api/admin/students/{school.student}/erasure", json={})
        assert (answer.status_code, "installment_unpaid" in answer.text) == (409, True), answer.text
        if pay is not None:
            await pay(school)


async def outcome(school: School) -> tuple[object, ...]:
    row = await school.service.purchase(school.student)
    payments = await school.service.rows(
        "SELECT payer, amount, status FROM payments WHERE student_id = :s ORDER BY amount, status", s=school.student
    )
    documents = await school.service.rows(
        "SELECT d.content->'total'->>'amount' AS total FROM documents d JOIN purchases p ON p.id = d.purchase_id"
        " WHERE p.student_id = :s ORDER BY 1",
        s=school.student,
    )
    funding = await school.service.funding(school.student)
    return (
        await school.standing(),
        row["state"],
        row["state_reason"],
        row["received"],
        row["collection_stopped"],
        funding["status"],
        str(payments),
        str(documents),
    )


@pytest.mark.parametrize("lost", ["student", "sponsor"])
async def test_events_in_any_order_have_one_outcome(service: Service, lost: str) -> None:
    outcomes = set()
    for order in permutations(range(4)):
        school = School(service)
        await funded(school)
        outcomes.add(await _delivered(school, order, lost))
        assert await holds(school), order
    assert len(outcomes) == 1, "\n".join(map(str, outcomes))


async def _delivered(school: School, order: tuple[int, ...], lost: str) -> tuple[object, ...]:
    purchase = await school.service.purchase(school.student)
    start = datetime.now(UTC) - timedelta(hours=4)

    def event(n: int, kind: Any, position: int, **more: Any) -> Envelope[Any]:
        name = f"{position}_{school.student.hex}"
        refs = {"payment_intent": f"pi_{name}", "charge": f"ch_{name}", "invoice": f"in_{name}"}
        of = "sponsor" if position == 1 else "student"
        stated = {
            "purchase_id": purchase["id"],
            "student_id": school.student,
            "payer": of,
            "funding_source": "WIOA",
            "price": usd(PRICE),
            "program": {"slug": BARBER, "id": BARBER},
        }
        refs |= {"installment": f"{installment_id(purchase['id'], position)}:1"}
        if kind is PaymentDisputeClosed:
            stated, refs = {}, {"charge": refs["charge"], "payment_intent": refs["payment_intent"]}
        data = kind.model_validate({**stated, "refs": refs, "as_of": start + n * timedelta(hours=1), **more})
        id = f"evt_{n}_{school.student.hex}/{data.type}"
        return Envelope(id=id, source="webhook-gateway", subject="x", time=start + n * timedelta(hours=1), data=data)

    events = [
        event(0, PaymentSucceeded, 1, amount=usd(SHARE), method="us_bank_account"),
        event(1, PaymentPending, 2, amount=usd(CO_PAY), method="us_bank_account"),
        event(2, PaymentSucceeded, 2, amount=usd(CO_PAY), method="us_bank_account"),
        event(
            3,
            PaymentDisputeClosed,
            1 if lost == "sponsor" else 2,
            dispute_id=f"du_{school.student.hex}",
            status="lost",
            amount=usd(SHARE if lost == "sponsor" else CO_PAY),
            reason="insufficient_funds",
        ),
    ]
    for n in order:
        await school.service.deliver(events[n])
    await school.deliver()
    return await outcome(school)
