"""Disputes from inquiry to outcome, with funds withdrawn and reinstated."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.payment_steps import (
    BY_ADMIN,
    PRICE,
    ask,
    deliver_published,
    paid,
    payment,
    read,
    refused,
    standing,
)
from tests.checkout.service import Service


async def _disputed(service: Service, **options: Any) -> tuple[UUID, dict[str, Any], str]:
    """The student, the payment and Stripe's id of the dispute."""
    student = uuid4()
    row = await paid(service, student)
    dispute = await service.sandbox.operate(f"/charges/{row['stripe_charge_id']}/dispute", **options)
    await service.deliver_stripe_events(student)
    return student, row, dispute["id"]


async def _listed(service: Service, student: UUID, query: str = "") -> list[dict[str, Any]]:
    answer = await read(service, f"/api/admin/disputes?student_id={student}{query}", role="admin")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_a_won_dispute(service: Service) -> None:
    student, row, dispute = await _disputed(service)
    (open,) = await _listed(service, student)
    assert (open["stripe_dispute_id"], open["payment_id"]) == (dispute, str(row["id"]))
    assert (open["status"], open["reason"], open["amount"]) == ("needs_response", "fraudulent", PRICE)
    assert (open["funds"], open["closed_at"]) == ("withdrawn", None) and open["evidence_due_by"]
    assert (await payment(service, student))["disputed"]
    assert (await service.purchase(student))["state"] == "paid", "an open dispute changes nothing"

    await service.sandbox.operate(f"/disputes/{dispute}/review")
    await service.deliver_stripe_events(student)
    (reviewed,) = await _listed(service, student, "&open=true")
    assert reviewed["status"] == "under_review"
    await service.sandbox.operate(f"/disputes/{dispute}/close", status="won")
    await service.deliver_stripe_events(student)
    assert await _listed(service, student, "&open=true") == []
    (won,) = await _listed(service, student, "&open=false")
    assert (won["id"], won["status"], won["funds"]) == (open["id"], "won", "reinstated") and won["closed_at"]
    row = await payment(service, student)
    assert (row["disputed"], row["status"]) == (False, "succeeded")

    detail = (await read(service, f"/api/admin/disputes/{won['id']}", role="admin")).json()
    assert [word["status"] for word in detail["history"]] == [
        "needs_response",
        "needs_response",
        "under_review",
        "won",
        "won",
    ]
    assert [each["funds"] for each in detail["history"] if each["funds"]] == ["withdrawn", "reinstated"]
    assert len({word["event_id"] for word in detail["history"]}) == 5


async def test_a_lost_dispute_withdraws_the_enrollment(service: Service) -> None:
    student, _, dispute = await _disputed(service)
    await service.sandbox.operate(f"/disputes/{dispute}/close", status="lost")
    await service.deliver_stripe_events(student)
    (lost,) = await _listed(service, student)
    assert (lost["status"], lost["funds"]) == ("lost", "withdrawn")
    assert (await service.purchase(student))["state"] == "withdrawn"


async def test_an_appeal_that_is_won(service_with_moved_clock: Service) -> None:
    service = service_with_moved_clock
    """lost is not the last word: the funds come back, and so does the enrollment."""
    student, row, dispute = await _disputed(service)
    await service.sandbox.operate("/clock/advance", seconds=60)
    await service.sandbox.operate(f"/disputes/{dispute}/close", status="lost")
    await service.deliver_stripe_events(student)
    await deliver_published(service, student)
    (lost,) = await _listed(service, student, "&open=false")
    assert (lost["status"], lost["funds"]) == ("lost", "withdrawn") and lost["closed_at"]
    assert await standing(service, student) == ("withdrawn", "dispute_lost")

    await service.sandbox.operate("/clock/advance", seconds=60)
    await service.sandbox.operate(f"/disputes/{dispute}/appeal")
    await service.deliver_stripe_events(student)
    (appealed,) = await _listed(service, student, "&open=true")
    assert (appealed["status"], appealed["closed_at"]) == ("appeal_needs_response", None)
    refused(await ask(service, row["id"], by=BY_ADMIN), 409, "payment_disputed")
    await service.sandbox.operate("/clock/advance", seconds=60)
    await service.sandbox.operate(f"/disputes/{dispute}/review")
    await service.deliver_stripe_events(student)
    await service.sandbox.operate("/clock/advance", seconds=60)
    await service.sandbox.operate(f"/disputes/{dispute}/close", status="won")
    await service.deliver_stripe_events(student)
    (won,) = await _listed(service, student, "&open=false")
    assert (won["status"], won["funds"]) == ("won", "reinstated") and won["closed_at"] > lost["closed_at"]
    assert await standing(service, student) == ("active", None)
    detail = (await read(service, f"/api/admin/disputes/{won['id']}", role="admin")).json()
    statuses = [entry["status"] for entry in detail["history"]]
    assert statuses[-5:] == ["lost", "appeal_needs_response", "appeal_under_review", "won", "won"]
    assert [each["funds"] for each in detail["history"] if each["funds"]] == ["withdrawn", "reinstated"]
    assert (await ask(service, row["id"], by=BY_ADMIN)).status_code == 201


async def test_an_inquiry_that_is_closed_and_one_that_becomes_a_dispute(service: Service) -> None:
    student, _, dispute = await _disputed(service, kind="inquiry")
    (warning,) = await _listed(service, student)
    assert (warning["status"], warning["funds"]) == ("warning_needs_response", None)
    await service.sandbox.operate(f"/disputes/{dispute}/close", status="warning_closed")
    await service.deliver_stripe_events(student)
    (closed,) = await _listed(service, student)
    assert closed["status"] == "warning_closed" and closed["closed_at"]

    student, _, dispute = await _disputed(service, kind="inquiry")
    await service.sandbox.operate(f"/disputes/{dispute}/escalate")
    await service.deliver_stripe_events(student)
    (grown,) = await _listed(service, student)
    assert (grown["status"], grown["funds"], grown["closed_at"]) == ("needs_response", "withdrawn", None)


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
async def test_only_admins_see_disputes(service: Service, role: str) -> None:
    student, _, _ = await _disputed(service)
    (view,) = await _listed(service, student)
    for path in ("/api/admin/disputes", f"/api/admin/disputes/{view['id']}"):
        assert (await read(service, path, role=role, by=student)).status_code == 403


async def test_an_unknown_dispute(service: Service) -> None:
    answer = await read(service, f"/api/admin/disputes/{uuid4()}", role="admin")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_dispute")
    assert (await read(service, "/api/admin/disputes/du_1", role="admin")).status_code == 422
