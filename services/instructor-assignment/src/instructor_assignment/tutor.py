"""The automatic tutor, for schools without a language model: it finds the program's own texts on a question. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from instructor_assignment.program_texts import ProgramTexts, Topic

MOST_TOPICS = 2
_TITLE_WEIGHT = 2.0
_WORD = re.compile(r"[^\W_]+")
_COMMON_WORDS = """
a about after all also am an and any are as at be been before but by can could did do does for from get give had has
have help how i if in into is it its just know like me more much my need no not of on or our please should so some tell
than that the their them then there these they this to up us use want was we were what when where which who why will
with would you your
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def answer(program: ProgramTexts | None, question: str, *, contact: str) -> str:
    """The best matching texts. If nothing matches, that, and whom to ask. `contact`: the school's address, or empty."""
    found = best_topics(program.topics, question) if program is not None else ()
    if found:
        return "\n\n".join(f"{topic.title}\n{topic.text}" for topic in found)
    ask = f"Please ask the school: {contact}" if contact else "Please ask the school's office."
    if program is None or not program.topics:
        return f"I have no texts about this program. {ask}"
    titles = ", ".join(topic.title for topic in program.topics)
    return f"I found nothing about this in the texts of {program.name}. {ask}\n\nThe texts are about: {titles}."


def best_topics(topics: Sequence[Topic], question: str) -> Sequence[Topic]:
    """Those that share the rarest words with the question, the best first. A second one at least half as good."""
    asked = words(question)
    bodies = [words(topic.text) | words(topic.title) for topic in topics]
    frequency = Counter(word for body in bodies for word in body)

    def score(topic: Topic, body: Iterable[str]) -> float:
        in_title = words(topic.title)
        return sum((_TITLE_WEIGHT if word in in_title else 1.0) / frequency[word] for word in asked & set(body))

    scored = sorted(
        ((score(topic, body), -position) for position, (topic, body) in enumerate(zip(topics, bodies, strict=True))),
        reverse=True,
    )[:MOST_TOPICS]
    best = scored[0][0] if scored else 0.0
    return [topics[-position] for points, position in scored if points > 0 and points >= best / 2]


def words(text: str) -> frozenset[str]:
    """In lower case and without plural endings, except those that any question has."""
    found = (match.lower() for match in _WORD.findall(text))
    return frozenset(_singular(word) for word in found if word not in _COMMON)


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
