"""Temporary: `Enrollment` and `enrollments` until every service asks `ledger.verdict`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from uuid import UUID

from contracts.people import Program
from ledger.facts import Facts, fold
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.purchase import Purchase, Standing, fullest_part


@dataclass(frozen=True)
class Enrollment:
    student_id: UUID
    program: Program
    purchases: tuple[Purchase, ...]

    @property
    def opened(self) -> bool:
        return any(purchase.settled_payments for purchase in self.purchases)

    def decisive(self, policy: Policy = DEFAULT_POLICY) -> tuple[Purchase, Standing, str | None]:
        judged = [(purchase, *purchase.standing(policy)) for purchase in self.purchases]
        return max(judged, key=lambda each: (each[1].rank, each[0].sort_key))


def enrollments(facts: Facts) -> tuple[Enrollment, ...]:
    found: dict[tuple[UUID, str], list[Purchase]] = defaultdict(list)
    for purchase in fold(facts):
        if purchase.student_id and purchase.program:
            for program in purchase.program.parts:
                found[purchase.student_id, program.slug].append(purchase)
    ordered = sorted(found.items(), key=lambda each: (each[0][0].hex, each[0][1]))
    return tuple(
        Enrollment(student, fullest_part([p.program for p in bought if p.program], slug), tuple(bought))
        for (student, slug), bought in ordered
    )
