"""The invariant over all students, verified in the background from what reporting has received."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from tests.metrics import total
from tests.reporting.harness import START, Service
from tests.reporting.test_invariant import BARBER, DIFFERS, PURCHASE, STUDENT, WHOLE

from contracts.instructor_assignment import InstructorUnavailable
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.reconciliation import ReconciliationCompleted
from ledger.policy import DEFAULT_POLICY
from reporting.invariant_runs import Runner
from reporting.settings import InvariantSettings

LINKED = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_12345", charge="ch_12345"), amount=usd(489_000))
"""Of the same payment, and without a student."""
OTHER = UUID(int=2**127 + 3)
UNPAID = PaymentSucceeded(
    refs=PaymentRefs(payment_intent="pi_67890"),
    amount=usd(1),
    price=usd(1),
    student_id=OTHER,
    program=BARBER,
    purchase_id=UUID(int=4),
)
"""Nothing follows from it."""
COMPARED = ReconciliationCompleted(
    since=START - timedelta(days=999), through=START + timedelta(days=9_999), objects=2, restored=0, differences=0
)


def runner(service: Service, *, every_seconds: int = 0, processes: int = 1) -> Runner:
    return Runner(
        database=service.database,
        deadlines=replace(InvariantSettings().deadlines, stripe=timedelta(days=9)),
        policy=DEFAULT_POLICY,
        every_seconds=every_seconds,
        processes=processes,
    )


async def later(service: Service) -> None:
    """All deadlines have passed, but for the comparison with Stripe."""
    await service.as_owner("UPDATE events SET received_at = now() - interval '2 days'")


async def verified(service: Service, *, processes: int = 1) -> dict[str, Any]:
    """What an admin gets who asks for a run."""
    asked = await service.post("/api/admin/invariant/runs")
    assert asked.status_code == 202, asked.text
    assert asked.json()["finished_at"] is None
    assert await runner(service, processes=processes).sweep()
    run = (await service.get(f"/api/admin/invariant/runs/{asked.json()['id']}")).json()
    assert run["finished_at"] and run["error"] is None, run
    found: dict[str, Any] = (await service.get("/api/admin/invariant")).json()
    assert (found["students"], found["breaks"]) == (run["students"], run["breaks"])
    return found


def broken_parts(part: str) -> float | None:
    return REGISTRY.get_sample_value("bursar_invariant_breaks", {"part": part})


async def test_it_is_verified_in_other_processes_over_what_was_received(service: Service) -> None:
    await service.receive(*(service.envelope(event) for event in (*WHOLE.values(), LINKED, UNPAID)))
    early = await verified(service)
    assert (early["holds"], early["students"]) == (True, 2), "no deadline has passed"
    await later(service)
    with capture_logs() as logs:
        found = await verified(service, processes=2)
    assert (found["holds"], {each["student_id"] for each in found["items"]}) == (False, {str(OTHER)})
    assert {each["part"] for each in found["items"]} == {"enrolled", "instructor", "provider", "notified", "booked"}
    assert broken_parts("enrolled") == 1 and broken_parts("stripe") == 0
    assert time.time() - 60 < total("bursar_invariant_timestamp_seconds") <= time.time()
    assert len([each for each in logs if each["event"] == "invariant broken"]) == 5
    with capture_logs() as logs:
        await verified(service)
    assert not [each for each in logs if each["event"] == "invariant broken"], "each break is logged once"


async def test_one_student_is_verified_at_once(service: Service) -> None:
    await service.receive(*(service.envelope(event) for event in (*WHOLE.values(), LINKED)))
    await later(service)
    student = str(STUDENT)
    one = (await service.get("/api/admin/invariant", student_id=student)).json()
    assert one["holds"] is False, "was not compared with Stripe for two days"
    assert [each["part"] for each in one["items"]] == ["stripe"]
    await service.receive(service.envelope(COMPARED))
    assert (await service.get("/api/admin/invariant", student_id=student)).json()["holds"]
    await service.as_owner("DELETE FROM events WHERE type = 'milady.enrolled.v1'")
    one = (await service.get("/api/admin/invariant", student_id=student, part="provider")).json()
    assert [(each["part"], each["purchase_id"]) for each in one["items"]] == [("provider", str(PURCHASE))]


async def test_a_break_that_has_ended_is_left_out_and_is_logged_again_when_it_is_back(service: Service) -> None:
    await service.receive(*(service.envelope(event) for name, event in WHOLE.items() if name != "booked"))
    await later(service)
    assert [each["part"] for each in (await verified(service))["items"]] == ["booked"]
    receipt = service.envelope(WHOLE["booked"])
    await service.receive(receipt)
    assert (await verified(service))["holds"]
    await service.as_owner("DELETE FROM events WHERE type = 'receipt.issued.v1'")
    with capture_logs() as logs:
        assert [each["part"] for each in (await verified(service))["items"]] == ["booked"]
    assert [each["part"] for each in logs if each["event"] == "invariant broken"] == ["booked"]


async def requested(service: Service) -> list[str]:
    """The ids in all requests for events."""
    rows = await service.as_owner(
        "SELECT convert_from(body, 'UTF8') AS body FROM outbox_messages WHERE routing_key = 'events.requested.v1'"
    )
    return [id for row in rows for id in json.loads(row["body"])["event_ids"]]


async def recorded(service: Service, action: str) -> list[str]:
    """The parts of the audit records of this action."""
    rows = await service.as_owner(
        "SELECT convert_from(body, 'UTF8') AS body FROM outbox_messages WHERE routing_key = 'audit.recorded.v1'"
    )
    acts = [json.loads(row["body"])["act"] for row in rows]
    return sorted(act["after"]["part"] for act in acts if act["action"] == action)


async def test_the_events_of_a_missing_part_are_asked_for_once_and_it_is_repaired_when_they_had_an_effect(
    service: Service,
) -> None:
    received = {name: service.envelope(event, id=f"evt_{name}") for name, event in WHOLE.items()}
    linked = service.envelope(LINKED, id="evt_linked")
    await service.receive(received["paid"], linked, service.envelope(COMPARED))
    assert (await verified(service))["holds"] and await requested(service) == [], "no deadline has passed"
    await later(service)
    for _ in range(2):
        found = await verified(service)
        assert {each["requested_at"] is None for each in found["items"]} == {False}
        assert (found["holds"], found["repaired"]) == (False, 0)
        assert sorted(await requested(service)) == ["evt_linked", "evt_paid"]
    parts = ["booked", "enrolled", "instructor", "notified", "provider"]
    assert await recorded(service, "event.requested") == parts
    await service.receive(*received.values())
    found = await verified(service)
    assert (found["holds"], found["repaired"], found["items"]) == (True, 5, [])
    repaired = (await service.get("/api/admin/invariant", repaired="true")).json()["items"]
    assert sorted(each["part"] for each in repaired) == parts == await recorded(service, "break.repaired")
    assert all(each["ended_at"] for each in repaired)
    await service.as_owner("DELETE FROM events WHERE type = 'enrollment.activated.v1'")
    assert not (await verified(service))["holds"]
    assert len(await requested(service)) == 2, "the same break is not asked for again"


async def test_nothing_is_asked_for_where_the_service_has_stated_why(service: Service) -> None:
    full = InstructorUnavailable(
        student_id=STUDENT, program=BARBER, purchase_id=PURCHASE, assignment_id=UUID(int=9), revision=1
    )
    events = [event for name, event in WHOLE.items() if name != "instructor"]
    await service.receive(*(service.envelope(event) for event in (*events, full, COMPARED)))
    await later(service)
    (broken,) = (await verified(service))["items"]
    assert (broken["part"], broken["requested_at"]) == ("instructor", None)
    assert await requested(service) == []


async def test_breaks_are_read_in_pages(service: Service) -> None:
    await service.receive(service.envelope(UNPAID))
    await later(service)
    await verified(service)
    seen, query = [], {"limit": "2"}
    while True:
        page = (await service.get("/api/admin/invariant", **query)).json()
        seen += [each["part"] for each in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert sorted(seen) == ["booked", "enrolled", "instructor", "notified", "provider"]


async def test_what_differs_at_stripe_and_belongs_to_nobody_is_a_break(service: Service) -> None:
    await service.receive(*(service.envelope(event) for event in WHOLE.values()), service.envelope(DIFFERS))
    strange = DIFFERS.model_copy(
        update={"object_id": "ch_strange", "refs": PaymentRefs(charge="ch_strange"), "published": None}
    )
    await service.receive(service.envelope(strange))
    found = {each["student_id"]: each["cause"] for each in (await verified(service, processes=2))["items"]}
    assert found == {
        str(STUDENT): "ch_12345: amount is 489000 usd at Stripe, and 489001 usd was published",
        None: "ch_strange: amount is 489000 usd at Stripe, and nothing was published",
    }


async def test_a_run_is_due_once_in_its_period_and_nothing_is_there_before_the_first(service: Service) -> None:
    assert (await service.get("/api/admin/invariant")).json()["code"] == "not_verified"
    due = runner(service, every_seconds=600)
    assert [await due.sweep() for _ in range(3)] == [True, False, False]
    assert (await service.get("/api/admin/invariant")).json()["holds"]


async def test_only_admins_ask_for_a_run(service: Service) -> None:
    for role in ("student", "case_manager"):
        assert (await service.post("/api/admin/invariant/runs", role=role)).status_code == 403
