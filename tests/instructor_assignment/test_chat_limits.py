"""How much students may ask, and one answer at a time."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from tests.instructor_assignment.chat_steps import (
    a_chat,
    ask,
    chatting,
    listed,
    path_of,
    school_tokens,
)
from tests.instructor_assignment.harness import Service, Student, new_program
from tests.instructor_assignment.model_server import DONE, OK, WHOLE, ModelServer, chunk
from tests.waiting import until

from testkit.postgres_server import Database


async def test_a_student_asks_so_many_questions_a_day(assignment_database: Database, model: ModelServer) -> None:
    async with chatting(assignment_database, model, chat_questions_per_day=2) as service:
        student, path = await a_chat(service)
        model.status = "500 Internal Server Error"
        await ask(service, student, path)  # counts as none
        model.status = OK
        assert [(await ask(service, student, path)).status_code for _ in range(3)] == [201, 201, 429]
        refused = await ask(service, student, path)
        assert refused.json()["code"] == "question_limit_reached"
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        assert len(await listed(service, student, path)) == 6, "what is refused is not stored"
        view = await service.call("GET", path.removesuffix("/messages"), role="student", subject=student.id)
        assert (view.json()["questions_left"], view.json()["answered_by"]) == (0, "model")


async def test_a_students_tokens_of_a_day_are_limited_before_the_model_is_asked(
    assignment_database: Database, model: ModelServer
) -> None:
    model.parts = (chunk("x"), chunk(finish="stop"), chunk(total=1500), DONE)
    async with chatting(assignment_database, model, chat_student_tokens_per_day=3500) as service:
        student, path = await a_chat(service)
        assert (await ask(service, student, path)).status_code == 201
        answers = [await ask(service, student, path) for _ in range(2)]
        codes = [each.json().get("code") for each in answers]
        assert codes[-1] == "token_limit_reached"
        assert len(model.requests) == 1 + codes.count(None)


async def test_parallel_students_cannot_exceed_the_limit_of_the_school(
    assignment_database: Database, model: ModelServer
) -> None:
    """On two processes' pools. Each question reserves about 1,000 tokens, and uses 10."""
    release = asyncio.Event()
    model.parts = (chunk("x"), release, chunk(finish="stop"), chunk(total=10), DONE)
    async with chatting(assignment_database, model) as first:
        used = await school_tokens(first)
    limit = used + 5_000
    async with (
        chatting(assignment_database, model, chat_school_tokens_per_day=limit) as first,
        chatting(assignment_database, model, chat_school_tokens_per_day=limit) as second,
    ):
        program = new_program()
        await first.add(program, "Ada", 1000)
        students = [Student(program) for _ in range(16)]
        paths = [await path_of(first, student, instructor=False) for student in students]
        asking = [
            asyncio.create_task(ask((first, second)[n % 2], student, path))
            for n, (student, path) in enumerate(zip(students, paths, strict=True))
        ]

        async def all_but_the_answering() -> bool:
            return sum(task.done() for task in asking) + len(model.requests) == len(students)

        await until(all_but_the_answering, seconds=20)
        reserved = await school_tokens(first)
        assert used < reserved <= limit
        release.set()
        answers = await asyncio.gather(*asking)
        codes = [each.json().get("code") for each in answers]
        let_in = codes.count(None)
        assert 1 <= let_in < len(students) and codes.count("school_token_limit_reached") == len(students) - let_in
        assert await school_tokens(first) == used + 10 * let_in


async def test_parallel_questions_of_a_student_get_one_answer_at_a_time(chat: Service, model: ModelServer) -> None:
    release = asyncio.Event()
    model.parts = (release, *WHOLE)
    student, path = await a_chat(chat)
    asking = [asyncio.create_task(ask(chat, student, path, f"Question {n}")) for n in range(6)]

    async def others_refused() -> bool:
        return sum(task.done() for task in asking) == 5

    await until(others_refused, seconds=20)
    release.set()
    answers = await asyncio.gather(*asking)
    assert sorted(each.status_code for each in answers) == [201, *[409] * 5]
    assert len(model.requests) == 1 and len(await listed(chat, student, path)) == 2


async def test_an_answer_of_a_process_that_died_is_incomplete_and_blocks_nothing(chat: Service) -> None:
    student, path = await a_chat(chat)
    await ask(chat, student, path)
    async with chat.database.transaction() as db:
        died = (
            "UPDATE chat_messages SET state = 'answering', created_at = created_at - interval '1 hour' "
            "WHERE student_id = :student AND role = 'instructor'"
        )
        await db.execute(text(died), {"student": student.id})
    assert "incomplete" in {each["state"] for each in await listed(chat, student, path)}
    assert (await ask(chat, student, path)).status_code == 201
    states = await chat.rows("SELECT state FROM chat_messages WHERE student_id = :id ORDER BY state", id=student.id)
    assert [row["state"] for row in states] == ["complete", "complete", "complete", "incomplete"]
