"""Dead letters in the admin API."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aio_pika
import pytest
from tests.kit.events import paid
from tests.kit.subscriber_steps import dead
from tests.webhook_gateway.admin_steps import ADMIN, DEAD_LETTERS, Steps

from kit.messaging.dead_letters import DeadLetters
from kit.messaging.outbox import to_message
from webhook_gateway.dead_letters_api import MOST_DISCARDED


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


async def test_only_queues_with_consumers_of_ours_can_be_named(steps: Steps) -> None:
    for queue in ("webhook-gateway.spill", f"{steps.queue}.dead", "", "a" * 201, "../x"):
        for path in (f"{DEAD_LETTERS}/replay", f"{DEAD_LETTERS}/discard"):
            body = {"queue": queue, "event_ids": ["evt_1"]} | ({"reason": "x"} if path.endswith("discard") else {})
            assert (await steps.call("POST", path, body)).status_code in (404, 422)
