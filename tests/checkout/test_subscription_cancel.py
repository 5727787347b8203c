"""The subscription of a purchase that has ended is canceled, and nothing that it has not collected is charged."""

from __future__ import annotations

from tests.checkout.membership_steps import Member

from checkout.purchases.repository import SUBSCRIPTION_CANCEL

MONTH = 31 * 86_400


async def _refunded(member: Member) -> str:
    """A membership whose first month was refunded in full; its subscription, which still runs."""
    subscription = await member.join("student")
    customer = (await member.subscription()).customer
    (charge,) = (await member.sandbox.api.charges.list_async({"customer": str(customer)})).data
    await member.sandbox.operate(f"/charges/{charge.id}/refund")
    await member.service.deliver(*await member.fetch())
    assert await member.standing() == ("withdrawn", "refunded")
    return subscription


async def test_a_draft_is_not_charged_after_the_cancel(member: Member) -> None:
    """The second month has started, and its invoice would be charged in an hour."""
    subscription = await _refunded(member)
    period = (await member.sandbox.api.subscriptions.retrieve_async(subscription))["items"].data[0]
    now = (await member.sandbox.operate("/clock/advance", seconds=1))["now"]
    await member.sandbox.operate("/clock/advance", seconds=period.current_period_end - now + 60)
    assert (await member.invoices())[-1][0] == "draft"
    await member.service.perform(member.id, SUBSCRIPTION_CANCEL)
    await member.later(MONTH, MONTH)
    assert await member.invoices() == [("paid", 1_900), ("void", 0)]


async def test_an_open_invoice_is_voided(member: Member) -> None:
    """The second charge was declined and would be tried again; the first one is refunded meanwhile."""
    await member.join("student")
    await member.fail_next(1)
    customer = (await member.subscription()).customer
    (charge,) = (await member.sandbox.api.charges.list_async({"customer": str(customer)})).data
    await member.renewal()
    assert (await member.invoices())[-1][0] == "open"
    await member.sandbox.operate(f"/charges/{charge.id}/refund")
    await member.service.deliver(*await member.fetch())
    await member.service.perform(member.id, SUBSCRIPTION_CANCEL)
    await member.later(MONTH, MONTH)
    assert await member.invoices() == [("paid", 1_900), ("void", 0)]


async def test_lost_answers_and_rejections_are_retried(member: Member) -> None:
    subscription = await _refunded(member)
    (purchase,) = await member.service.purchases(member.id)
    named = {"kind": SUBSCRIPTION_CANCEL, "key": f"{purchase['id']}/cancel"}
    elsewhere = "UPDATE jobs SET payload = payload || jsonb_build_object('subscription_id', CAST(:id AS text))"
    elsewhere += " WHERE kind = :kind AND key = :key RETURNING 1"
    await member.service.rows(elsewhere, id="sub_unknown", **named)
    await member.service.perform(member.id, SUBSCRIPTION_CANCEL)
    (waiting,) = await member.service.rows("SELECT * FROM jobs WHERE kind = :kind AND key = :key", **named)
    assert (waiting["done_at"], waiting["failed_at"]) == (None, None)
    assert "resource_missing" in waiting["last_error"]

    await member.service.rows(elsewhere, id=subscription, **named)
    await member.sandbox.faults(lose_answers=4)
    await member.service.perform(member.id, SUBSCRIPTION_CANCEL, attempt=2)
    await member.sandbox.faults()
    await member.service.perform(member.id, SUBSCRIPTION_CANCEL, attempt=3)
    assert (await member.sandbox.api.subscriptions.retrieve_async(subscription)).status == "canceled"
