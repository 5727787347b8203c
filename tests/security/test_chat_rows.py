"""What a stolen password of an API reads and changes in the chat of students."""

from __future__ import annotations

from uuid import UUID, uuid4

import asyncpg
from tests.security.databases import DENIED, Attempt, connected

from testkit.postgres_server import Database

_ASSIGNMENT = """
    INSERT INTO ai_instructor_assignments
        (id, student_id, program_slug, program_id, desired_status, status, instructor_id)
    SELECT $1, $1, $2, 'p', 'assigned', 'assigned', id FROM ai_instructors ORDER BY id LIMIT 1
"""
_MESSAGE = """
    INSERT INTO chat_messages (id, assignment_id, student_id, role, text, state, question_id, answered_by, tokens)
    VALUES ($1, $2, $2, $3, 'private', $4, $5, $6, $7)
"""


async def a_conversation(database: Database, *, state: str = "complete") -> UUID:
    """The student, whose id all have but the answer."""
    student = uuid4()
    async with connected(database, "worker") as worker:
        await worker.execute(_ASSIGNMENT, student, student.hex)
        await worker.execute(_MESSAGE, student, student, "student", "complete", None, None, 0)
        await worker.execute(_MESSAGE, uuid4(), student, "instructor", state, student, "model", 100)
    return student


async def test_a_students_login_reads_its_own_conversation_with_any_setting(databases: dict[str, Database]) -> None:
    database = databases["instructor_assignment"]
    mine, other = await a_conversation(database), await a_conversation(database)
    async with connected(database, "api") as api:
        for role in ("admin", "case_manager", "student"):
            assert await Attempt(api, role=role).rows("SELECT text FROM chat_messages") == []
            rows = await Attempt(api, role=role, student_id=str(mine)).rows("SELECT student_id FROM chat_messages")
            assert {row["student_id"] for row in rows} == {mine}, role
    async with connected(database, "staff") as staff:
        for role, seen in (("admin", {mine, other}), ("case_manager", set()), ("specialist", set())):
            rows = await Attempt(staff, role=role).rows("SELECT student_id FROM chat_messages")
            assert {row["student_id"] for row in rows} & {mine, other} == seen, role


async def test_it_writes_into_no_other_conversation(databases: dict[str, Database]) -> None:
    database = databases["instructor_assignment"]
    mine, other = await a_conversation(database), await a_conversation(database)
    insert = (
        "INSERT INTO chat_messages (assignment_id, student_id, role, text, state) "
        "VALUES ($1, $2, 'student', 'x', 'complete')"
    )
    async with connected(database, "api") as api:
        me = Attempt(api, role="admin", student_id=str(mine))
        assert await me.error(insert, mine, mine) is None
        assert await me.error(insert, other, other) == DENIED
        assert await me.error(insert, other, mine) == DENIED, "of another student's assignment"
        async with connected(database, "worker") as worker:
            released = "UPDATE ai_instructor_assignments SET status = 'released', instructor_id = NULL WHERE id = $1"
            await worker.execute(released, mine)
        assert await me.error(insert, mine, mine) == DENIED, "of a released assignment"


async def test_what_is_answered_stays_as_it_is(databases: dict[str, Database]) -> None:
    database = databases["instructor_assignment"]
    done, open_ = await a_conversation(database), await a_conversation(database, state="answering")
    changed = "UPDATE chat_messages SET text = 'x', state = 'complete', tokens = 1 RETURNING id"
    async with connected(database, "api") as api:
        assert await Attempt(api, student_id=str(done)).rows(changed) == []
        assert len(await Attempt(api, student_id=str(open_)).rows(changed)) == 1
        for sql in (
            "DELETE FROM chat_messages",
            "UPDATE chat_messages SET created_at = now() - interval '1 day'",
            "UPDATE chat_messages SET student_id = gen_random_uuid()",
            "INSERT INTO chat_messages (assignment_id, student_id, role, text, state, created_at) "
            f"VALUES ('{open_}', '{open_}', 'student', 'x', 'complete', now() - interval '1 day')",
            "UPDATE chat_usage SET tokens = 0",
            "DELETE FROM chat_usage",
            "INSERT INTO chat_usage VALUES (current_date + 1, -1000000)",
        ):
            assert await Attempt(api, role="admin", student_id=str(open_)).error(sql) == DENIED, sql
    async with connected(database, "staff") as staff:
        for sql in ("UPDATE chat_usage SET tokens = 0", "DELETE FROM chat_messages"):
            assert await Attempt(staff, role="admin").error(sql) == DENIED, sql


async def test_tokens_are_counted_for_each_login(databases: dict[str, Database]) -> None:
    database = databases["instructor_assignment"]
    used = "SELECT coalesce(sum(tokens), 0) FROM chat_usage"
    async with connected(database, "worker") as worker:
        before = await worker.fetchval(used)
        student = await a_conversation(database, state="answering")
        assert await worker.fetchval(used) == before + 100
    async with connected(database, "api") as api, api.transaction():
        await api.execute("SELECT set_config('app.student_id', $1, true)", str(student))
        await api.execute("UPDATE chat_messages SET tokens = 30, state = 'complete'")
    async with connected(database, "worker") as worker:
        assert await worker.fetchval(used) == before + 30
        await worker.execute("DELETE FROM chat_messages WHERE student_id = $1", student)
        assert await worker.fetchval(used) == before + 30, "what was used stays used"


async def test_a_student_has_one_answer_in_progress(databases: dict[str, Database]) -> None:
    database = databases["instructor_assignment"]
    student, question = await a_conversation(database, state="answering"), uuid4()
    async with connected(database, "worker") as worker:
        await worker.execute(_MESSAGE, question, student, "student", "complete", None, None, 0)
        try:
            await worker.execute(_MESSAGE, uuid4(), student, "instructor", "answering", question, "model", 1)
        except asyncpg.UniqueViolationError:
            return
    raise AssertionError("a second answer in progress")
