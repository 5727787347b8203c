"""What a language model is sent: the instructor's name and specialty, the program's own texts, and the conversation.

Nothing else is known here: no name, mail address or id of the student, and nothing of other students. So a question
that makes the model reveal its prompt reveals what the student could read anyway. Mail addresses, ids and numbers as
long as a telephone number are masked in what the student has typed. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from instructor_assignment.program_texts import ProgramTexts

_MAIL = re.compile(r"[^\s@<>()\[\],;:\"]{1,64}@[^\s@<>()\[\],;:\"]{1,190}\.[^\W\d_]{2,24}")
_UUID = re.compile(r"\b[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b", re.IGNORECASE)
_NUMBER = re.compile(r"(?<!\w)[+(]{0,2}\d(?:[\s()./\u2010-\u2015\u00a0-]{0,3}\d){6,24}(?!\w)")
_RULES = (
    "You are {name}, the instructor of the program {program}{specialty}. You help a student to study for this program. "
    "Answer briefly, in the language of the question, as plain text without Markdown, HTML or links. Rely on the texts "
    "below. Of dates, fees, payments and the student's own records that they do not contain, say that you do not know "
    "them and that the school's office does. Answer only what has to do with the program. "
    "Never ask for personal data, and do not claim to be a human."
)

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One message of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Who answers. `program`: the name of the program."""

    name: str
    specialty: str | None
    program: str


def prompt(teacher: Teacher, texts: ProgramTexts | None, history: Sequence[Turn], question: str) -> list[Turn]:
    """`history`: the earlier messages, oldest first."""
    specialty = f" ({teacher.specialty})" if teacher.specialty else ""
    rules = _RULES.format(name=teacher.name, program=teacher.program, specialty=specialty)
    topics = "\n\n".join(f"{topic.title}\n{topic.text}" for topic in texts.topics) if texts is not None else ""
    system = f"{rules}\n\nThe program's texts:\n\n{topics or '(none)'}"
    asked = [Turn(role=turn.role, content=masked(turn.content)) for turn in history]
    return [Turn(role="system", content=system), *asked, Turn(role="user", content=masked(question))]


def masked(text: str) -> str:
    """Without mail addresses, ids, and numbers of seven digits or more: of telephones, cards and social security."""
    text = _MAIL.sub("[mail address removed]", text)
    text = _UUID.sub("[id removed]", text)
    return _NUMBER.sub("[number removed]", text)


def most_tokens(turns: Sequence[Turn]) -> int:
    """At least as many tokens as the prompt can have: a token is one byte or more. Each turn has some of its own."""
    return sum(len(turn.content.encode()) + 16 for turn in turns)
