"""Four monthly installments that sum to the price and end by themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from tests.checkout.plan_steps import DAY, pay, plan, schedules
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import Service, major

from checkout.purchases.domain import months_left


@pytest.mark.parametrize(
    ("price", "first", "regular"),
    [(489_000, 122_250, 122_250), (432_500, 108_125, 108_125), (57_501, 14_376, 14_375), (10_003, 2_503, 2_500)],
)
async def test_the_sum_is_the_price(service: Service, price: int, first: int, regular: int) -> None:
    slug, student = f"plan-{uuid4().hex[:8]}", uuid4()
    assert (
        await service.admin("POST", "/api/admin/programs", slug=slug, name="P", price=major(price))
    ).status_code == 201
    session = await plan(service, student, slug, f"{price // 100}.{price % 100:02}")
    assert (session.mode, session.amount_total) == ("subscription", first)
    lines = (await service.sandbox.api.checkout.sessions.line_items.list_async(session.id)).data
    recurring = [line for line in lines if line.price and line.price.recurring]
    assert [
        (line.amount_total, line.price and line.price.recurring and line.price.recurring.interval) for line in recurring
    ] == [(regular, "month")]
    assert first + 3 * regular == price
    (event,) = await service.published(student, "purchase.created.v1")
    assert (event["payment_type"], event["installments"], event["amount"]["amount"]) == ("plan", 4, price)


async def test_a_plan_ends_by_itself_after_four_charges(service: Service) -> None:
    slug, student = f"plan-{uuid4().hex[:8]}", uuid4()
    await service.admin("POST", "/api/admin/programs", slug=slug, name="P", price=100.03)
    session = await plan(service, student, slug, "100.03")
    subscription_id = await pay(service, session)
    api = service.sandbox.api
    metadata = metadata_of(await api.subscriptions.retrieve_async(subscription_id))
    assert (metadata["installments"], metadata["student_id"], metadata["program_slug"]) == ("4", str(student), slug)

    await service.deliver_stripe_events(student)
    for _ in range(3):  # performed again and again: a lease that ran out, a crash before the record
        await service.perform(student)
    (schedule,) = await schedules(service, subscription_id)
    (phase,) = schedule.phases
    started = datetime.fromtimestamp(phase.start_date, UTC)
    ends = datetime.fromtimestamp(phase.end_date, UTC)
    assert schedule.end_behavior == "cancel"
    assert (ends.year - started.year) * 12 + ends.month - started.month == 4
    purchase = await service.purchase(student)
    assert (purchase["stripe_subscription_id"], purchase["stripe_schedule_id"]) == (subscription_id, schedule.id)
    assert purchase["state"] == "paid"
    assert metadata_of(await api.subscriptions.retrieve_async(subscription_id)) == metadata

    for _ in range(6):
        await service.sandbox.operate("/clock/advance", seconds=31 * DAY)
    ended = await api.subscriptions.retrieve_async(subscription_id)
    assert ended.status == "canceled"
    invoices = await api.invoices.list_async({"subscription": subscription_id, "limit": 100})
    paid = [invoice.amount_paid async for invoice in invoices.auto_paging_iter()]
    assert (sorted(paid), sum(paid)) == ([2_500, 2_500, 2_500, 2_503], 10_003)
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"


async def test_a_crash_between_the_two_steps(service: Service) -> None:
    """The schedule exists and does not end yet: it is found, not created again."""
    student = uuid4()
    subscription_id = await pay(service, await plan(service, student, "cpr", 575))
    await service.sandbox.api.subscription_schedules.create_async({"from_subscription": subscription_id})
    await service.deliver_stripe_events(student)
    await service.perform(student)
    (schedule,) = await schedules(service, subscription_id)
    assert schedule.end_behavior == "cancel"


async def test_a_lost_answer_makes_no_second_schedule(service: Service) -> None:
    student = uuid4()
    subscription_id = await pay(service, await plan(service, student, "cpr", 575))
    await service.deliver_stripe_events(student)
    await service.sandbox.faults(lose_answers=2)
    await service.perform(student)
    await service.sandbox.faults()
    await service.perform(student)
    (schedule,) = await schedules(service, subscription_id)
    assert schedule.end_behavior == "cancel"
    assert (await service.purchase(student))["stripe_schedule_id"] == schedule.id


async def test_attached_late_it_still_ends_in_time(service: Service) -> None:
    """The relay was down for two months: two charges are left, not four."""
    student = uuid4()
    subscription_id = await pay(service, await plan(service, student, "cpr", 575))
    await service.deliver_stripe_events(student)
    for _ in range(2):
        await service.sandbox.operate("/clock/advance", seconds=31 * DAY)
    await service.perform(student)
    for _ in range(4):
        await service.sandbox.operate("/clock/advance", seconds=31 * DAY)
    invoices = await service.sandbox.api.invoices.list_async({"subscription": subscription_id, "limit": 100})
    assert sum([invoice.amount_paid async for invoice in invoices.auto_paging_iter()]) == 57_500
    assert (await service.sandbox.api.subscriptions.retrieve_async(subscription_id)).status == "canceled"


async def test_a_plan_that_was_canceled_first_needs_no_schedule(service: Service) -> None:
    student = uuid4()
    subscription_id = await pay(service, await plan(service, student, "cpr", 575))
    await service.sandbox.api.subscriptions.cancel_async(subscription_id)
    await service.deliver_stripe_events(student)
    await service.perform(student)
    assert await schedules(service, subscription_id) == []
    purchase = await service.purchase(student)
    assert purchase["stripe_schedule_id"] is None
    (job,) = await service.rows("SELECT * FROM jobs WHERE key = :key", key=f"{purchase['id']}/schedule")
    assert job["done_at"] is not None


async def test_a_payment_in_full_needs_no_schedule(service: Service) -> None:
    student = uuid4()
    await service.buy(student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    purchase = await service.purchase(student)
    assert await service.rows("SELECT 1 FROM jobs WHERE key = :key", key=f"{purchase['id']}/schedule") == []


def test_months_left() -> None:
    def left(started: str, phase: str) -> int:
        return months_left(
            started=datetime.fromisoformat(started), phase_start=datetime.fromisoformat(phase), installments=4
        )

    assert left("2026-11-21T10:00:00+00:00", "2026-11-21T10:00:00+00:00") == 4
    assert left("2026-11-30T10:00:00+00:00", "2027-02-28T10:00:00+00:00") == 1
    assert left("2026-11-21T10:00:00+00:00", "2027-03-21T10:00:00+00:00") == 0
