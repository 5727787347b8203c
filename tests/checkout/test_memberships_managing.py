"""Canceling, pausing, resuming and changing a membership: Stripe's answer is returned, and the row follows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.membership_steps import DAY, MONTH, PATH, Member, refused
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import ADMIN, CASE_MANAGER, bearer


async def test_cancel_at_the_end_of_the_month(member: Member) -> None:
    await member.join()
    answer = await member.act("cancel")
    assert (answer.json()["status"], answer.json()["cancel_at_period_end"]) == ("active", True)
    assert (await member.row())["cancel_at_period_end"] is False, "the row changes with the event"
    await member.catch_up()
    assert (await member.row())["cancel_at_period_end"] is True
    assert (await member.current())["access"] is True, "what is paid is kept"
    again = await member.done("cancel")
    assert again["cancel_at_period_end"] is True
    await member.later(MONTH, DAY)
    await member.catch_up()
    row = await member.row()
    assert (row["status"], row["ended_at"] is not None) == ("canceled", True)
    assert await member.standing() == ("withdrawn", "membership_ended")
    assert await member.invoices() == [("paid", 1_900)]
    assert refused(await member.call("GET", "/current")) == (404, "no_membership")
    for action, body in (("cancel", {}), ("pause", {}), ("resume", {}), ("change", {"membership": "career"})):
        assert refused(await member.act(action, **body)) == (409, "membership_ended")


async def test_a_scheduled_cancellation_is_undone(member: Member) -> None:
    await member.join()
    await member.done("cancel", at="period_end")
    assert (await member.done("resume"))["cancel_at_period_end"] is False
    assert (await member.done("resume"))["cancel_at_period_end"] is False
    await member.later(MONTH, DAY)
    await member.catch_up()
    assert await member.invoices() == [("paid", 1_900)] * 2
    assert (await member.row())["cancel_at_period_end"] is False


async def test_cancel_now_charges_no_more_and_another_may_be_bought(member: Member) -> None:
    await member.join()
    assert (await member.done("cancel", at="now"))["status"] == "canceled"
    assert await member.standing() == ("withdrawn", "membership_ended")
    assert (await member.service.purchase(member.id))["state"] == "withdrawn"
    assert refused(await member.buy("career")) == (409, "already_enrolled"), (
        "the enrollment's event has not arrived yet"
    )
    await member.enrollment()
    await member.later(MONTH, MONTH, DAY)
    assert await member.invoices() == [("paid", 1_900)]
    await member.catch_up()
    await member.join("career")
    assert [row["status"] for row in await member.rows()] == ["canceled", "active"]
    assert (await member.current())["tier"] == "career"


async def test_cancel_now_while_a_charge_is_being_retried(member: Member) -> None:
    await member.join()
    await member.fail_next(1)
    await member.renewal()
    await member.catch_up()
    assert (await member.row())["status"] == "past_due"
    for action, body in (("pause", {}), ("change", {"membership": "career"})):
        assert refused(await member.act(action, **body)) == (409, "payment_due")
    await member.done("cancel", at="now")
    await member.later(MONTH)
    assert await member.invoices() == [("paid", 1_900), ("void", 0)]


async def test_a_pause_charges_nothing_and_takes_the_access(member: Member) -> None:
    await member.join()
    paused = await member.done("pause")
    assert (paused["paused"], paused["resumes_at"]) == (True, None), "it does not end by itself"
    assert await member.standing() == ("paused", "membership_paused")
    await member.enrollment()
    current = await member.current()
    assert (current["access"], current["paused"], current["status"]) == (False, True, "active")
    assert refused(await member.act("change", membership="career")) == (409, "membership_paused")
    assert (await member.done("pause"))["paused"] is True, "it is so already"
    await member.later(DAY)
    assert (await member.done("resume"))["paused"] is False
    assert await member.standing() == ("active", None)
    assert await member.invoices() == [("paid", 1_900)], "the month was paid already"


async def test_resuming_in_an_uncharged_month_pays_for_a_new_one(member: Member) -> None:
    await member.join()
    await member.done("pause")
    await member.later(MONTH, MONTH, 10 * DAY)
    await member.catch_up()
    assert await member.invoices() == [("paid", 1_900), ("void", 0), ("void", 0)]
    assert await member.standing() == ("paused", "membership_paused")
    await member.fail_next(1)
    answer = await member.act("resume")
    assert refused(answer) == (402, "payment_declined")
    assert (await member.subscription()).pause_collection, "no access without the money"
    await member.fail_next(0)
    before = (await member.row())["current_period_end"]
    assert (await member.done("resume"))["paused"] is False, "a retry after a refusal is a new request"
    assert await member.invoices() == [("paid", 1_900), ("void", 0), ("void", 0), ("paid", 1_900)]
    assert (await member.row())["current_period_end"] > before
    assert await member.standing() == ("active", None)


async def test_a_pause_that_ends_by_itself(member: Member) -> None:
    await member.join()
    now = (await member.sandbox.operate("/clock/advance", seconds=1))["now"]
    until = datetime.fromtimestamp(now + 40 * DAY, UTC)
    past = await member.act("pause", resumes_at="2020-01-01T00:00:00Z")
    assert refused(past) == (409, "resumes_in_the_past")
    assert (await member.act("pause", resumes_at="2020-01-01T00:00:00")).status_code == 422, "without an offset"
    paused = await member.done("pause", resumes_at=until.isoformat())
    assert datetime.fromisoformat(paused["resumes_at"]) == until
    for found in (await member.current(), (await member.call("GET")).json()["items"][0]):
        assert (found["paused"], datetime.fromisoformat(found["resumes_at"])) == (True, until)
    assert (await member.done("pause"))["resumes_at"] is None, "another end of the pause"
    assert (await member.done("pause", resumes_at=until.isoformat()))["resumes_at"]
    await member.later(41 * DAY)
    await member.catch_up()
    assert ((await member.current())["paused"], (await member.current())["resumes_at"]) == (False, None)


async def test_pause_resume_pause(member: Member) -> None:
    """Each is a request of its own, though no event arrived in between."""
    await member.join()
    for action, paused in (("pause", True), ("resume", False)) * 2 + (("pause", True),):
        assert (await member.act(action)).json()["paused"] is paused
        assert bool((await member.subscription()).pause_collection) is paused
    await member.catch_up()
    assert (await member.row())["paused"] is True


async def test_an_upgrade_is_paid_at_once(member: Member) -> None:
    await member.join("student")
    period = (await member.row())["current_period_end"]
    await member.later(15 * DAY)
    answer = await member.done("change", membership="career")
    assert (answer["tier"], answer["interval"]) == ("career", "month")
    row = await member.row()
    assert (row["tier"], row["current_period_end"]) == ("career", period)
    item = await member.service.rows("SELECT id FROM items WHERE slug = 'career-membership'")
    assert row["item_id"] == item[0]["id"]
    first, prorated = await member.invoices()
    assert first == ("paid", 1_900)
    assert prorated[0] == "paid" and 1_300 < prorated[1] < 1_700, "half a month of the difference"
    metadata = metadata_of(await member.subscription())
    assert (metadata["tier"], metadata["program_name"], metadata["program_id"]) == (
        "career",
        "Career Membership",
        str(row["item_id"]),
    )
    assert (metadata["purchase_id"], metadata["program_slug"]) == (str(row["id"]), "membership"), "the rest stays"
    assert await member.standing() == ("active", None)
    assert refused(await member.act("change", membership="career-membership")) == (409, "nothing_to_change")
    await member.later(17 * DAY)
    assert (await member.invoices())[-1] == ("paid", 4_900)


async def test_an_upgrade_that_is_not_paid_changes_nothing(member: Member) -> None:
    await member.join("student")
    await member.fail_next(1)
    assert refused(await member.act("change", membership="career")) == (402, "payment_declined")
    await member.catch_up()
    row = await member.row()
    assert (row["tier"], row["status"]) == ("student", "active")
    await member.fail_next(0)
    assert (await member.done("change", membership="career"))["tier"] == "career"


async def test_a_downgrade_is_a_credit(member: Member) -> None:
    await member.join("career")
    await member.later(15 * DAY)
    assert (await member.done("change", membership="student"))["tier"] == "student"
    assert await member.invoices() == [("paid", 4_900)]
    assert (await member.row())["tier"] == "student"
    await member.later(17 * DAY)
    (_, second) = await member.invoices()
    assert second[0] == "paid" and 200 < second[1] < 700


async def test_from_months_to_years_and_back(member: Member) -> None:
    await member.join("student")
    answer = await member.done("change", membership="student", interval="year")
    assert (answer["tier"], answer["interval"]) == ("student", "year")
    assert (await member.row())["interval"] == "year"
    assert (await member.invoices())[-1] == ("paid", 19_000 - 1_900)
    await member.later(DAY)
    assert (await member.done("change", membership="student", interval="month"))["interval"] == "month"
    assert (await member.row())["interval"] == "month"
    assert await member.standing() == ("active", None)
    await member.later(MONTH, DAY)
    await member.catch_up()
    assert (await member.invoices())[-1][1] == 0, "the year's credit pays it"
    assert await member.standing() == ("active", None)


async def test_invalid_changes(member: Member) -> None:
    await member.join("student")
    assert refused(await member.act("change", membership="fsd")) == (404, "unknown_membership")
    assert refused(await member.act("change", membership="student")) == (409, "nothing_to_change")
    assert refused(await member.act("change", membership="career", interval="week")) == (422, "invalid_request")
    assert refused(await member.act("cancel", at="tomorrow")) == (422, "invalid_request")
    slug = f"euro-{uuid4().hex[:8]}"
    item = {"kind": "membership", "slug": slug, "name": "Euro", "price": 50, "currency": "eur", "tier": slug}
    assert (await member.service.admin("POST", "/api/admin/items", **item)).status_code == 201
    assert refused(await member.act("change", membership=slug)) == (409, "currency_mismatch")
    assert refused(await member.act("change", membership=slug, interval="year")) == (422, "interval_not_offered")
    await member.service.admin("DELETE", f"/api/admin/items/{slug}")
    assert refused(await member.act("change", membership=slug)) == (404, "unknown_membership")


@pytest.mark.parametrize(
    ("action", "body"), [("cancel", {}), ("pause", {}), ("resume", {}), ("change", {"membership": "career"})]
)
async def test_only_the_own_membership(member: Member, action: str, body: dict[str, Any]) -> None:
    await member.join()
    path = f"{PATH}/{(await member.row())['id']}/{action}"

    async def by(role: str, who: UUID | None = None) -> tuple[int, str]:
        answer = await member.service.call("POST", path, headers=bearer(role, who or uuid4()), json=body)
        return answer.status_code, answer.json().get("code", "")

    for role in ("student", "specialist", "case_manager"):
        assert await by(role) == (404, "unknown_membership")
    await member.service.assign(member.id)
    assert await by("case_manager", CASE_MANAGER) == (403, "forbidden")
    assert (await member.service.call("POST", path, json=body)).status_code == 401
    missing = await member.service.call("POST", f"{PATH}/{uuid4()}/{action}", headers=bearer("admin", ADMIN), json=body)
    assert refused(missing) == (404, "unknown_membership")
    assert (await member.service.admin("POST", path, **body)).status_code == 200


async def test_a_retry_is_the_same_change(member: Member) -> None:
    """The answer is lost repeatedly; Stripe changes it once."""
    await member.join("student")
    await member.later(10 * DAY)
    await member.sandbox.faults(lose_answers=6)
    answers = [await member.act("change", membership="career") for _ in range(2)]
    await member.sandbox.faults()
    assert {refused(each)[0] for each in answers} <= {503, 200}
    answer = await member.act("change", membership="career")
    assert (answer.status_code, answer.json()["tier"]) == (200, "career")
    await member.catch_up()
    assert len(await member.invoices()) == 2, "prorated once"
    assert (await member.row())["tier"] == "career"


async def test_an_idempotency_key_is_honored(member: Member) -> None:
    await member.join()
    path = f"/{(await member.row())['id']}/cancel"
    key = {"Idempotency-Key": str(uuid4())}
    first = await member.call("POST", path, json={"at": "period_end"}, headers=key)
    again = await member.call("POST", path, json={"at": "period_end"}, headers=key)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    other = await member.call("POST", path, json={"at": "now"}, headers=key)
    assert refused(other) == (422, "idempotency_key_reused")


async def test_without_stripe_nothing_changes(member: Member) -> None:
    await member.join()
    app = member.service.app_with(stripe_api_key="")
    answer = await member.call("POST", f"/{(await member.row())['id']}/pause", app=app)
    assert refused(answer) == (503, "stripe_not_configured")


async def test_a_lost_webhook_does_not_matter(member: Member) -> None:
    """The change itself enqueues reading the subscription, and the result is published."""
    await member.join()
    await member.act("pause")
    await member.fetch()  # and it is not delivered
    await member.service.perform(member.id)
    assert (await member.row())["paused"] is True
    (event,) = await member.published()
    assert (event.source, event.data.collection_paused, event.data.tier) == ("checkout", True, "student")
    assert event.data.program and event.data.program.kind == "membership"
    await member.service.deliver(event)
    assert await member.standing() == ("paused", "membership_paused")


async def test_a_double_click_is_one_change(member: Member) -> None:
    await member.join("student")
    await member.later(10 * DAY)
    answers = await asyncio.gather(*(member.act("change", membership="career") for _ in range(5)))
    assert {each.status_code for each in answers} <= {200, 503}, "503: the same change is in progress at Stripe"
    assert any(each.status_code == 200 for each in answers)
    await member.catch_up()
    assert len(await member.invoices()) == 2
    assert (await member.row())["tier"] == "career"


async def test_a_cancellation_in_stripes_billing_portal(member: Member) -> None:
    """The portal names a date, and leaves `cancel_at_period_end` false."""
    await member.join()
    subscription = await member.subscription()
    end = subscription["items"].data[0].current_period_end
    await member.sandbox.api.subscriptions.update_async(subscription.id, {"cancel_at": end})
    await member.catch_up()
    assert (await member.current())["cancel_at_period_end"] is True
    (purchase,) = await member.purchases()
    assert purchase.subscription and purchase.subscription.cancel_at_period_end, "it is published"
    assert (await member.done("cancel"))["cancel_at_period_end"] is True
    assert (await member.done("resume"))["cancel_at_period_end"] is False
    assert (await member.subscription()).cancel_at is None
    assert (await member.current())["cancel_at_period_end"] is False


async def test_a_subscription_that_was_paused_at_stripe(member: Member) -> None:
    """As an operator may do it, or Stripe itself after failed payments: no invoices, so no access."""
    await member.join()
    subscription = await member.subscription()
    await member.sandbox.api.subscriptions.pause_async(subscription.id)
    await member.catch_up()
    row = await member.row()
    assert (row["status"], row["paused"]) == ("paused", True)
    assert await member.standing() == ("paused", "membership_paused")
    answer = await member.done("resume")
    assert (answer["status"], answer["paused"]) == ("active", False)
    assert await member.standing() == ("active", None)
    assert await member.invoices() == [("paid", 1_900)] * 2
