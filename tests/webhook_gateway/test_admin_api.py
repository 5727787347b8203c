"""The admin API: what an admin can do, what nobody else can, and what a stolen admin's token cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text
from tests.databases import migrated
from tests.kit.events import paid
from tests.kit.subscriber_steps import dead, to_queue
from tests.processes import JWT
from tests.tokens import bearer

import webhook_gateway
from contracts.audit import Actor, AuditRecorded
from contracts.envelope import parse
from contracts.registry import EVENT_TYPES
from kit.db.database import Database
from kit.http.auth import Authenticator
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import DeadLetters
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.topology import Queue, declare_at
from kit.runtime.settings import AuthSettings
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway.admin import app
from webhook_gateway.admin_context import AdminContext
from webhook_gateway.dead_letters_api import MOST_DISCARDED
from webhook_gateway.fetcher import StripeNotConfigured, StripeRejected, StripeUnavailable
from webhook_gateway.object_reconciler import ComparedObjects
from webhook_gateway.reconciler import Reconciled
from webhook_gateway.stripe_objects import ObjectKind
from webhook_gateway.tables import Source, differences, journal_due

ADMIN = UUID("00000000-0000-4000-8000-00000000000a")
AUDIT = Queue("webhook-gateway.test-audit", events=(AuditRecorded,))
DEAD_LETTERS = "/api/admin/dead-letters"
NOW = datetime.now(UTC)
CHANGES = 20
ROUTES = (
    ("GET", f"{DEAD_LETTERS}/queues", None),
    ("GET", f"{DEAD_LETTERS}?queue=enrollment.test", None),
    ("GET", f"{DEAD_LETTERS}/message?queue=enrollment.test&event_id=evt_1", None),
    ("POST", f"{DEAD_LETTERS}/replay", {"queue": "enrollment.test", "all": True}),
    ("POST", f"{DEAD_LETTERS}/discard", {"queue": "enrollment.test", "event_ids": ["evt_1"], "reason": "x"}),
    ("POST", "/api/admin/reconciliations", {"since": NOW.isoformat()}),
    ("GET", "/api/admin/differences", None),
    ("POST", "/api/admin/replays", {"since": NOW.isoformat()}),
    ("GET", "/api/admin/replays", None),
    ("POST", "/api/admin/scalings", {"process": "enrollment", "replicas": 0}),
)


class Steps:
    """The API in this process, with one queue whose dead letters can be named."""

    def __init__(self, database: Database, broker: RabbitServer, publisher: Publisher, queue: str) -> None:
        self.database, self.broker, self.queue = database, broker, queue
        self._publisher, self._seen = publisher, 0
        self.stripe: Exception | None = None
        self.reconciled: list[tuple[datetime, datetime | None, Actor]] = []
        context = AdminContext(database=database, amqp_url=broker.url, queues=(queue,), reconcile=self._reconcile)
        settings = AuthSettings(
            jwt_secret=SecretStr(JWT["JWT_SECRET"]), jwt_issuer=JWT["JWT_ISSUER"], jwt_audience=JWT["JWT_AUDIENCE"]
        )
        self.app = app(context, Authenticator(settings), {"changes": f"{CHANGES}/day", "reads": "100/day"})

    async def _reconcile(
        self, since: datetime, until: datetime | None, actor: Actor
    ) -> tuple[Reconciled, ComparedObjects]:
        if self.stripe is not None:
            raise self.stripe
        self.reconciled.append((since, until, actor))
        return Reconciled(listed=3, restored=1), ComparedObjects(differing={(ObjectKind.CHARGE, "ch_1")})

    async def call(
        self, method: str, path: str, body: Any = None, *, role: str | None = "admin", caller: UUID = ADMIN
    ) -> httpx.Response:
        headers = bearer(caller, role) if role else {}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://test") as client:
            return await client.request(method, path, json=body, headers=headers)

    async def dead_letter(self, *ids: str) -> None:
        for id in ids:
            await self.publish(to_message(paid(id)))

    async def publish(self, message: OutgoingMessage) -> None:
        await self._publisher.publish(to_queue(message, f"{self.queue}.dead"))

    async def unreadable(self, message_id: str, *, reason: str = "", body: bytes = b"{}") -> None:
        """A dead letter that is no event."""
        async with await aio_pika.connect(self.broker.url) as connection:
            channel = await connection.channel()
            message = aio_pika.Message(body, headers={"bursar-reason": reason}, message_id=message_id)
            await channel.default_exchange.publish(message, f"{self.queue}.dead", mandatory=True)

    async def recorded(self) -> list[AuditRecorded]:
        """What was published, and what is in the outbox, since it was asked last."""
        found = []
        async with await aio_pika.connect(self.broker.url) as connection:
            queue = await (await connection.channel()).get_queue(AUDIT.name)
            while (message := await queue.get(fail=False, no_ack=True)) is not None:
                event = parse(message.headers, message.body, EVENT_TYPES).data
                assert isinstance(event, AuditRecorded)
                found.append(event)
        async with self.database.transaction() as db:
            query = "SELECT id, convert_from(body, 'UTF8') FROM outbox_messages WHERE id > :seen ORDER BY id"
            for id, body in await db.execute(text(query), {"seen": self._seen}):
                self._seen = id
                found.append(AuditRecorded.model_validate_json(body))
        return found

    async def journal(self, *ids: str, type_: str = "charge.refunded") -> None:
        async with self.database.transaction() as db:
            for id in ids:
                await db.execute(select(func.journal_write([id], [type_], [b"{}"], [None], [str(Source.FETCHED)])))
            await db.execute(journal_due.delete())

    async def due(self) -> set[str]:
        async with self.database.transaction() as db:
            return {str(id) for id in await db.scalars(journal_due.select())}


@pytest.fixture(scope="module")
def database_url(postgres_server: PostgresServer) -> str:
    return migrated(postgres_server, "gateway_admin", webhook_gateway.__file__).url


@pytest.fixture
async def steps(rabbit_server: RabbitServer, database_url: str) -> AsyncIterator[Steps]:
    queue = f"enrollment.test-{uuid4().hex[:8]}"
    await declare_at(rabbit_server.url, [Queue(queue), AUDIT])
    database, publisher = Database(database_url), Publisher(rabbit_server.url, name="test")
    steps = Steps(database, rabbit_server, publisher, queue)
    await steps.recorded()
    yield steps
    await publisher.close()
    await database.close()


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_only_admins(steps: Steps, method: str, path: str, body: Any) -> None:
    for role in ("student", "case_manager", "specialist"):
        assert (await steps.call(method, path, body, role=role)).json()["code"] == "forbidden"
    assert (await steps.call(method, path, body, role=None)).status_code == 401
    assert await steps.recorded() == []


async def test_a_replay_is_recorded_as_the_callers(steps: Steps) -> None:
    await steps.dead_letter("evt_1", "evt_2")
    (queue,) = (await steps.call("GET", f"{DEAD_LETTERS}/queues")).json()["items"]
    assert queue == {"queue": steps.queue, "messages": 2}
    answer = await steps.call("POST", f"{DEAD_LETTERS}/replay", {"queue": steps.queue, "event_ids": ["evt_1"]})
    assert answer.json() == {"messages": 1}
    assert await dead(steps.broker, steps.queue) == ["evt_2"]
    (record,) = await steps.recorded()
    assert (record.actor.id, record.actor.role, record.act.action) == (str(ADMIN), "admin", "dead_letter.replayed")
    assert (record.act.object_id, record.address) == ("evt_1", "127.0.0.1")
    assert record.act.before and record.act.before["vouch"] is False


async def test_a_replayed_message_names_its_first_publisher(steps: Steps) -> None:
    """The deployment's login does not vouch: what a service may not publish is refused again."""
    await steps.dead_letter("evt_1")
    await steps.call("POST", f"{DEAD_LETTERS}/replay", {"queue": steps.queue, "all": True})
    async with await aio_pika.connect(steps.broker.url) as connection:
        queue = await (await connection.channel()).get_queue(steps.queue)
        message = await queue.get(no_ack=True)
    assert message is not None and "bursar-publisher" in message.headers


async def test_a_list_has_no_content_and_showing_it_is_recorded(steps: Steps) -> None:
    await steps.dead_letter("evt_1")
    (listed,) = (await steps.call("GET", f"{DEAD_LETTERS}?queue={steps.queue}")).json()["items"]
    assert (listed["event_id"], "body" in listed, "headers" in listed) == ("evt_1", False, False)
    assert await steps.recorded() == []
    path = f"{DEAD_LETTERS}/message?queue={steps.queue}&event_id="
    shown = (await steps.call("GET", f"{path}evt_1")).json()
    assert shown["body"] == json.loads(paid("evt_1").body())
    (record,) = await steps.recorded()
    assert (record.act.action, record.actor.id) == ("dead_letter.shown", str(ADMIN))
    assert (await steps.call("GET", f"{path}evt_none")).status_code == 404


async def test_the_queues_are_counted_together(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are some twenty, each with a channel of its own: one after another, they are most of the admins' page."""
    queues = ("a.test", "b.test", "c.test")
    all_wait = asyncio.Barrier(len(queues))

    async def count(_: DeadLetters) -> int:
        async with asyncio.timeout(5):
            return await all_wait.wait()

    monkeypatch.setattr(DeadLetters, "count", count)
    monkeypatch.setattr(steps.app.state, "context", replace(steps.app.state.context, queues=queues))
    found = (await steps.call("GET", f"{DEAD_LETTERS}/queues")).json()["items"]
    assert [each["queue"] for each in found] == list(queues)


async def test_a_queue_is_listed_in_pages(steps: Steps) -> None:
    await steps.dead_letter(*(f"evt_{number}" for number in range(5)))
    path = f"{DEAD_LETTERS}?queue={steps.queue}&limit=2"
    listed, cursor = list[list[str]](), ""
    while True:
        page = (await steps.call("GET", f"{path}{cursor}")).json()
        listed.append([each["event_id"] for each in page["items"]])
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert listed == [["evt_0", "evt_1"], ["evt_2", "evt_3"], ["evt_4"]]
    assert (await steps.call("GET", f"{path}&cursor=4999")).json() == {"items": [], "next": None}
    for none in ("-1", "5000", "evt_1"):
        assert (await steps.call("GET", f"{path}&cursor={none}")).status_code == 422
    assert len(await dead(steps.broker, steps.queue)) == 5, "a list changes nothing"


async def test_a_discard_needs_names_and_a_reason(steps: Steps) -> None:
    await steps.dead_letter("evt_1", "evt_2")
    path = f"{DEAD_LETTERS}/discard"
    for body in (
        {"event_ids": ["evt_1"]},
        {"event_ids": ["evt_1"], "reason": ""},
        {"event_ids": ["evt_1"], "reason": "forged\x00"},
        {"event_ids": [], "reason": "forged"},
        {"all": True, "reason": "forged"},
        {"event_ids": [f"evt_{n}" for n in range(21)], "reason": "forged"},
    ):
        assert (await steps.call("POST", path, {"queue": steps.queue, **body})).status_code == 422, body
    assert await dead(steps.broker, steps.queue) == ["evt_1", "evt_2"]
    answer = await steps.call("POST", path, {"queue": steps.queue, "event_ids": ["evt_1"], "reason": "forged"})
    assert answer.json() == {"messages": 1}
    (record,) = await steps.recorded()
    assert (record.act.action, record.act.reason) == ("dead_letter.discarded", "forged")


async def test_what_a_message_calls_itself_does_not_keep_an_act_out_of_the_trail(steps: Steps) -> None:
    await steps.unreadable("id\x00", reason="x\x00")
    body = {"queue": steps.queue, "event_ids": ["id\ufffd"], "reason": "forged"}
    assert (await steps.call("POST", f"{DEAD_LETTERS}/discard", body)).json() == {"messages": 1}
    (record,) = await steps.recorded()
    assert (record.act.object_id, record.act.before) == (
        "id\ufffd",
        {"queue": steps.queue, "type": "unknown", "reason": "x\ufffd"},
    )


HOSTILE_BODIES = (b'"\\ud800"', b"[" * 240 + b"]" * 240, b"[" * 3000, b"1e400", b"NaN", b"9" * 5000, b"\xff\x00")


@pytest.mark.parametrize("body", HOSTILE_BODIES, ids=range(len(HOSTILE_BODIES)))
async def test_a_body_that_cannot_be_answered_as_json_comes_as_text(steps: Steps, body: bytes) -> None:
    await steps.unreadable("id", body=body)
    answer = await steps.call("GET", f"{DEAD_LETTERS}/message?queue={steps.queue}&event_id=id")
    assert (answer.status_code, answer.json()["body"]) == (200, body.decode("utf-8", "backslashreplace"))


async def test_ids_that_are_too_long_are_replaced(steps: Steps) -> None:
    event = to_message(paid("x" * 301))
    await steps.publish(event)
    listed = (await steps.call("GET", f"{DEAD_LETTERS}?queue={steps.queue}")).json()["items"]
    assert [each["event_id"][:8] for each in listed] == ["unknown-"]
    body = {"queue": steps.queue, "event_ids": [each["event_id"] for each in listed], "reason": "forged"}
    assert (await steps.call("POST", f"{DEAD_LETTERS}/discard", body)).json() == {"messages": 1}


async def test_messages_are_counted_not_ids(steps: Steps) -> None:
    await steps.dead_letter(*["evt_1"] * (MOST_DISCARDED + 2))
    body = {"queue": steps.queue, "event_ids": ["evt_1"], "reason": "forged"}
    answers = [(await steps.call("POST", f"{DEAD_LETTERS}/discard", body)).json() for _ in range(2)]
    assert answers == [{"messages": MOST_DISCARDED}, {"messages": 2}]


async def test_who_reads_while_others_read_finds_the_same(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    await steps.dead_letter(*(f"evt_{number}" for number in range(50)))
    path = f"{DEAD_LETTERS}/message?queue={steps.queue}&event_id=evt_49"
    answers = await asyncio.gather(*(steps.call("GET", path) for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    monkeypatch.setattr("webhook_gateway.admin_context.WAIT_SECONDS", 0.0)
    answers = await asyncio.gather(*(steps.call("GET", path) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 503, 503, 503, 503]
    busy = next(answer for answer in answers if answer.status_code == 503)
    assert (busy.json()["code"], busy.headers["Retry-After"]) == ("queue_in_use", "5")


async def test_nobody_acts_in_the_name_of_someone_else(steps: Steps) -> None:
    await steps.dead_letter("evt_1")
    for forged in ({"operator": "someone"}, {"actor": {"id": str(uuid4()), "role": "admin"}}, {"vouch": True}):
        body = {"queue": steps.queue, "all": True, **forged}
        assert (await steps.call("POST", f"{DEAD_LETTERS}/replay", body)).status_code == 422
        body = {"since": NOW.isoformat(), **forged}
        assert (await steps.call("POST", "/api/admin/replays", body)).status_code == 422
    assert await dead(steps.broker, steps.queue) == ["evt_1"]
    assert await steps.recorded() == []


async def test_only_queues_with_consumers_of_ours_can_be_named(steps: Steps) -> None:
    for queue in ("webhook-gateway.spill", f"{steps.queue}.dead", "", "a" * 201, "../x"):
        for path in (f"{DEAD_LETTERS}/replay", f"{DEAD_LETTERS}/discard"):
            body = {"queue": queue, "event_ids": ["evt_1"]} | ({"reason": "x"} if path.endswith("discard") else {})
            assert (await steps.call("POST", path, body)).status_code in (404, 422)


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
