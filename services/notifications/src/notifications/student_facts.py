"""The events that belong together, in any order of arrival, and what the ledger's verdicts make of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from contracts.checkout import (
    CollectionStopped,
    InstallmentAnnounced,
    PaymentUnmatched,
    PurchaseCreated,
    ReceiptIssued,
    RefundDecided,
    RefundFailed,
    RefundRequested,
)
from contracts.enrollment import EnrollmentEvent
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorEvent
from contracts.milady_integration import MiladyEvent
from contracts.payments import PaymentEvent, PurchaseRecorded
from contracts.people import Program
from ledger.facts import enrollment_key, fold, implied_keys, keys
from ledger.policy import DEFAULT_POLICY, Policy
from ledger.programs import fullness
from ledger.purchase import Purchase
from ledger.verdict import Verdict, verdicts
from notifications.enrollment import ENROLLMENT_EVENTS, Enrollment, ItemNoun

T = TypeVar("T", bound=Event)


@dataclass(frozen=True)
class EventRecord:
    """An event with its id, and the time at which its fact occurred."""

    id: str
    time: datetime
    data: Event


@dataclass(frozen=True)
class StudentFacts:
    """One group of events: those that share a purchase, a payment reference or an enrollment."""

    records: tuple[EventRecord, ...]
    policy: Policy = DEFAULT_POLICY

    def of(self, kind: type[T]) -> list[T]:
        """Earliest first; events of the same time are ordered by id."""
        return [record.data for record in self._ordered if isinstance(record.data, kind)]

    def time_of(self, event: Event) -> datetime:
        return self._records[id(event)].time

    def occurred_at(self, event: PaymentEvent) -> datetime:
        """By the publisher's clock: checkout's may differ from ours in tests."""
        return event.as_of or self.time_of(event)

    def id_of(self, event: Event) -> str:
        return self._records[id(event)].id

    def order_of(self, event: Event) -> tuple[datetime, str]:
        """Sort key: by time, then by id."""
        return self.time_of(event), self.id_of(event)

    @cached_property
    def enrollments(self) -> tuple[Enrollment, ...]:
        """One for each student and item that is bought or named, without superseded ones. (Of an item that gives no
        enrollment, such as merchandise, it has the purchases only.)"""
        named = {
            (event.student_id, part.slug)
            for kind in ENROLLMENT_EVENTS
            for event in self.of(kind)
            for part in event.program.parts
        } | {
            (student_id, part.slug)
            for purchase in self.purchases_without_enrollment
            for student_id in purchase.named_student_ids
            for program in purchase.programs
            for part in program.parts
            if not part.enrolls
        }
        found = (
            Enrollment(facts=self, student_id=student_id, slug=slug, verdict=self.verdicts.get((student_id, slug)))
            for student_id, slug in sorted(self.verdicts.keys() | named, key=str)
        )
        return tuple(enrollment for enrollment in found if not enrollment.superseded)

    @cached_property
    def purchases(self) -> tuple[PurchaseFacts, ...]:
        """Each purchase of an item, in the order of its first enrollment."""
        found: dict[str, tuple[Purchase, list[Enrollment]]] = {}
        for enrollment in self.enrollments:
            for purchase in enrollment.purchases:
                found.setdefault(purchase.sort_key, (purchase, []))[1].append(enrollment)
        return tuple(PurchaseFacts(purchase, _given_by(enrollments)) for purchase, enrollments in found.values())

    @cached_property
    def purchases_without_enrollment(self) -> tuple[Purchase, ...]:
        """Those with an item that gives no enrollment; no verdict has them."""
        if all(part.enrolls for fact in self.payments.values() if fact.program for part in fact.program.parts):
            return ()  # nearly always
        found = fold(self.payments)
        return tuple(p for p in found if p.program and any(not part.enrolls for part in p.program.parts))

    def enrollments_of(self, purchase_id: UUID) -> tuple[Enrollment, ...]:
        """What this purchase gives, or will give if no payment is on record yet."""
        naming: tuple[PurchaseCreated | InstallmentAnnounced, ...]
        naming = (*self.of(PurchaseCreated), *self.of(InstallmentAnnounced))
        created = {
            (event.student_id, part.slug)
            for event in naming
            if event.purchase_id == purchase_id
            for part in event.program.parts
        }
        return tuple(
            enrollment
            for enrollment in self.enrollments
            if (enrollment.student_id, enrollment.slug) in created
            or any(fact.purchase_id == purchase_id for p in enrollment.purchases for fact in p.facts)
        )

    def purchase_of(self, purchase_id: UUID) -> PurchaseFacts | None:
        """None: no payment event of it is on record."""
        for each in self.purchases:
            if any(fact.purchase_id == purchase_id for fact in each.purchase.facts):
                return each
        return None

    def title_of(self, purchase_id: UUID) -> str | None:
        """The name of what was bought; None until an event names it."""
        sold = [event.program for event in self.of(PurchaseCreated) if event.purchase_id == purchase_id]
        paid = [event.program for event in self.of(PaymentEvent) if event.purchase_id == purchase_id and event.program]
        return _title([*sold, *paid])

    @cached_property
    def verdicts(self) -> Mapping[tuple[UUID, str], Verdict]:
        return verdicts(self.payments, self.policy)

    @cached_property
    def payments(self) -> Mapping[str, PaymentEvent]:
        """event id -> payment event"""
        return {record.id: record.data for record in self.records if isinstance(record.data, PaymentEvent)}

    @cached_property
    def _ordered(self) -> Sequence[EventRecord]:
        return sorted(self.records, key=lambda record: (record.time, record.id))

    @cached_property
    def _records(self) -> dict[int, EventRecord]:
        """By the identity of the event: two events may have equal content."""
        return {id(record.data): record for record in self.records}


@dataclass(frozen=True)
class PurchaseFacts:
    """A purchase and the enrollments that it gives: one, or those of a bundle's parts. (Of merchandise, which gives
    none, one with the purchase only.)"""

    purchase: Purchase
    enrollments: tuple[Enrollment, ...]

    @property
    def enrollment(self) -> Enrollment:
        """The first one, for what all of them have in common: the student and the payer."""
        return self.enrollments[0]

    @property
    def key(self) -> str:
        """Under which its facts are found."""
        return f"purchase:{self.purchase.id}" if self.purchase.id else self.enrollment.key

    @property
    def title(self) -> str:
        created = self.enrollment.created_event(self.purchase)
        sold = [program for program in (self.purchase.program, created.program if created else None) if program]
        bundles = [program for program in sold if program.includes]
        return _title(bundles) or self.enrollment.program.title

    @property
    def pay_link(self) -> str | None:
        """Where it can be paid for as long as something is owed; None if it was not started by us."""
        created = self.enrollment.created_event(self.purchase)
        return created.checkout_url if created else None

    @property
    def paid_up(self) -> bool:
        """Nothing is owed any more, however many payments it took."""
        price, purchase = self.purchase.price, self.purchase
        if price is None or not purchase.settled_payments or self.noun == "membership":
            return False
        return purchase.value >= price.amount

    @property
    def noun(self) -> ItemNoun:
        parts = {enrollment.slug for enrollment in self.enrollments}
        return "enrollments" if len(parts) > 1 else self.enrollment.noun

    @property
    def weakest(self) -> Enrollment:
        """The enrollment with the lowest standing: what a mail promises about it holds for all of them."""

        def strength(enrollment: Enrollment) -> tuple[int, bool, str]:
            verdict = enrollment.settled_verdict
            return verdict.standing.rank if verdict else -1, enrollment.is_open, enrollment.slug

        return min(self.enrollments, key=strength)


def _given_by(enrollments: Sequence[Enrollment]) -> tuple[Enrollment, ...]:
    """Without items that give no enrollment, unless there are no others."""
    return tuple(each for each in enrollments if each.program.enrolls) or tuple(enrollments)


def _title(programs: Collection[Program]) -> str | None:
    return max(programs, key=fullness).title if programs else None


def keys_of(event: Event) -> frozenset[str]:
    """Events that share one of these keys belong together."""
    match event:
        case PaymentEvent():
            return keys(event)
        case PurchaseCreated() | InstallmentAnnounced():
            parts = (part for part in event.program.parts if part.enrolls)
            enrollments = {enrollment_key(event.student_id, part.slug) for part in parts}
            return frozenset(enrollments | {f"purchase:{event.purchase_id}"})
        case ReceiptIssued():
            return event.refs.of_payment() | {f"purchase:{event.purchase_id}"}
        case RefundRequested() | RefundDecided() | RefundFailed() | CollectionStopped():
            return frozenset((f"purchase:{event.purchase_id}",))
        case PaymentUnmatched():
            return event.refs.of_payment()
        case EnrollmentEvent() | InstructorEvent() | MiladyEvent():
            return frozenset((enrollment_key(event.student_id, event.program.slug),))
        case _:
            return frozenset()


def implied_keys_of(facts: Mapping[str, Event]) -> frozenset[str]:
    """Keys that no single event has: one names the student, another the program."""
    return implied_keys({id: event for id, event in facts.items() if isinstance(event, PaymentEvent)})


def has_contact(event: Event) -> bool:
    """Whether the event contains a contact, or decides whose the contacts in its payment's events are."""
    names = ("contact", "payer_contact")
    return isinstance(event, PurchaseRecorded) or any(getattr(event, name, None) for name in names)
