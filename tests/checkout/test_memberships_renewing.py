"""A membership is charged each period for as long as it lasts, and not once more; a refund ends it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.checkout.membership_steps import DAY, MONTH, Member, refused
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import Service, bearer

from checkout.purchases.repository import SUBSCRIPTION_CANCEL
from contracts.payments import PaymentRefs, PurchaseEnded
from testkit.postgres_server import Database


async def _charges(member: Member) -> list[str]:
    """The charge of each paid invoice, oldest first."""
    subscription = (await member.row())["stripe_subscription_id"]
    found = []
    for invoice in (await member.sandbox.api.invoices.list_async({"subscription": subscription, "limit": 100})).data:
        for link in (await member.sandbox.api.invoice_payments.list_async({"invoice": invoice.id})).data:
            assert isinstance(link.payment.payment_intent, str)
            intent = await member.sandbox.api.payment_intents.retrieve_async(link.payment.payment_intent)
            if isinstance(intent.latest_charge, str):
                found.append(intent.latest_charge)
    return found[::-1]


async def _payments(member: Member) -> list[tuple[int, int]]:
    """(amount, refunded) of each settled payment."""
    found = await member.service.rows(
        "SELECT * FROM payments WHERE student_id = :student AND status = 'succeeded' ORDER BY created_at, id",
        student=member.id,
    )
    return [(row["amount"], row["refunded"]) for row in found]


async def test_a_year_of_months(member: Member) -> None:
    await member.join("student")
    for month in range(1, 13):
        await member.renewal()
        await member.catch_up()
        assert await member.invoices() == [("paid", 1_900)] * (month + 1)
        assert await member.standing() == ("active", None)
        row = await member.row()
        subscription = await member.subscription()
        assert int(row["current_period_end"].timestamp()) == subscription["items"].data[0].current_period_end
    (purchase,) = await member.purchases()
    assert [payment.settled.amount for payment in purchase.settled_payments if payment.settled] == [1_900] * 13
    assert purchase.paid == {"usd": 13 * 1_900}
    assert await _payments(member) == [(1_900, 0)] * 13
    assert (await member.service.purchase(member.id))["state"] == "paid"


async def test_two_years_at_once(member: Member) -> None:
    """Nobody listened for two years: two Stripe events a year, all delivered at once."""
    await member.join("career", interval="year")
    await member.later(366 * DAY, 366 * DAY)
    await member.catch_up()
    assert await member.invoices() == [("paid", 49_000)] * 3
    assert await member.standing() == ("active", None)


async def test_past_due_pauses_after_the_last_retry_and_paying_resumes(member: Member) -> None:
    await member.join("student")
    await member.fail_next(4)
    await member.renewal()
    await member.catch_up()
    assert (await member.row())["status"] == "past_due"
    assert await member.standing() == ("active", None), "it will be tried again"
    await member.later(DAY, 3 * DAY, 7 * DAY)
    await member.catch_up()
    assert await member.standing() == ("paused", "past_due")
    await member.enrollment()
    current = await member.current()
    assert (current["status"], current["access"], current["paused"]) == ("past_due", False, False)

    found = await member.sandbox.api.invoices.list_async(
        {"subscription": (await member.row())["stripe_subscription_id"]}
    )
    (owed,) = [invoice for invoice in found.data if invoice.status == "open"]
    await member.sandbox.operate(f"/invoices/{owed.id}/pay")
    await member.catch_up()
    await member.enrollment()
    assert await member.standing() == ("active", None)
    current = await member.current()
    assert (current["status"], current["access"]) == ("active", True)
    await member.renewal()
    assert await member.invoices() == [("paid", 1_900)] * 3


async def test_the_first_retry_succeeds(member: Member) -> None:
    await member.join("student")
    await member.fail_next(1)
    await member.renewal()
    await member.later(DAY)
    await member.catch_up()
    assert (await member.row())["status"] == "active"
    assert await member.standing() == ("active", None)
    assert await member.invoices() == [("paid", 1_900)] * 2


@pytest.fixture
def strict_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[StripeSandbox]:
    """A Stripe that is set to cancel a subscription after the last retry."""
    monkeypatch.setenv("STRIPE_SANDBOX_AFTER_LAST_RETRY", "canceled")
    with StripeSandbox() as running:
        yield running


async def test_a_cancellation_by_stripe_ends_it(checkout_database: Database, strict_sandbox: StripeSandbox) -> None:
    service = Service(checkout_database, strict_sandbox)
    try:
        member = Member(service)
        await member.join("student")
        await member.fail_next(4)
        await member.renewal()
        await member.later(DAY, 3 * DAY, 7 * DAY)
        await member.catch_up()
        row = await member.row()
        assert (row["status"], row["ended_at"] is not None) == ("canceled", True)
        assert await member.standing() == ("withdrawn", "membership_ended")
        assert await member.invoices() == [("paid", 1_900), ("void", 0)], "nothing is owed any more"
        await member.enrollment()
        await member.join("student")
        assert (await member.current())["status"] == "active"
    finally:
        await service.close()


async def test_a_full_refund_ends_it_at_stripe(member: Member) -> None:
    subscription = await member.join("student")
    (charge,) = await _charges(member)
    await member.sandbox.operate(f"/charges/{charge}/refund")
    await member.service.deliver(*await member.fetch())
    assert await member.standing() == ("withdrawn", "refunded")
    await member.enrollment()
    assert refused(await member.buy("career")) == (409, "subscription_being_canceled")
    for attempt in (1, 2):
        await member.service.perform(member.id, SUBSCRIPTION_CANCEL, attempt=attempt)
    assert (await member.sandbox.api.subscriptions.retrieve_async(subscription)).status == "canceled"
    await member.catch_up()
    assert (await member.row())["status"] == "canceled"
    await member.later(MONTH, MONTH)
    assert await member.invoices() == [("paid", 1_900)]
    await member.catch_up()
    assert await _payments(member) == [(1_900, 1_900)]
    await member.join("career")
    assert (await member.current())["tier"] == "career"


async def test_one_month_refunded_of_two_does_not_end_it(member: Member) -> None:
    await member.join("student")
    await member.renewal()
    await member.catch_up()
    first, second = await _charges(member)
    await member.sandbox.operate(f"/charges/{second}/refund")
    await member.catch_up()
    assert await member.standing() == ("active", None)
    assert (await member.row())["status"] == "active"
    await member.sandbox.operate(f"/charges/{first}/refund")
    await member.catch_up()
    await member.catch_up()
    assert (await member.row())["status"] == "canceled"
    assert (await member.standing())[0] == "withdrawn"


async def test_lost_disputes_of_all_money_end_it_at_stripe(member: Member) -> None:
    await member.join("student")
    await member.renewal()
    await member.catch_up()
    for charge, after in zip(await _charges(member), ("active", "canceled"), strict=True):
        dispute = await member.sandbox.operate(f"/charges/{charge}/dispute")
        await member.catch_up()
        assert (await member.row())["status"] == "active", "it is not lost yet"
        await member.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
        await member.catch_up()
        await member.catch_up()
        assert (await member.row())["status"] == after
    assert await member.standing() == ("withdrawn", "dispute_lost")
    await member.later(MONTH, MONTH)
    assert await member.invoices() == [("paid", 1_900)] * 2
    await member.enrollment()
    await member.join("student")


async def test_a_cancellation_by_the_school_ends_it_at_stripe(member: Member) -> None:
    subscription = await member.join("student")
    purchase = await member.service.purchase(member.id)
    refs = PaymentRefs(subscription=subscription)
    await member.service.publish(PurchaseEnded(refs=refs, purchase_id=purchase["id"], by="school", reason="moved away"))
    await member.service.perform(member.id)
    await member.catch_up()
    assert (await member.row())["status"] == "canceled"
    assert await member.standing() == ("withdrawn", "canceled")
    await member.later(MONTH, MONTH)
    assert await member.invoices() == [("paid", 1_900)]


async def test_a_new_default_card_is_charged_from_the_next_renewal_on(member: Member) -> None:
    """The page has saved its card on the subscription, where it outranks the customer's."""
    subscription_id = await member.join()
    api = member.sandbox.api
    customer = str((await member.subscription()).customer)
    old = (await member.subscription()).default_payment_method
    assert old is not None
    new = (await api.payment_methods.attach_async("pm_card_mastercard", {"customer": customer})).id
    for chosen in (new, str(old), new):  # each choice is made, also one that was made before
        answer = await member.service.call(
            "POST", f"/api/payments/methods/{chosen}/default", headers=bearer("student", member.id)
        )
        assert (answer.status_code, answer.json()["default"]) == (200, True), answer.text
        assert (await api.subscriptions.retrieve_async(subscription_id)).default_payment_method == chosen
    await member.renewal()
    await member.catch_up()
    charges = (await api.charges.list_async({"customer": customer, "limit": 10})).data
    assert [charge.payment_method for charge in charges] == [new, old], "newest first"
