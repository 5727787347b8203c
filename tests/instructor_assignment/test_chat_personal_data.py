"""A student's messages are in their export, and end with their erasure."""

from __future__ import annotations

import asyncio

from tests.instructor_assignment.chat_steps import a_chat, ask, listed
from tests.instructor_assignment.harness import Service
from tests.instructor_assignment.model_server import WHOLE, ModelServer, chunk
from tests.waiting import until

from instructor_assignment.personal_data import PERSONAL
from kit.personal_data import erased
from kit.personal_data.declaration import Person
from kit.personal_data.erasure import erase


async def erase_student(service: Service, person: Person) -> None:
    """As the relay does it."""
    async with service.database.transaction() as db:
        await erased.lock(db)
        await erased.add(db, person.identifiers)
    async with service.database.transaction() as db:
        await erase(db, PERSONAL, person)


async def test_the_export_has_the_students_own_messages(chat: Service) -> None:
    (student, path), (other, others) = await a_chat(chat), await a_chat(chat)
    await ask(chat, student, path, "My own question")
    await ask(chat, other, others, "Another's question")
    for route, role, who in (
        ("/api/me/export", "student", student.id),
        (f"/api/admin/students/{student.id}/export", "admin", other.id),
    ):
        answer = await chat.call("GET", route, role=role, subject=who)
        rows = answer.json()["tables"]["chat_messages"]
        assert {row["text"] for row in rows} == {"My own question", "Clean it, then disinfect it."}, route
        assert "Another's question" not in answer.text


async def test_an_erasure_deletes_them_and_ends_the_chat(chat: Service, model: ModelServer) -> None:
    (student, path), (other, others) = await a_chat(chat), await a_chat(chat)
    await ask(chat, student, path)
    await ask(chat, other, others)
    await erase_student(chat, Person(id=student.id, identifiers=frozenset({str(student.id)})))
    assert await chat.rows("SELECT id FROM chat_messages WHERE student_id = :id", id=student.id) == []
    refused = await ask(chat, student, path)
    assert (refused.status_code, refused.json()["code"]) == (409, "student_erased")
    assert len(model.requests) == 2 and len(await listed(chat, other, others)) == 2


async def test_an_answer_that_is_written_meanwhile_is_not_stored(chat: Service, model: ModelServer) -> None:
    student, path = await a_chat(chat)
    release = asyncio.Event()
    model.parts = (chunk("About you: "), release, *WHOLE)
    asking = asyncio.create_task(ask(chat, student, path))

    async def asked() -> bool:
        return bool(model.requests)

    await until(asked, seconds=10)
    await erase_student(chat, Person(id=student.id, identifiers=frozenset({str(student.id)})))
    release.set()
    assert (await asking).status_code == 201
    assert await chat.rows("SELECT id FROM chat_messages WHERE student_id = :id", id=student.id) == []
