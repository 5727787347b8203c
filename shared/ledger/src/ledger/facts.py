"""Facts, then standing: what a set of payment events says, in any order of arrival and any number of times.

The facts are the events themselves, keyed by event id. Merging is the union of two such sets, so it is commutative,
associative and idempotent by construction; `fold` reads the union without ever looking at an order of arrival.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol
from uuid import UUID

from contracts.envelope import Event
from contracts.payments import PaymentEvent, PaymentFailed, PaymentPending
from ledger.connected import connected
from ledger.purchase import Purchase

Facts = Mapping[str, PaymentEvent]
"""event id -> event"""

_ENROLLMENT = "enrollment:"


def keys(event: PaymentEvent) -> frozenset[str]:
    """What this event has in common with others of the same enrollment. Events that share a key belong together."""
    found = set(_keys_of_purchase(event))
    if event.student_id and event.program:
        found.update(enrollment_key(event.student_id, part.slug) for part in event.program.parts if part.enrolls)
    return frozenset(found)


def _keys_of_purchase(event: PaymentEvent) -> frozenset[str]:
    found = set(event.refs.of_payment())
    if event.refs.subscription:
        found.add(event.refs.subscription)
    if event.purchase_id:
        found.add(f"purchase:{event.purchase_id}")
    return frozenset(found)


def enrollment_key(student_id: UUID, program_slug: str) -> str:
    """The key under which everything about a student's enrollment in a program meets."""
    return f"{_ENROLLMENT}{student_id}:{program_slug}"


def enrollment_pattern(student_id: str | None, program_slug: str | None) -> str:
    """A pattern for SQL's LIKE: the keys of a student's enrollments, of those in a program, or of one enrollment."""
    escaped = re.sub(r"([%_\\])", r"\\\1", program_slug) if program_slug else "%"
    return f"{_ENROLLMENT}{student_id or '%'}:{escaped}"


class DatedEvent(Protocol):
    """An event with its id and the time at which it occurred."""

    @property
    def id(self) -> str: ...

    @property
    def time(self) -> datetime: ...

    @property
    def data(self) -> Event: ...


ALIKE_KEPT = 20
"""More than a payer's own attempts with one intent: a bank debit, whose submission may be reported after its failure,
is never tried so often."""


def superseded(events: Iterable[DatedEvent], *, keep: int = ALIKE_KEPT) -> frozenset[str]:
    """The ids of the events that need not be kept: failed attempts to pay one intent, which somebody who tries stolen
    cards makes by the thousand.

    Of those that differ in nothing but their charge and their time, the last `keep` are kept, and the one with the
    first charge by name (some names of ours are derived from it). Both are the same in any order of arrival. The
    failure of a bank debit whose submission (PaymentPending) is there is kept as well: without it, the debit would
    look as if it were still to be decided. What is derived from the events that are left is what is derived from all.
    """
    attempts, submitted = list[tuple[DatedEvent, PaymentFailed]](), set[str | None]()
    for each in events:
        if isinstance(each.data, PaymentFailed) and _is_passing(each.data):
            attempts.append((each, each.data))
        elif isinstance(each.data, PaymentPending):
            submitted.add(each.data.refs.charge)
    alike: dict[str, list[tuple[DatedEvent, PaymentFailed]]] = defaultdict(list)
    for each, failed in attempts:
        if failed.refs.charge not in submitted:
            alike[_without_charge(failed)].append((each, failed))
    kept = {each.id for each, _ in attempts} - {each.id for same in alike.values() for each, _ in same}
    for same in alike.values():
        kept.update(each.id for each, _ in sorted(same, key=lambda one: (one[0].time, one[0].id))[-keep:])
        kept.add(min(same, key=lambda one: (one[1].refs.charge or "", one[0].id))[0].id)
    return frozenset(each.id for each, _ in attempts if each.id not in kept)


def _is_passing(failed: PaymentFailed) -> bool:
    return not failed.final and bool(failed.refs.payment_intent and failed.refs.charge)


def _without_charge(failed: PaymentFailed) -> str:
    refs = failed.refs.model_copy(update={"charge": None})
    return failed.model_copy(update={"refs": refs, "as_of": None}).model_dump_json()


def fold(facts: Facts) -> tuple[Purchase, ...]:
    """The purchases that the facts speak of, in a stable order."""
    ordered = [facts[event_id] for event_id in sorted(facts)]
    purchases = (Purchase(part) for part in connected(ordered, _keys_of_purchase))
    return tuple(sorted(purchases, key=lambda purchase: purchase.sort_key))


def implied_keys(facts: Facts) -> frozenset[str]:
    """The enrollments that a purchase names by different events: the student by one, the program by another.

    `keys` cannot see them in a single event; without them, another purchase of the same enrollment stays apart.
    """
    return frozenset(
        enrollment_key(student_id, part.slug)
        for purchase in fold(facts)
        for student_id in purchase.named_student_ids
        for program in purchase.programs
        for part in program.parts
        if part.enrolls
    )
