"""The admin API: what an admin can do, what nobody else can, and what a stolen admin's token cannot."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from tests.kit.subscriber_steps import dead
from tests.webhook_gateway.admin_steps import ADMIN, CHANGES, DEAD_LETTERS, Steps

from contracts.audit import Actor
from webhook_gateway.fetcher import StripeNotConfigured, StripeRejected, StripeUnavailable
from webhook_gateway.tables import differences

NOW = datetime.now(UTC)
ROUTES = (
    ("GET", f"{DEAD_LETTERS}/queues", None),
    ("GET", f"{DEAD_LETTERS}?queue=enrollment.test", None),
    ("GET", f"{DEAD_LETTERS}/message?queue=enrollment.test&event_id=evt_1", None),
    ("POST", f"{DEAD_LETTERS}/replay", {"queue": "enrollment.test", "all": True}),
    ("POST", f"{DEAD_LETTERS}/discard", {"queue": "enrollment.test", "event_ids": ["evt_1"], "reason": "x"}),
    ("POST", "/api/admin/reconciliations", {"since": NOW.isoformat()}),
    ("GET", "/api/admin/differences", None),
    ("GET", "/api/admin/deliveries", None),
    ("GET", "/api/admin/deliveries.csv", None),
    ("POST", "/api/admin/replays", {"since": NOW.isoformat()}),
    ("GET", "/api/admin/replays", None),
    ("POST", "/api/admin/scalings", {"process": "enrollment", "replicas": 0}),
)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_only_admins(steps: Steps, method: str, path: str, body: Any) -> None:
    for role in ("student", "case_manager", "specialist"):
        assert (await steps.call(method, path, body, role=role)).json()["code"] == "forbidden"
    assert (await steps.call(method, path, body, role=None)).status_code == 401
    assert await steps.recorded() == []


async def test_nobody_acts_in_the_name_of_someone_else(steps: Steps) -> None:
    await steps.dead_letter("evt_1")
    for forged in ({"operator": "someone"}, {"actor": {"id": str(uuid4()), "role": "admin"}}, {"vouch": True}):
        body = {"queue": steps.queue, "all": True, **forged}
        assert (await steps.call("POST", f"{DEAD_LETTERS}/replay", body)).status_code == 422
        body = {"since": NOW.isoformat(), **forged}
        assert (await steps.call("POST", "/api/admin/replays", body)).status_code == 422
    assert await dead(steps.broker, steps.queue) == ["evt_1"]
    assert await steps.recorded() == []


async def test_oversized_selections_are_refused(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    body: dict[str, Any] = {"queue": steps.queue, "event_ids": [f"evt_{n}" for n in range(101)]}
    assert (await steps.call("POST", f"{DEAD_LETTERS}/replay", body)).status_code == 422
    body = {"event_ids": [f"evt_{n}" for n in range(1001)]}
    assert (await steps.call("POST", "/api/admin/replays", body)).status_code == 422
    assert (await steps.call("POST", "/api/admin/replays", {})).status_code == 422
    assert (await steps.call("GET", f"{DEAD_LETTERS}?queue={steps.queue}&limit=100000")).status_code == 422
    monkeypatch.setattr("webhook_gateway.operations_api.MOST_REPLAYED", 2)
    ids = [f"evt_{uuid4().hex}" for _ in range(3)]
    await steps.journal(*ids)
    answer = await steps.call("POST", "/api/admin/replays", {"since": (NOW - timedelta(days=1)).isoformat()})
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_events")
    assert not await steps.due() & set(ids)
    assert await steps.recorded() == []


async def test_changes_are_limited_and_each_caller_has_a_limit_of_their_own(steps: Steps) -> None:
    body = {"process": "enrollment", "replicas": 1}
    answers = [await steps.call("POST", "/api/admin/scalings", body) for _ in range(CHANGES + 1)]
    assert [answer.status_code for answer in answers] == [200] * CHANGES + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await steps.call("POST", "/api/admin/scalings", body, caller=uuid4())).status_code == 200
    assert (await steps.call("GET", "/api/admin/replays")).status_code == 200, "reading is counted apart"


async def test_journaled_events_are_replayed_by_type_and_name(steps: Steps) -> None:
    refunds, others = [f"evt_{uuid4().hex}" for _ in range(2)], [f"evt_{uuid4().hex}"]
    await steps.journal(*refunds)
    await steps.journal(*others, type_="invoice.paid")
    since = (NOW - timedelta(days=1)).isoformat()
    body = {"since": since, "types": ["charge.refunded"], "event_ids": [*refunds, *others]}
    answer = await steps.call("POST", "/api/admin/replays", body)
    assert (answer.status_code, answer.json()) == (202, {"events": 2})
    assert await steps.due() & {*refunds, *others} == set(refunds)
    assert (await steps.call("GET", "/api/admin/replays")).json()["events"] >= 2
    (record,) = await steps.recorded()
    assert (record.act.action, record.actor.id, record.address) == ("event.replayed", str(ADMIN), "127.0.0.1")


async def test_a_comparison_is_bounded_and_its_actor_is_the_caller(steps: Steps) -> None:
    path = "/api/admin/reconciliations"
    for body in (
        {"since": (NOW - timedelta(days=41)).isoformat()},
        {"since": (NOW + timedelta(days=1)).isoformat()},
        {"since": NOW.isoformat(), "until": (NOW - timedelta(days=1)).isoformat()},
        {"since": NOW.isoformat(), "until": (NOW + timedelta(days=1)).isoformat()},
        {"since": "2026-11-01T00:00:00"},
        {},
    ):
        assert (await steps.call("POST", path, body)).status_code == 422, body
    since = NOW - timedelta(hours=1)
    answer = await steps.call("POST", path, {"since": since.isoformat()})
    assert {name: value for name, value in answer.json().items() if value} == {
        "listed": 3,
        "restored": 1,
        "differing": ["ch_1"],
    }
    assert steps.reconciled == [(since, None, Actor(id=str(ADMIN), role="admin"))]


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:00:00-14:00", "9999-12-20T00:00:00Z"])
async def test_times_out_of_range_are_refused(steps: Steps, time: str) -> None:
    for path, body in (
        ("/api/admin/replays", {"since": time}),
        ("/api/admin/reconciliations", {"since": time}),
        ("/api/admin/reconciliations", {"since": time, "until": time.replace("00:00:00", "00:00:01")}),
    ):
        assert (await steps.call("POST", path, body)).status_code == 422, body


@pytest.mark.parametrize(
    "error", [StripeNotConfigured("no key"), StripeRejected(403), StripeUnavailable("HTTP 503")], ids=type
)
async def test_without_stripe_nothing_is_compared(steps: Steps, error: Exception) -> None:
    steps.stripe = error
    answer = await steps.call("POST", "/api/admin/reconciliations", {"since": (NOW - timedelta(hours=1)).isoformat()})
    assert answer.status_code == 503


async def test_a_scaling_is_recorded_and_runs_nothing(steps: Steps) -> None:
    body = {"process": "enrollment", "replicas": 3, "platform": "kubernetes", "reason": "a queue grows"}
    answer = await steps.call("POST", "/api/admin/scalings", body)
    assert answer.json() == {"command": ["kubectl", "scale", "deployment/enrollment", "--replicas=3"]}
    (record,) = await steps.recorded()
    assert (record.act.action, record.act.object_id, record.act.reason) == (
        "process.scaled",
        "enrollment",
        "a queue grows",
    )
    for wrong in (
        {"process": "enrollment; rm -rf /"},
        {"process": "postgres"},
        {"process": "checkout-api"},
        {"replicas": 51},
        {"replicas": -1},
        {"platform": "bash"},
        {"reason": "\x00"},
    ):
        assert (await steps.call("POST", "/api/admin/scalings", {**body, **wrong})).status_code == 422, wrong


async def test_what_differs_is_listed_in_pages(steps: Steps) -> None:
    row = {"object_kind": "charge", "field": "amount", "refs": {}, "revision": 1, "first_seen_at": NOW}
    several = [{**row, "object_id": f"ch_{n}", "stripe": "2 usd", "last_seen_at": NOW} for n in range(3)]
    closed = {**row, "object_id": "ch_closed", "stripe": None, "last_seen_at": NOW, "closed_at": NOW}
    async with steps.database.transaction() as db:
        await db.execute(differences.insert(), several)
        await db.execute(differences.insert().values(closed))
    first = (await steps.call("GET", "/api/admin/differences?limit=2")).json()
    assert [each["object_id"] for each in first["items"]] == ["ch_0", "ch_1"]
    assert (first["items"][0]["stripe"], first["items"][0]["published"]) == ("2 usd", None)
    rest = (await steps.call("GET", f"/api/admin/differences?limit=2&cursor={first['next']}")).json()
    assert ([each["object_id"] for each in rest["items"]], rest["next"]) == (["ch_2"], None)
    assert (await steps.call("GET", "/api/admin/differences?cursor=%00nothing")).status_code == 200


async def test_an_export_is_recorded(steps: Steps) -> None:
    assert (await steps.call("GET", f"/api/admin/students/{ADMIN}/export")).status_code == 200
    async with steps.database.transaction() as db:
        body = await db.scalar(text("SELECT convert_from(body, 'UTF8') FROM outbox_messages ORDER BY id DESC LIMIT 1"))
    assert json.loads(str(body))["act"]["action"] == "student.exported"
