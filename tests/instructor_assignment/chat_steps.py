"""Steps of tests of the chat."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from tests.instructor_assignment.harness import Service, Student, new_program
from tests.instructor_assignment.model_server import ModelServer
from tests.tokens import bearer

from testkit.postgres_server import Database

STREAM = {"Accept": "text/event-stream"}
LIMITS: dict[str, Any] = {"chat_answer_tokens": 100, "chat_idle_seconds": 5, "chat_answer_seconds": 10}


@asynccontextmanager
async def chatting(database: Database, model: ModelServer | None = None, **settings: Any) -> AsyncIterator[Service]:
    named = {"chat_api_base": model.url, "chat_model": "m-1"} if model is not None else {}
    running = Service(database, **{"bursar_env": "development", **LIMITS, **named, **settings})
    yield running
    await running.app.state.chat.close()
    await running.close()


async def path_of(service: Service, student: Student, *, instructor: bool = True) -> str:
    """The messages of a new assignment of the student."""
    if instructor:
        await service.add(student.program, "Ada", 1000)
    await service.deliver(student.paid())
    assignment = await service.assignment(student)
    assert assignment is not None
    return f"/api/instructors/mine/{assignment['id']}/messages"


async def a_chat(service: Service) -> tuple[Student, str]:
    student = Student(new_program())
    return student, await path_of(service, student)


async def ask(
    service: Service, student: Student, path: str, asked: str = "How do I clean it?", **sent: Any
) -> httpx.Response:
    return await service.call("POST", path, role="student", subject=student.id, json={"text": asked}, **sent)


async def listed(service: Service, student: Student, path: str) -> list[dict[str, Any]]:
    """Oldest first."""
    answer = await service.call("GET", path, role="student", subject=student.id)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items[::-1]


async def school_tokens(service: Service) -> int:
    rows = await service.rows("SELECT tokens FROM chat_usage WHERE day = (now() AT TIME ZONE 'UTC')::date")
    return int(rows[0]["tokens"]) if rows else 0


def events_of(body: str) -> list[tuple[str, Any]]:
    found = []
    for block in filter(None, body.split("\n\n")):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def service_stream(
    service: Service, student: Student, path: str, key: str | None = None, asked: str = "How do I clean it?"
) -> httpx.Response:
    headers = bearer(student.id, "student") | STREAM | ({"Idempotency-Key": key} if key else {})
    return await service.http.post(path, headers=headers, json={"text": asked})
