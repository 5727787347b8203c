"""The chat of a student with their instructor, with a language model and with the automatic tutor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from sqlalchemy import text
from structlog.testing import capture_logs
from tests.instructor_assignment.chat_steps import (
    STREAM,
    a_chat,
    ask,
    chatting,
    events_of,
    listed,
    path_of,
    school_tokens,
    service_stream,
)
from tests.instructor_assignment.harness import Service, Student, new_program
from tests.instructor_assignment.model_server import DONE, OK, WHOLE, ModelServer, chunk
from tests.tokens import bearer
from tests.waiting import until

from contracts.people import Program
from instructor_assignment.chat_repository import chat_expiries
from kit.http.protocol import HttpProtocol
from kit.messaging.retention import Retention
from kit.runtime.settings import RetentionSettings
from testkit.postgres_server import Database


async def test_a_question_and_its_answer_are_stored(chat: Service, model: ModelServer) -> None:
    student, path = await a_chat(chat)
    before = await school_tokens(chat)
    answer = await ask(chat, student, path)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    question, reply = answer.json()["question"], answer.json()["answer"]
    assert (question["role"], question["text"], question["answered_by"]) == ("student", "How do I clean it?", None)
    assert reply["text"] == "Clean it, then disinfect it."
    assert (reply["role"], reply["state"], reply["tokens"]) == ("instructor", "complete", 120)
    assert (reply["question_id"], reply["answered_by"]) == (question["id"], "model")
    assert await listed(chat, student, path) == [question, reply]
    assert await school_tokens(chat) == before + 120, "what was reserved and not used is given back"
    headers, sent = model.requests[-1]
    assert headers[":path"] == "/v1/chat/completions" and headers["authorization"] == "Bearer sk-of-the-tests"
    assert (sent["model"], sent["stream"], sent["max_tokens"]) == ("m-1", True, 100)


async def test_an_answer_is_streamed_to_clients_that_accept_it(chat: Service) -> None:
    student, path = await a_chat(chat)
    answer = await service_stream(chat, student, path)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert [name for name, _ in events] == ["question", "delta", "delta", "answer"]
    assert events[1][1] == {"text": "Clean it, "}
    assert [events[0][1], events[-1][1]] == await listed(chat, student, path)


async def test_the_same_key_asks_once(chat: Service, model: ModelServer) -> None:
    student, path = await a_chat(chat)
    first = await ask(chat, student, path, key="k-1")
    again = await ask(chat, student, path, key="k-1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    streamed = await service_stream(chat, student, path, key="k-1")
    assert events_of(streamed.text)[-1] == ("answer", first.json()["answer"])
    assert len(model.requests) == 1 and len(await listed(chat, student, path)) == 2
    other = await ask(chat, student, path, "Another question", key="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    invalid = await ask(chat, student, path, key="k" * 256)
    assert invalid.status_code in (400, 422)
    somebody = Student(student.program)
    assert (
        await ask(chat, somebody, await path_of(chat, somebody, instructor=False), key="k-1")
    ).json() != first.json()


async def test_parallel_requests_with_one_key_ask_once(chat: Service, model: ModelServer) -> None:
    student, path = await a_chat(chat)
    answers = await asyncio.gather(*(ask(chat, student, path, key="k-2") for _ in range(8)))
    assert {each.status_code for each in answers} <= {201, 409}
    assert {each.json()["code"] for each in answers if each.status_code == 409} <= {"request_in_progress"}
    assert len(model.requests) == 1 and len(await listed(chat, student, path)) == 2


async def test_nothing_personal_is_sent_and_what_is_typed_is_masked(chat: Service, model: ModelServer) -> None:
    student, path = await a_chat(chat)
    await ask(chat, student, path, f"I am jo@example.org, call +1 (317) 555-0199. My id is {student.id}. EPA 608?")
    await ask(chat, student, path, "And now?")
    system, *turns = model.sent
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == (
        "I am [mail address removed], call [number removed]. My id is [id removed]. EPA 608?"
    )
    whole = json.dumps([body for _, body in model.requests])
    assignment = await chat.assignment(student)
    assert assignment is not None
    for private in (student.id, assignment["id"], student.purchase_id, assignment["instructor_id"], "jo@", "555-0199"):
        assert str(private) not in whole
    assert "Ada" in system["content"] and system["role"] == "system"
    assert "jo@example.org" in (await listed(chat, student, path))[0]["text"], "the student's own text stays"


async def test_the_latest_messages_are_sent_along(assignment_database: Database, model: ModelServer) -> None:
    async with chatting(assignment_database, model, chat_history_messages=2) as service:
        student, path = await a_chat(service)
        for n in range(3):
            await ask(service, student, path, f"Question {n}")
    assert [turn["content"] for turn in model.sent[1:]] == ["Question 1", "Clean it, then disinfect it.", "Question 2"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "429 Too Many Requests"}, "instructor_busy"),
        ({"status": "500 Internal Server Error"}, "instructor_unavailable"),
        ({"status": "401 Unauthorized"}, "instructor_unavailable"),
        ({"status": "302 Found", "headers": {"Location": "http://127.0.0.1:9/"}}, "instructor_unavailable"),
        ({"content_type": "application/json"}, "instructor_unavailable"),
        ({"parts": (b"data: {no json\n\n",)}, "instructor_unavailable"),
        ({"parts": (b'data: {"choices": [{"delta": {"content": 7}}]}\n\n',)}, "instructor_unavailable"),
        ({"parts": (b"data: " + b"x" * 70_000,)}, "instructor_unavailable"),
        ({"parts": (b": ping\n\n" * 500_000,)}, "instructor_unavailable"),
        ({"parts": (DONE,)}, "instructor_unavailable"),
        ({"parts": (chunk("\x00  "), chunk(finish="stop"), DONE)}, "instructor_unavailable"),
        ({"parts": ()}, "instructor_unavailable"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_model_that_fails_is_a_problem_and_a_failed_answer(
    chat: Service, model: ModelServer, change: dict[str, Any], code: str, streamed: bool
) -> None:
    student, path = await a_chat(chat)
    for name, value in change.items():
        setattr(model, name, value)
    call = service_stream if streamed else ask
    with capture_logs() as logs:
        answer = await call(chat, student, path, key="k")
    assert (answer.status_code, answer.json()["code"]) == (503, code)
    assert answer.headers["content-type"] == "application/problem+json"
    question, reply = await listed(chat, student, path)
    assert (question["state"], reply["state"], reply["text"]) == ("complete", "failed", "")
    refused = "status" in change
    assert (reply["tokens"] == 0) is refused, "what may have been charged stays counted"
    assert "How do I" not in str(logs)
    model.status, model.content_type, model.parts = OK, "text/event-stream", WHOLE
    again = await call(chat, student, path, key="k")
    assert (again.status_code, len(model.requests)) == (503, 1), "not asked again"
    assert (await ask(chat, student, path)).status_code == 201


async def test_a_model_that_is_not_there_costs_nothing(assignment_database: Database, model: ModelServer) -> None:
    async with chatting(assignment_database, model, chat_api_base="http://127.0.0.1:9/v1") as service:
        student, path = await a_chat(service)
        answer = await ask(service, student, path)
        assert (answer.status_code, answer.json()["code"]) == (503, "instructor_unavailable")
        assert (await listed(service, student, path))[-1]["tokens"] == 0


@pytest.mark.parametrize(
    "parts",
    [
        (chunk("Clean it"),),
        (chunk("Clean it"), b"data: broken\n\n"),
        (chunk("Clean it"), chunk(finish="length"), DONE),
        (chunk("Clean it"), asyncio.Event()),
    ],
    ids=["disconnects", "malformed", "at its limit", "silent"],
)
async def test_an_answer_that_is_cut_off_is_stored_as_incomplete(
    assignment_database: Database, model: ModelServer, parts: Any
) -> None:
    model.parts = parts
    async with chatting(assignment_database, model, chat_idle_seconds=0.5) as service:
        student, path = await a_chat(service)
        answer = await ask(service, student, path)
        assert (answer.status_code, answer.json()["answer"]["state"]) == (201, "incomplete")
        assert answer.json()["answer"]["text"] == "Clean it"
        assert answer.json()["answer"]["tokens"] > 100, "all that was reserved, as nobody knows"
        assert (await listed(service, student, path))[-1] == answer.json()["answer"]


async def test_an_answer_that_never_ends_is_ended(assignment_database: Database, model: ModelServer) -> None:
    model.parts = (chunk("word " * 100),) * 50
    async with chatting(assignment_database, model, chat_answer_tokens=16) as service:
        student, path = await a_chat(service)
        answer = (await ask(service, student, path)).json()["answer"]
        assert answer["state"] == "incomplete" and len(answer["text"]) < 1000


@asynccontextmanager
async def served(service: Service) -> AsyncIterator[str]:
    """The API at a port: httpx's transport for apps returns whole answers only."""
    config = uvicorn.Config(service.app, port=0, log_config=None, lifespan="off", http=HttpProtocol, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def test_a_client_that_goes_ends_the_answer_which_is_stored(chat: Service, model: ModelServer) -> None:
    student, path = await a_chat(chat)
    model.parts = (chunk("Clean it, "), asyncio.Event())
    async with served(chat) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        headers = bearer(student.id, "student") | STREAM
        async with client.stream("POST", path, headers=headers, json={"text": "How?"}) as answer:
            parts, received = answer.aiter_text(), ""
            while "Clean it" not in received:  # the first part comes long before the end
                received += await anext(parts)
            second = await ask(chat, student, path, "Meanwhile?")
            assert (second.status_code, second.json()["code"]) == (409, "answer_in_progress")
            assert (await listed(chat, student, path))[-1]["state"] == "answering"

        async def stored() -> bool:
            return bool((await listed(chat, student, path))[-1]["state"] == "incomplete")

        await until(stored, seconds=10)
    assert (await listed(chat, student, path))[-1]["text"] == "Clean it,"
    assert model.disconnected == 1, "the model is not read to its end"
    model.parts = WHOLE
    assert (await ask(chat, student, path)).status_code == 201


async def test_only_the_student_of_the_assignment_gets_there(chat: Service) -> None:
    student, path = await a_chat(chat)
    await ask(chat, student, path)
    other = Student(student.program)
    await path_of(chat, other, instructor=False)
    for who, role, status in ((other.id, "student", 404), (uuid4(), "admin", 403), (student.id, "case_manager", 403)):
        for method, url in (("GET", path), ("POST", path), ("GET", path.removesuffix("/messages"))):
            answer = await chat.call(method, url, role=role, subject=who, json={"text": "Hello"})
            assert answer.status_code == status, (role, method)
            assert "clean it" not in answer.text
    unknown = path.replace(path.split("/")[4], str(uuid4()))
    assert (await ask(chat, student, unknown)).json()["code"] == "unknown_assignment"


async def test_who_waits_or_was_released_reads_and_does_not_write(chat: Service, model: ModelServer) -> None:
    waiting = Student(new_program())
    path = await path_of(chat, waiting, instructor=False)
    refused = await ask(chat, waiting, path)
    assert (refused.status_code, refused.json()["code"]) == (409, "no_current_instructor")
    assert await listed(chat, waiting, path) == [] and not model.requests
    student, path = await a_chat(chat)
    await ask(chat, student, path)
    await chat.deliver(student.refunded())
    assert (await ask(chat, student, path)).json()["code"] == "no_current_instructor"
    assert len(await listed(chat, student, path)) == 2
    view = await chat.call("GET", path.removesuffix("/messages"), role="student", subject=student.id)
    assert (view.json()["can_ask"], view.json()["assignment"]["instructor"]) == (False, None)


async def test_pages_are_newest_first(chat: Service) -> None:
    student, path = await a_chat(chat)
    for n in range(3):
        await ask(chat, student, path, f"Question {n}")
    whole = await listed(chat, student, path)
    first = (await chat.call("GET", f"{path}?limit=4", role="student", subject=student.id)).json()
    rest = (await chat.call("GET", f"{path}?limit=4&cursor={first['next']}", role="student", subject=student.id)).json()
    assert (first["items"] + rest["items"])[::-1] == whole and rest["next"] is None
    assert [each["text"] for each in whole[::2]] == ["Question 0", "Question 1", "Question 2"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"text": "x" * 2001}, 422, "question_too_long"),
        ({"text": "x" * 9000}, 422, "invalid_request"),
        ({"text": "  "}, 422, "invalid_request"),
        ({"text": "a\x00b"}, 422, "invalid_request"),
        ({"text": "a", "role": "instructor"}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
async def test_a_question_that_is_not_valid_is_not_asked(
    chat: Service, model: ModelServer, sent: dict[str, str], status: int, code: str
) -> None:
    student, path = await a_chat(chat)
    answer = await chat.call("POST", path, role="student", subject=student.id, json=sent)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not model.requests and await listed(chat, student, path) == []


async def test_what_is_old_is_deleted(chat: Service) -> None:
    (student, path), (other, others) = await a_chat(chat), await a_chat(chat)
    await ask(chat, student, path)
    await ask(chat, other, others)
    async with chat.database.transaction() as db:
        aged = text("UPDATE chat_messages SET created_at = now() - interval '31 days' WHERE student_id = :student")
        await db.execute(aged, {"student": student.id})
    settings = RetentionSettings(bursar_env="development")
    retention = Retention(chat.database, settings, chat_expiries(timedelta(days=30)))
    await retention.expire()
    assert await listed(chat, student, path) == []
    assert len(await listed(chat, other, others)) == 2


# --- without a language model


async def test_the_tutor_answers_from_the_programs_texts(assignment_database: Database) -> None:
    async with chatting(assignment_database, support_email="help@school.test") as service:
        student = Student(Program(slug="hvac", id=f"hvac-{uuid4().hex[:6]}", name="HVAC"))
        path = await path_of(service, student, instructor=False)
        answer = (await ask(service, student, path, "What is superheat in the refrigeration cycle?")).json()["answer"]
        assert (answer["answered_by"], answer["state"], answer["tokens"]) == ("tutor", "complete", 0)
        assert "Superheat is measured" in answer["text"]
        streamed = events_of((await service_stream(service, student, path, asked="Do pizzas grow on trees?")).text)
        assert "found nothing" in streamed[-1][1]["text"] and "help@school.test" in streamed[-1][1]["text"]
        view = await service.call("GET", path.removesuffix("/messages"), role="student", subject=student.id)
        assert view.json()["answered_by"] == "tutor"


async def test_the_tutor_has_no_limit_of_tokens(assignment_database: Database) -> None:
    async with chatting(assignment_database, chat_school_tokens_per_day=1, chat_student_tokens_per_day=1) as service:
        student, path = await a_chat(service)
        assert (await ask(service, student, path)).status_code == 201
