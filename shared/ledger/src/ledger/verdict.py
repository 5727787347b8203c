"""The one answer to "what do these facts say of this enrollment?": every service asks here, and nowhere else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from contracts.people import Program, enrollment_uuid
from ledger.facts import Facts, enrollment_key, fold
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.programs import fullest_part
from ledger.purchase import Purchase
from ledger.standing import Standing

SUPERSEDED = "superseded"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the facts say of one student in one program.

    program:   the part of the purchase that this enrollment is for; never a bundle
    purchases: every purchase that names it
    purchase:  the one that decides, because its standing is the best
    standing:  NONE while nobody has paid or begun to
    reason:    why, for any but a plain standing: underpaid, conflicting_students, superseded, refunded, past_due, ...
    """

    student_id: UUID
    program: Program
    purchases: tuple[Purchase, ...]
    purchase: Purchase
    standing: Standing
    reason: str | None

    @cached_property
    def enrollment_id(self) -> UUID:
        return enrollment_uuid(self.student_id, self.program.slug)

    @property
    def key(self) -> str:
        return enrollment_key(self.student_id, self.program.slug)

    @property
    def kind_was_unknown(self) -> bool:
        """Whether some event names the program without its kind, and so as something that is taught."""
        named = [part for purchase in self.purchases for program in purchase.programs for part in program.parts]
        return any(part.kind is None for part in named if part.slug == self.program.slug)

    @property
    def opened(self) -> bool:
        """Whether it was ever paid for, so that a refund that comes before its payment ends as one that comes after."""
        return any(purchase.settled_payments for purchase in self.purchases)


def verdicts(facts: Facts, policy: Policy = DEFAULT_POLICY) -> Mapping[tuple[UUID, str], Verdict]:
    """(student id, program slug) -> verdict, for every such pair that the facts of a purchase ever named.

    A later fact may name another program or another student. The pairs named before keep their entry, so a row that
    was written for one of them is never forgotten:

    - a pair that is not what was bought (an id where another event has the slug, a bundle's own slug beside its parts,
      the student of a declined attempt) is WITHDRAWN, superseded;
    - a purchase that names two students opens nothing: each pair is PENDING, conflicting_students.
    """
    named: dict[tuple[UUID, str], list[Purchase]] = defaultdict(list)
    for purchase in fold(facts):
        parts = [part for program in purchase.programs for part in program.parts]
        slugs = {part.slug for part in parts} - {part.slug for part in parts if not part.enrolls}
        for student_id in purchase.named_student_ids:
            for slug in slugs:
                named[student_id, slug].append(purchase)
    ordered = sorted(named.items(), key=lambda each: (each[0][0].hex, each[0][1]))
    return {pair: _verdict(*pair, purchases, policy) for pair, purchases in ordered}


def _verdict(student_id: UUID, slug: str, purchases: list[Purchase], policy: Policy) -> Verdict:
    judged = [(purchase, *_standing(purchase, student_id, slug, policy)) for purchase in purchases]
    purchase, standing, reason = max(judged, key=lambda each: (each[1].rank, each[2] != SUPERSEDED, each[0].sort_key))
    bought = [each.program for each in purchases if each.program and _is_for(each, student_id, slug)]
    return Verdict(
        student_id=student_id,
        program=fullest_part(bought or [program for each in purchases for program in each.programs], slug),
        purchases=tuple(purchases),
        purchase=purchase,
        standing=standing,
        reason=reason,
    )


def _is_for(purchase: Purchase, student_id: UUID, slug: str) -> bool:
    program = purchase.program
    return (
        student_id in purchase.student_ids and program is not None and any(part.slug == slug for part in program.parts)
    )


def _standing(purchase: Purchase, student_id: UUID, slug: str, policy: Policy) -> tuple[Standing, str | None]:
    if _is_for(purchase, student_id, slug):
        return purchase.standing(policy)
    return (Standing.WITHDRAWN, SUPERSEDED) if purchase.initiated else (Standing.NONE, None)
