"""A plan whose purchase is withdrawn charges nothing more, and only then may its student buy again."""

from __future__ import annotations

from itertools import permutations
from uuid import UUID, uuid4

import pytest
from tests.checkout.plan_steps import DAY, cancels, charge_of, invoices, pay, plan, refund, schedules
from tests.checkout.service import Service, wanted

from checkout.purchases import plans
from checkout.purchases.repository import PLAN_CANCEL
from contracts.enrollment import EnrollmentActivated, EnrollmentWithdrawn
from contracts.people import Program


async def _running(service: Service, student: UUID) -> str:
    """A plan that is paid, with its enrollment and its schedule; the subscription."""
    subscription = await pay(service, await plan(service, student, "cpr", 575))
    await service.deliver_stripe_events(student)
    await service.perform(student, plans.KIND)
    await _enrollment(service, student, EnrollmentActivated, revision=1)
    return subscription


async def _enrollment(
    service: Service, student: UUID, status: type[EnrollmentActivated | EnrollmentWithdrawn], *, revision: int
) -> None:
    event = status(
        enrollment_id=uuid4(),
        student_id=student,
        program=Program(slug="cpr", id="cpr"),
        revision=revision,
        purchase_id=(await service.purchase(student))["id"],
        reason="refunded",
    )
    await service.publish(event)


async def _code(service: Service, student: UUID) -> str:
    """The error code of buying again; None if it is possible."""
    answer = await service.buy(student, wanted("cpr", 575))
    return str(answer.json()["code"]) if answer.status_code == 409 else ""


async def _later(service: Service, months: int = 2) -> None:
    for _ in range(months):
        await service.sandbox.operate("/clock/advance", seconds=31 * DAY)


async def test_a_refund_cancels_the_plan_and_its_student_may_buy_again(service: Service) -> None:
    student = uuid4()
    subscription = await _running(service, student)
    await refund(service, subscription)
    await _enrollment(service, student, EnrollmentWithdrawn, revision=2)
    assert await _code(service, student) == "plan_being_canceled", "enrollment was faster than we are"
    await service.deliver_stripe_events(student)
    purchase = await service.purchase(student)
    assert purchase["state"] == "withdrawn"
    (job,) = await service.rows("SELECT * FROM jobs WHERE kind = :kind AND key = :key", **_effect(purchase["id"]))
    assert job["payload"] == {"purchase_id": str(purchase["id"]), "subscription_id": subscription}
    refused = await service.buy(student, wanted("cpr", 575))
    assert (refused.status_code, refused.json()["code"]) == (409, "plan_being_canceled")
    assert "try again in a moment" in refused.json()["detail"]

    for attempt in (1, 2, 3):  # a lease that ran out, a crash before the record
        await service.perform(student, PLAN_CANCEL, attempt=attempt)
    assert await cancels(service, subscription) == 1
    assert (await service.sandbox.api.subscriptions.retrieve_async(subscription)).status == "canceled"
    (schedule,) = await schedules(service, subscription)
    assert schedule.status == "canceled"

    await _later(service)
    (only,) = await invoices(service, subscription)
    assert (only.status, only.amount_paid) == ("paid", 14_375)
    assert await _code(service, student) == ""
    await service.deliver_stripe_events(student)
    assert sorted(row["state"] for row in await service.purchases(student)) == ["session_open", "withdrawn"]


def _effect(purchase_id: object) -> dict[str, str]:
    return {"kind": "plan_cancel", "key": f"{purchase_id}/cancel"}


async def test_a_lost_dispute_of_a_later_installment_cancels_the_plan(service: Service) -> None:
    student = uuid4()
    subscription = await _running(service, student)
    await _later(service, 1)
    await service.sandbox.operate("/clock/advance", seconds=DAY)
    newest, first = await invoices(service, subscription)
    assert (newest.status, first.status) == ("paid", "paid")
    dispute = await service.sandbox.operate(f"/charges/{await charge_of(service, newest)}/dispute")
    await service.deliver_stripe_events(student)
    await service.perform(student)
    assert await cancels(service, subscription) == 0, "it is not lost yet"
    await service.sandbox.operate(f"/disputes/{dispute['id']}/close", status="lost")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "withdrawn"
    await service.perform(student)
    assert await cancels(service, subscription) == 1
    await _later(service)
    assert len(await invoices(service, subscription)) == 2


async def test_a_draft_is_not_charged_after_the_cancel(service: Service) -> None:
    """The second month has started, and its invoice will be charged in an hour."""
    student = uuid4()
    subscription = await _running(service, student)
    await refund(service, subscription)
    await service.deliver_stripe_events(student)
    period_end = (await service.sandbox.api.subscriptions.retrieve_async(subscription))["items"].data[0]
    now = (await service.sandbox.operate("/clock/advance", seconds=1))["now"]
    await service.sandbox.operate("/clock/advance", seconds=period_end.current_period_end - now + 60)
    assert (await invoices(service, subscription))[0].status == "draft"
    await service.perform(student)
    await _later(service)
    assert [(i.status, i.amount_paid) for i in await invoices(service, subscription)] == [("void", 0), ("paid", 14_375)]


async def test_an_open_invoice_is_voided(service: Service) -> None:
    """The second charge was declined and would be tried again; the first one is refunded meanwhile."""
    student = uuid4()
    subscription = await _running(service, student)
    first = (await invoices(service, subscription))[0]
    await service.sandbox.operate(f"/customers/{first.customer}/fail_next_renewal", times=1)
    charge = await charge_of(service, first)
    await service.sandbox.operate("/clock/advance", seconds=31 * DAY + DAY // 8)
    assert (await invoices(service, subscription))[0].status == "open"
    await service.sandbox.operate(f"/charges/{charge}/refund")
    await service.deliver_stripe_events(student)
    await service.perform(student)
    await _later(service)
    assert [(i.status, i.amount_paid) for i in await invoices(service, subscription)] == [("void", 0), ("paid", 14_375)]


@pytest.mark.parametrize("order", list(permutations((plans.KIND, PLAN_CANCEL))))
async def test_schedule_and_cancel_in_either_order(service: Service, order: tuple[str, str]) -> None:
    """The relay was down from the payment until after the refund."""
    student = uuid4()
    subscription = await pay(service, await plan(service, student, "cpr", 575))
    await service.deliver_stripe_events(student)
    await refund(service, subscription)
    await service.deliver_stripe_events(student)
    for kind in (*order, *order):
        await service.perform(student, kind)
    assert [s.status for s in await schedules(service, subscription)] == ["canceled"] * (order[0] == plans.KIND)
    assert await cancels(service, subscription) == 1
    await _later(service)
    assert len(await invoices(service, subscription)) == 1
    purchase = await service.purchase(student)
    undone = "SELECT kind FROM jobs WHERE done_at IS NULL AND available_at <= now() AND key LIKE :keys"
    assert await service.rows(undone, keys=f"{purchase['id']}/%") == []


async def test_a_plan_that_was_canceled_manually(service: Service) -> None:
    student = uuid4()
    subscription = await _running(service, student)
    await service.sandbox.api.subscriptions.cancel_async(subscription)
    await refund(service, subscription)
    await service.deliver_stripe_events(student)
    await service.perform(student)
    assert await cancels(service, subscription) == 1
    await _enrollment(service, student, EnrollmentWithdrawn, revision=2)
    assert await _code(service, student) == ""


async def test_lost_answers_and_rejections_are_retried(service: Service) -> None:
    student = uuid4()
    subscription = await _running(service, student)
    await refund(service, subscription)
    await service.deliver_stripe_events(student)
    purchase = await service.purchase(student)
    job = "SELECT * FROM jobs WHERE kind = :kind AND key = :key"
    elsewhere = "UPDATE jobs SET payload = payload || jsonb_build_object('subscription_id', CAST(:id AS text))"
    elsewhere += " WHERE kind = :kind AND key = :key RETURNING 1"
    await service.rows(elsewhere, id="sub_unknown", **_effect(purchase["id"]))
    await service.perform(student)
    (waiting,) = await service.rows(job, **_effect(purchase["id"]))
    assert (waiting["done_at"], waiting["failed_at"]) == (None, None)
    assert "resource_missing" in waiting["last_error"]
    assert await _code(service, student) == "already_enrolled"  # the withdrawal of the enrollment has not arrived yet
    await _enrollment(service, student, EnrollmentWithdrawn, revision=2)
    assert await _code(service, student) == "plan_being_canceled"

    await service.rows(elsewhere, id=subscription, **_effect(purchase["id"]))
    await service.sandbox.faults(lose_answers=4)
    await service.perform(student, PLAN_CANCEL, attempt=2)
    await service.sandbox.faults()
    await service.perform(student, PLAN_CANCEL, attempt=3)
    assert await cancels(service, subscription) == 1
    assert await _code(service, student) == ""


async def test_a_refund_that_fails_later_does_not_bring_the_plan_back(
    service: Service, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    student = uuid4()
    subscription = await _running(service, student)
    gone = await refund(service, subscription)
    await service.deliver_stripe_events(student)
    await service.perform(student)
    await service.sandbox.operate(f"/refunds/{gone}/fail")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"
    assert "plan stays canceled" in capsys.readouterr().out + caplog.text
    await service.perform(student)
    await _later(service)
    assert (await service.sandbox.api.subscriptions.retrieve_async(subscription)).status == "canceled"
    assert len(await invoices(service, subscription)) == 1
    assert len(await schedules(service, subscription)) == 1
