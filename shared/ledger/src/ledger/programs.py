"""Programs as events describe them: by an id or a slug, with all that is known of them or little."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from contracts.envelope import Model
from contracts.payments import PaymentEvent
from contracts.people import Program

M = TypeVar("M", bound=Model)
T = TypeVar("T")


def programs_of(facts: Iterable[PaymentEvent]) -> tuple[Program, ...]:
    """Each once: thousands of declined attempts name the same one."""
    return tuple(dict.fromkeys(fact.program for fact in facts if fact.program))


def fullness(candidate: Model) -> tuple[int, str]:
    """How much it says; the text breaks ties the same way every time."""
    return len(candidate.model_dump(exclude_none=True)), candidate.model_dump_json()


def fullest(candidates: Iterable[M | None]) -> M | None:
    """The one that says the most."""
    return max((candidate for candidate in candidates if candidate is not None), key=fullness, default=None)


def describe(item: Program, programs: Iterable[Program]) -> Program:
    """The item with all that the programs say of it, field by field; where they differ, the fullest one is right.

    A program that is named by an id only is the one that has both that id and a slug.
    """
    same = [each for each in programs if each.slug == item.slug or (_by_id(each, item) and each.id == item.id)]
    if all(each == item for each in same):
        return item
    ordered = sorted([item, *same], key=lambda each: (not each.id_only, *fullness(each)), reverse=True)
    most_parts = max(ordered, key=lambda each: (len(each.includes), *fullness(each)))
    return ordered[0].model_copy(
        update={
            "name": _first(each.name for each in ordered),
            "provider": _first(each.provider for each in ordered),
            "kind": _first(each.kind for each in ordered),
            "untaught": _first(each.untaught for each in ordered),
            "includes": most_parts.includes,
        }
    )


def described_best(programs: Iterable[Program], others: Iterable[Program]) -> Program | None:
    """The bundle with the most parts, then one named by a slug before one named by an id only, then the one described
    best, with what the others say of it. An event that names fewer parts of a bundle takes none away."""
    all_programs = tuple(others)
    described = [describe(candidate, all_programs) for candidate in programs]
    if len(described) == 1:  # nearly always; the comparison is slow
        return described[0]
    return max(described, key=lambda each: (len(each.includes), not each.id_only, *fullness(each)), default=None)


def fullest_part(programs: Iterable[Program], slug: str) -> Program:
    """One part, with all that the programs say of it. Raises ValueError if none has it."""
    named = [part for program in programs for part in program.parts if part.slug == slug]
    if not named:
        raise ValueError(f"no program has the part {slug!r}")
    return describe(named[0], named)


def _by_id(one: Program, other: Program) -> bool:
    return bool(one.id_only or other.id_only)


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)
