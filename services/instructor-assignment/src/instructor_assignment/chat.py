"""The chat of students with their instructors: a question is stored, then answered, and the answer is stored.

A language model is sent what `prompt` says, and nothing else; without one, `tutor` answers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4, uuid5

from sqlalchemy.ext.asyncio import AsyncConnection

from instructor_assignment import chat_repository, program_texts, prompt, tutor
from instructor_assignment.answer import Answer, Store, Written
from instructor_assignment.chat_message import AnsweredBy, ChatMessage, Role, State
from instructor_assignment.chat_repository import Used
from instructor_assignment.completions import Completions, Delta
from instructor_assignment.domain import Status
from instructor_assignment.problems import (
    ANSWER_IN_PROGRESS,
    NO_CURRENT_INSTRUCTOR,
    QUESTION_LIMIT_REACHED,
    QUESTION_TOO_LONG,
    SCHOOL_TOKEN_LIMIT_REACHED,
    TOKEN_LIMIT_REACHED,
)
from instructor_assignment.prompt import Teacher, Turn
from instructor_assignment.settings import ApiSettings
from instructor_assignment.student_assignment import StudentAssignment, own_assignment
from kit.db.database import Database
from kit.http.auth import Caller
from kit.http.erasure import refuse_erased
from kit.http.problems import IDEMPOTENCY_KEY_REUSED, REQUEST_IN_PROGRESS


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question with its answer: one that is being written, or one that is stored already."""

    question: ChatMessage
    answer: Answer | ChatMessage


class Chat:
    def __init__(self, database: Database, settings: ApiSettings) -> None:
        """Raises ValueError if the texts cannot be read."""
        self._database = database
        self._settings = settings
        self._completions = Completions(settings) if settings.chat_api_base is not None else None
        self._texts = program_texts.load(settings.chat_texts_file)

    async def close(self) -> None:
        if self._completions is not None:
            await self._completions.close()

    @property
    def answered_by(self) -> AnsweredBy:
        return AnsweredBy.TUTOR if self._completions is None else AnsweredBy.MODEL

    async def ask(self, caller: Caller, assignment_id: UUID, text: str, key: str | None) -> Asked:
        """Stores the question, and begins to answer it. `key`: the same question is not asked twice."""
        longest = self._settings.chat_question_characters
        if len(text) > longest:
            raise QUESTION_TOO_LONG(longest=longest)
        question_id = uuid5(caller.id, f"chat/{key}") if key is not None else uuid4()
        async with self._database.transaction_of(student_id=caller.id, role=caller.role) as db:
            await refuse_erased(db, caller.id)
            assignment = await own_assignment(db, assignment_id, caller.id)
            if (question := await chat_repository.find(db, question_id)) is not None:
                return await _repeated(db, question, assignment_id, text)
            if assignment.status != Status.ASSIGNED or assignment.instructor is None:
                raise NO_CURRENT_INSTRUCTOR()
            turns = await self._prompt(db, assignment, text)
            await chat_repository.end_abandoned(db, caller.id)
            question = await chat_repository.add_question(
                db, question_id, assignment_id=assignment_id, student_id=caller.id, text=text
            )
            if question is None:
                raise REQUEST_IN_PROGRESS()
            answer = await self._reserve(db, question, caller.id, turns)
        store = self._store(caller, answer)
        return Asked(
            question=question,
            answer=Answer(
                self._deltas(assignment, turns, text), seconds=self._settings.chat_answer_seconds, store=store
            ),
        )

    async def questions_left(self, db: AsyncConnection, student_id: UUID, now: datetime) -> int:
        """Today."""
        used = await chat_repository.used(db, student_id, now)
        return max(0, self._settings.chat_questions_per_day - used.questions)

    async def _prompt(self, db: AsyncConnection, assignment: StudentAssignment, text: str) -> list[Turn]:
        """Of the language model; empty without one."""
        if self._completions is None or assignment.instructor is None:
            return []
        earlier = await chat_repository.history(db, assignment.id, self._settings.chat_history_messages)
        texts = self._texts.get(assignment.program_slug)
        teacher = Teacher(
            name=assignment.instructor.name,
            specialty=assignment.instructor.specialty,
            program=texts.name if texts is not None else assignment.program_name or assignment.program_slug,
        )
        history = [Turn(role="user" if m.role == Role.STUDENT else "assistant", content=m.text) for m in earlier]
        return prompt.prompt(teacher, texts, history, text)

    async def _reserve(
        self, db: AsyncConnection, question: ChatMessage, student_id: UUID, turns: list[Turn]
    ) -> ChatMessage:
        """The answer, empty, with the tokens that it can use at most. Raises Problem 409 and 429."""
        tokens = prompt.most_tokens(turns) + self._settings.chat_answer_tokens if turns else 0
        answer = await chat_repository.add_answer(
            db, question, student_id=student_id, answered_by=self.answered_by, tokens=tokens
        )
        if answer is None:
            raise ANSWER_IN_PROGRESS(headers={"Retry-After": "5"})
        used = await chat_repository.used(db, student_id, answer.created_at)
        tomorrow = chat_repository.day_of(answer.created_at) + timedelta(days=1)
        self._check(used, seconds=int((tomorrow - answer.created_at).total_seconds()) + 1)
        return answer

    def _check(self, used: Used, *, seconds: int) -> None:
        """`seconds`: until another day begins."""
        settings, headers = self._settings, {"Retry-After": str(seconds)}
        if used.questions > settings.chat_questions_per_day:
            raise QUESTION_LIMIT_REACHED(headers=headers)
        if self._completions is None:
            return
        if used.tokens > settings.chat_student_tokens_per_day:
            raise TOKEN_LIMIT_REACHED(headers=headers)
        if used.school_tokens > settings.chat_school_tokens_per_day:
            raise SCHOOL_TOKEN_LIMIT_REACHED(headers=headers)

    async def _deltas(self, assignment: StudentAssignment, turns: list[Turn], text: str) -> AsyncGenerator[Delta]:
        if self._completions is not None:
            async with aclosing(self._completions.stream(turns)) as deltas:
                async for delta in deltas:
                    yield delta
            return
        texts = self._texts.get(assignment.program_slug)
        found = tutor.answer(texts, text, contact=self._settings.support_email)
        yield Delta(text=found, tokens=0, complete=True)

    def _store(self, caller: Caller, answer: ChatMessage) -> Store:
        async def store(written: Written) -> ChatMessage:
            tokens = answer.tokens if written.tokens is None else written.tokens
            async with self._database.transaction_of(student_id=caller.id, role=caller.role) as db:
                return await chat_repository.store_answer(
                    db, answer, text=written.text, state=written.state, tokens=tokens
                )

        return store


async def _repeated(db: AsyncConnection, question: ChatMessage, assignment_id: UUID, text: str) -> Asked:
    """The answer to the first request with this key."""
    if (question.assignment_id, question.text) != (assignment_id, text):
        raise IDEMPOTENCY_KEY_REUSED()
    answer = await chat_repository.find_answer(db, question)
    if answer.state == State.ANSWERING:
        raise REQUEST_IN_PROGRESS()
    return Asked(question=question, answer=answer)
