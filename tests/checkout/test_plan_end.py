"""What ends a plan, what makes an installment owed again, and what a bank takes back: no charge follows an end."""

from __future__ import annotations

import pytest
from tests.checkout.installment_steps import School
from tests.checkout.plan_steps import charge_of, lose, paid_page

MONTH = 14_375


async def _paid(school: School, installments: int = 2) -> None:
    """A plan of which this many installments are paid."""
    await paid_page(school)
    for _ in range(installments - 1):
        await school.later(days=31)
    assert (await school.statuses()).count("paid") == installments


async def _id(school: School) -> str:
    return str((await school.service.purchase(school.student))["id"])


@pytest.mark.parametrize("reason", ["insufficient_funds", "debit_not_authorized", "fraudulent"])
async def test_a_payment_that_its_bank_takes_back_is_owed_again(school: School, reason: str) -> None:
    await _paid(school)
    await lose(school, 2, reason)
    row = (await school.installments())[1]
    assert (row["status"], row["round"], row["failure_code"]) == ("overdue", 2, "payment_returned")
    assert await school.statuses() == ["paid", "overdue", "open", "open"]
    assert await school.standing() == ("paused", "past_due")
    (failure,) = await school.failures()
    assert (failure["final"], failure["refs"]["installment"], failure["pay_url"]) == (
        True,
        f"{row['id']}:2",
        row["pay_page"],
    )
    shown = await school.overview(await _id(school))
    assert shown["due"] == 3 * MONTH

    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert (answer.status_code, answer.json()["amount"]) == (200, MONTH), answer.text
    await school.pay(answer.json()["stripe_client_secret"])
    await school.run_due()
    assert await school.statuses() == ["paid", "paid", "open", "open"]
    assert await school.standing() == ("active", None)
    assert (await school.service.purchase(school.student))["collection_stopped"] is None
    await school.later(days=31)
    await school.later(days=31)
    assert await school.statuses() == ["paid"] * 4


async def test_what_is_owed_again_is_part_of_the_rest(school: School) -> None:
    await _paid(school)
    await lose(school, 2)
    answer = await school.call("POST", f"/api/enrollments/{await _id(school)}/pay-remaining")
    assert (answer.status_code, answer.json()["amount"]) == (200, 3 * MONTH), answer.text
    await school.pay(answer.json()["stripe_client_secret"])
    await school.run_due()
    assert await school.standing() == ("active", None)
    assert "overdue" not in await school.statuses()


async def test_a_late_return_is_not_charged_by_the_timer(school: School) -> None:
    await _paid(school)
    await lose(school, 2)
    await school.later(days=10)
    assert (await school.installments())[1]["status"] == "overdue"


async def test_an_installment_can_be_taken_back_twice(school: School) -> None:
    await _paid(school)
    await lose(school, 2)
    row = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"])
    await school.run_due()
    intent = await school.sandbox.api.payment_intents.retrieve_async(answer.json()["payment_intent_id"])
    dispute = await school.sandbox.operate(f"/charges/{intent.latest_charge}/dispute", reason="insufficient_funds")
    await school.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await school.run_due()
    row = (await school.installments())[1]
    assert (row["status"], row["round"], row["losses"]) == ("overdue", 3, 2)


async def test_a_lost_dispute_of_everything_ends_the_plan(school: School) -> None:
    await _paid(school, 1)
    await lose(school, 1, "fraudulent")
    assert await school.standing() == ("withdrawn", "dispute_lost")
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]
    await school.later(days=100)
    assert await school.charges() == MONTH, "the dispute is no refund"
    answer = await school.call("POST", f"/api/enrollments/{await _id(school)}/pay-remaining")
    assert (answer.status_code, answer.json()["code"]) == (409, "enrollment_over")


async def test_an_appeal_that_is_won_settles_what_was_owed_again(school: School) -> None:
    await _paid(school)
    dispute = await lose(school, 2, "product_not_received")
    row = (await school.installments())[1]
    await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    invoice = (await school.installments())[1]["stripe_invoice_id"]
    assert invoice is not None
    await school.sandbox.operate(f"/disputes/{dispute}/appeal")
    await school.sandbox.operate(f"/disputes/{dispute}/close", status="won")
    await school.run_due()
    assert await school.statuses() == ["paid", "paid", "open", "open"]
    assert (await school.sandbox.api.invoices.retrieve_async(invoice)).status == "void"
    assert await school.standing() == ("active", None)
    assert (await school.installments())[1]["losses"] == 0


async def test_an_appeal_against_a_dispute_of_everything_continues_the_plan(school: School) -> None:
    await _paid(school, 1)
    dispute = await lose(school, 1, "product_not_received")
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]
    await school.sandbox.operate(f"/disputes/{dispute}/appeal")
    await school.sandbox.operate(f"/disputes/{dispute}/close", status="won")
    await school.run_due()
    assert await school.standing() == ("active", None)
    assert await school.statuses() == ["paid", "open", "open", "open"]
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]


async def test_a_full_refund_ends_the_plan_for_good(school: School) -> None:
    """Also if the refund fails afterward."""
    await _paid(school, 1)
    charge = await charge_of(school, 1)
    await school.sandbox.operate(f"/charges/{charge}/refund")
    await school.run_due()
    assert await school.standing() == ("withdrawn", "refunded")
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]
    (refund,) = (await school.sandbox.api.refunds.list_async({"charge": charge})).data
    await school.sandbox.operate(f"/refunds/{refund.id}/fail")
    await school.run_due()
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]
    await school.later(days=100)
    assert await school.charges() == MONTH


async def test_an_end_voids_an_open_invoice(school: School) -> None:
    await _paid(school, 1)
    row = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    assert answer.status_code == 200, answer.text
    invoice = (await school.installments())[1]["stripe_invoice_id"]
    await school.canceled(refund_amount=0)
    await school.run_due()
    assert (await school.sandbox.api.invoices.retrieve_async(str(invoice))).status == "void"
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]


async def test_a_debit_that_settles_after_the_end_opens_nothing(school: School) -> None:
    await _paid(school, 1)
    row = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.run_due()
    assert (await school.statuses())[1] == "processing"
    await school.canceled(refund_amount=0)
    await school.run_due()
    await school.sandbox.operate(f"/payment_intents/{answer.json()['payment_intent_id']}/settle")
    await school.run_due()
    assert (await school.standing())[0] == "withdrawn"
    assert (await school.statuses())[2:] == ["canceled", "canceled"]
    await school.later(days=100)
    assert await school.charges() == MONTH, "what came late was sent back"


async def test_an_invoice_whose_debit_fails_after_the_end_cannot_be_paid(school: School) -> None:
    await _paid(school, 1)
    row = (await school.installments())[1]
    answer = await school.call("POST", f"/api/payments/schedules/{row['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.canceled(refund_amount=0)
    await school.perform()
    await school.sandbox.operate(f"/payment_intents/{answer.json()['payment_intent_id']}/fail")
    await school.run_due()
    (invoice,) = [
        each
        for each in (await school.sandbox.api.invoices.list_async({"customer": await school.customer()})).data
        if each.metadata and each.metadata.to_dict().get("installment") == f"{row['id']}:1"
    ]
    assert invoice.status == "void"


async def test_a_credit_balance_pays_an_installment(school: School) -> None:
    await _paid(school, 1)
    await school.sandbox.api.customers.balance_transactions.create_async(
        await school.customer(), {"amount": -20_000, "currency": "usd"}
    )
    await school.later(days=31)
    assert (await school.statuses())[:2] == ["paid", "paid"]
    assert await school.charges() == MONTH
    await school.later(days=31)
    assert (await school.statuses())[:3] == ["paid", "paid", "paid"]
    assert await school.charges() == 2 * MONTH - 5_625 + MONTH - MONTH, "the rest of the credit, then the card"
    await school.later(days=31)
    purchase = await school.service.purchase(school.student)
    assert (purchase["received"], purchase["collection_stopped"]) == (57_500, None)
    assert await school.standing() == ("active", None)
