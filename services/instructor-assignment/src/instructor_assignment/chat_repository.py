"""Questions and answers in the database, as the student who has asked sees them.

An answer is inserted before it is written, with the tokens that it can use at most. The limits are compared after that.
A student has one answer in progress (a unique index), and the row of the day's tokens, which a trigger counts, is
locked until the transaction ends. So parallel requests, of several processes too, cannot exceed a limit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from instructor_assignment.chat_message import AnsweredBy, ChatMessage, Role, State
from instructor_assignment.settings import ANSWER_SECONDS
from instructor_assignment.tables import chat_messages as messages
from instructor_assignment.tables import chat_usage
from kit.db.database import row_dict
from kit.messaging.retention import Expiry

ABANDONED = timedelta(seconds=ANSWER_SECONDS + 60)
"""An answer that is not stored by then never will be: its process has died."""
_IS_ABANDONED = and_(messages.c.state == State.ANSWERING, messages.c.created_at < func.now() - ABANDONED)


@dataclass(frozen=True, kw_only=True)
class Used:
    """What was asked and used on a day, including an answer in progress."""

    questions: int
    tokens: int
    school_tokens: int


def chat_expiries(keep: timedelta) -> Sequence[Expiry]:
    """`keep`: messages, and the tokens of each day."""
    return [
        Expiry(
            table="chat_messages",
            column="created_at",
            keep=ABANDONED,
            condition="state = 'answering'",
            ending="UPDATE chat_messages SET state = 'incomplete'",
        ),
        Expiry(table="chat_messages", column="created_at", keep=keep),
        Expiry(table="chat_usage", column="day", keep=keep),
    ]


# Any in the return types: SQLAlchemy has no type for the rows of a whole table; the response models check them.
def readable(assignment_id: UUID) -> Select[Any]:
    """The messages of a conversation."""
    state = case((_IS_ABANDONED, State.INCOMPLETE.value), else_=messages.c.state).label("state")
    others = (column for column in messages.c if column.name != "state")
    return select(*others, state).where(messages.c.assignment_id == assignment_id)


async def history(db: AsyncConnection, assignment_id: UUID, most: int) -> Sequence[ChatMessage]:
    """The latest messages that have a text, oldest first."""
    latest = readable(assignment_id).where(messages.c.text != "", messages.c.state != State.ANSWERING)
    rows = await db.execute(latest.order_by(messages.c.created_at.desc(), messages.c.id).limit(most))
    return [_message(row) for row in rows][::-1]


async def find(db: AsyncConnection, message_id: UUID) -> ChatMessage | None:
    row = (await db.execute(select(messages).where(messages.c.id == message_id))).one_or_none()
    return _message(row) if row is not None else None


async def find_answer(db: AsyncConnection, question: ChatMessage) -> ChatMessage:
    found = readable(question.assignment_id).where(messages.c.question_id == question.id)
    return _message((await db.execute(found)).one())


async def end_abandoned(db: AsyncConnection, student_id: UUID) -> None:
    """Their tokens count as used."""
    ended = update(messages).where(messages.c.student_id == student_id, _IS_ABANDONED)
    await db.execute(ended.values(state=State.INCOMPLETE))


async def add_question(
    db: AsyncConnection, id: UUID, *, assignment_id: UUID, student_id: UUID, text: str
) -> ChatMessage | None:
    """None if there is one with this id."""
    return await _add(
        db,
        id=id,
        assignment_id=assignment_id,
        student_id=student_id,
        role=Role.STUDENT,
        text=text,
        state=State.COMPLETE,
    )


async def add_answer(
    db: AsyncConnection, question: ChatMessage, *, student_id: UUID, answered_by: AnsweredBy, tokens: int
) -> ChatMessage | None:
    """An empty one, to be written. `tokens`: those that it can use at most. None if the student waits for another."""
    return await _add(
        db,
        assignment_id=question.assignment_id,
        student_id=student_id,
        role=Role.INSTRUCTOR,
        text="",
        state=State.ANSWERING,
        tokens=tokens,
        question_id=question.id,
        answered_by=answered_by,
    )


async def store_answer(
    db: AsyncConnection, answer: ChatMessage, *, text: str, state: State, tokens: int
) -> ChatMessage:
    """Of an answer that was erased meanwhile, nothing is stored."""
    stored = update(messages).where(messages.c.id == answer.id, messages.c.state == State.ANSWERING)
    await db.execute(stored.values(text=text, state=state, tokens=tokens))
    return answer.model_copy(update={"text": text, "state": state, "tokens": tokens})


async def used(db: AsyncConnection, student_id: UUID, at: datetime) -> Used:
    """On the day of `at`, by the student and by all. Failed answers count as no question."""
    day = day_of(at)
    mine = select(
        func.count().filter(messages.c.state != State.FAILED), func.coalesce(func.sum(messages.c.tokens), 0)
    ).where(
        messages.c.student_id == student_id,
        messages.c.role == Role.INSTRUCTOR,
        and_(messages.c.created_at >= day, messages.c.created_at < day + timedelta(days=1)),
    )
    questions, tokens = (await db.execute(mine)).one()
    school = await db.scalar(select(chat_usage.c.tokens).where(chat_usage.c.day == day.date()))
    return Used(questions=questions, tokens=tokens, school_tokens=school or 0)


def day_of(at: datetime) -> datetime:
    """Its begin."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def _add(db: AsyncConnection, **values: Any) -> ChatMessage | None:
    added = insert(messages).values(**values).on_conflict_do_nothing().returning(messages)
    row = (await db.execute(added)).one_or_none()
    return _message(row) if row is not None else None


def _message(row: Any) -> ChatMessage:
    return ChatMessage.model_validate(row_dict(row))
