"""What is known of an enrollment: everything that was said of it, by whomever, in an order that does not matter. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal, TypeVar
from uuid import UUID

from contracts.checkout import PurchaseCreated, ReceiptIssued, RefundDecided, RefundRequested
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Event
from contracts.instructor_assignment import InstructorAssigned, InstructorEvent, InstructorUnavailable
from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentSucceeded, SubscriptionChanged
from contracts.people import Contact, Payer, Program
from ledger.enrollments_tmp import Enrollment, enrollments
from ledger.facts import enrollment_key, fold, keys
from ledger.payment import Payment
from ledger.policy import Policy
from ledger.purchase import Purchase, Standing

Naming = PurchaseCreated | EnrollmentEvent | InstructorEvent | MiladyEvent
"""What always names a student and a program."""
_NAMING: tuple[type[Naming], ...] = (PurchaseCreated, EnrollmentEvent, InstructorEvent, MiladyEvent)


What = Literal["enrollment", "enrollments", "membership", "access"]
"""What a student gets, by the word that mails have for it."""


@dataclass(frozen=True)
class Heard:
    """An event, and when its fact happened."""

    id: str
    time: datetime
    data: Event


T = TypeVar("T", bound=Event)


@dataclass(frozen=True)
class Known:
    """All that belongs together."""

    heard: tuple[Heard, ...]

    def of(self, kind: type[T]) -> list[T]:
        """Earliest first; what happened at the same moment in an order that is always the same."""
        ordered = sorted(self.heard, key=lambda heard: (heard.time, heard.id))
        return [heard.data for heard in ordered if isinstance(heard.data, kind)]

    def time_of(self, event: Event) -> datetime:
        return self._times[id(event)]

    def id_of(self, event: Event) -> str:
        return self._ids[id(event)]

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Each student's place in each program."""
        paid = {
            (enrollment.student_id, enrollment.program.slug): enrollment.purchases for enrollment in self._enrollments
        }
        named: list[Naming] = [event for kind in _NAMING for event in self.of(kind)]
        everyone = paid.keys() | {
            (event.student_id, enrollment.slug) for event in named for enrollment in event.program.parts
        }
        return tuple(
            Place(known=self, student_id=student, slug=slug, purchases=paid.get((student, slug), ()))
            for student, slug in sorted(everyone, key=str)
        )

    @cached_property
    def bought(self) -> tuple[Bought, ...]:
        """Each purchase that has a place, in the order of its first one."""
        found: dict[int, tuple[Purchase, list[Place]]] = {}
        for place in self.places:
            for purchase in place.purchases:
                found.setdefault(id(purchase), (purchase, []))[1].append(place)
        return tuple(Bought(purchase=purchase, places=tuple(places)) for purchase, places in found.values())

    def places_of(self, purchase_id: UUID) -> tuple[Place, ...]:
        """What that purchase gives (or is to give, when nothing is known of its payments)."""
        created = {
            (event.student_id, enrollment.slug)
            for event in self.of(PurchaseCreated)
            if event.purchase_id == purchase_id
            for enrollment in event.program.parts
        }
        return tuple(
            place
            for place in self.places
            if (place.student_id, place.slug) in created
            or any(fact.purchase_id == purchase_id for p in place.purchases for fact in p.facts)
        )

    def title_of(self, purchase_id: UUID) -> str | None:
        """What was bought; None while nobody has said."""
        sold = [event.program for event in self.of(PurchaseCreated) if event.purchase_id == purchase_id]
        paid = [event.program for event in self.of(PaymentEvent) if event.purchase_id == purchase_id and event.program]
        return _title([*sold, *paid])

    @cached_property
    def _enrollments(self) -> tuple[Enrollment, ...]:
        return enrollments({heard.id: heard.data for heard in self.heard if isinstance(heard.data, PaymentEvent)})

    # Facts are told apart by identity: two events may say the very same thing.
    @cached_property
    def _times(self) -> dict[int, datetime]:
        return {id(heard.data): heard.time for heard in self.heard}

    @cached_property
    def _ids(self) -> dict[int, str]:
        return {id(heard.data): heard.id for heard in self.heard}


@dataclass(frozen=True, kw_only=True)
class Place:
    """One student in one program."""

    known: Known
    student_id: UUID
    slug: str
    purchases: tuple[Purchase, ...]

    @property
    def key(self) -> str:
        return enrollment_key(self.student_id, self.slug)

    @cached_property
    def program(self) -> Program:
        named = [event.program for kind in _NAMING for event in self._mine(kind)]
        named += [purchase.program for purchase in self.purchases if purchase.program]
        return max(
            (enrollment for program in named for enrollment in program.parts if enrollment.slug == self.slug),
            key=_fullness,
        )

    @property
    def what(self) -> What:
        match self.program.kind:
            case "membership":
                return "membership"
            case "product" | "service":
                return "access"
            case _:
                return "enrollment"

    @property
    def tier(self) -> str | None:
        """Of a membership, by the last word on it."""
        told = [f for p in self.purchases for f in p.facts if isinstance(f, SubscriptionChanged) and f.tier]
        oldest = datetime.min.replace(tzinfo=UTC)
        last = max(told, key=lambda fact: (fact.as_of or oldest, self.when(fact)), default=None)
        return last.tier if last else None

    @cached_property
    def created(self) -> list[PurchaseCreated]:
        return self._mine(PurchaseCreated)

    @cached_property
    def steps(self) -> list[EnrollmentEvent]:
        """What became of the enrollment, by revision: its own order, whatever the clocks say."""
        return sorted(self._mine(EnrollmentEvent), key=lambda step: step.revision)

    @property
    def latest(self) -> EnrollmentEvent | None:
        """The last word on the enrollment."""
        return self.steps[-1] if self.steps else None

    @property
    def is_open(self) -> bool:
        """By enrollment's word. Whether the money says so too is another question: `contradicted`."""
        return isinstance(self.latest, (EnrollmentActivated, EnrollmentResumed, EnrollmentCompleted))

    def standing(self, policy: Policy) -> tuple[Standing, str | None] | None:
        """What the money says of the enrollment, and why. None: nothing that came in is known of."""
        if not any(purchase.settled_payments for purchase in self.purchases):
            return None
        return max((purchase.standing(policy) for purchase in self.purchases), key=lambda judged: judged[0].rank)

    def contradicted(self, policy: Policy) -> bool:
        """Whether the money says otherwise than enrollment's last word: one of the two is still on its way to us, and
        until it comes, nothing is said about how the enrollment stands."""
        judged = self.standing(policy)
        if judged is None:
            return False
        match self.latest:
            case EnrollmentActivated() | EnrollmentResumed():
                return judged[0] is not Standing.ACTIVE
            case EnrollmentCompleted():
                return judged[0] is Standing.WITHDRAWN
            case EnrollmentPaused(reason="past_due" | "plan_canceled" | "membership_paused"):
                return judged[0] is not Standing.PAUSED
            case EnrollmentWithdrawn(reason="refunded" | "dispute_lost" | "canceled" | "membership_ended"):
                return judged[0] is not Standing.WITHDRAWN
            case _:
                return False

    @cached_property
    def past_due(self) -> tuple[Payment, ...]:
        """What was missed for good and is still owed: invoices, and installments with all their attempts."""
        return tuple(payment for purchase in self.purchases for payment in purchase.past_due)

    def would_be_open(self, paid: Collection[Payment], policy: Policy) -> bool:
        """Whether the enrollment would be open if these payments were paid."""
        supposed = {f"supposed/{n}": _supposed(payment, n) for n, payment in enumerate(paid)}
        known = {str(n): fact for n, fact in enumerate(fact for p in self.purchases for fact in p.facts)}
        return any(purchase.standing(policy)[0] is Standing.ACTIVE for purchase in fold(known | supposed))

    @cached_property
    def instructor(self) -> InstructorEvent | None:
        """The last word on who teaches."""
        return max(self._mine(InstructorEvent), key=self.when, default=None)

    @cached_property
    def milady(self) -> MiladyEvent | None:
        """The last word of the course provider."""
        return max(self._mine(MiladyEvent), key=self.when, default=None)

    @property
    def words_are_in(self) -> bool:
        """Whether everybody who has something to say for a welcome has said it."""
        taught = self.program.taught
        instructor = not taught or isinstance(self.instructor, (InstructorAssigned, InstructorUnavailable))
        provider = not self._awaits_provider or isinstance(self.milady, (MiladyEnrolled, MiladyFailed))
        return instructor and provider

    @property
    def _awaits_provider(self) -> bool:
        """The catalog's word is in purchase.created; without it, nobody knows that there is no provider."""
        untold = self.program.provider is None and self.program.taught and not self.created
        return self.program.provider == "milady" or untold

    @cached_property
    def student_contact(self) -> Contact | None:
        """From the student's own payments; a sponsor's address is not the student's."""
        own = [fact for p in self.purchases if self.payer(p) == "student" for fact in p.facts if fact.contact]
        return max(own, key=self.when).contact if own else None

    def created_of(self, purchase: Purchase) -> PurchaseCreated | None:
        named = {fact.purchase_id for fact in purchase.facts if fact.purchase_id}
        return next((created for created in self.created if created.purchase_id in named), None)

    def payer(self, purchase: Purchase) -> Payer:
        created = self.created_of(purchase)
        return "sponsor" if created and created.payer == "sponsor" else purchase.payer

    @property
    def student_name(self) -> str | None:
        return self.student_contact.name if self.student_contact else None

    def who(self, purchase: Purchase) -> dict[str, str | None]:
        """Who pays for whom, for the template: a sponsor pays for many students."""
        return {
            "payer": self.payer(purchase),
            "student": self.student_name,
            "student_id": str(self.student_id),
        }

    def payer_contact(self, purchase: Purchase, payment: Payment | None = None) -> Contact | None:
        if self.payer(purchase) == "student":
            return self.student_contact
        told = [fact for fact in (payment or purchase).facts if fact.contact]
        created = self.created_of(purchase)
        if told:
            return max(told, key=self.when).contact
        return purchase.contact or (created.payer_contact if created else None)

    def _mine(self, kind: type[T]) -> list[T]:
        mine = []
        for event in self.known.of(kind):
            program: Program | None = getattr(event, "program", None)
            slugs = {enrollment.slug for enrollment in program.parts} if program else set()
            if getattr(event, "student_id", None) == self.student_id and self.slug in slugs:
                mine.append(event)
        return mine

    def when(self, event: Event) -> tuple[datetime, str]:
        """For the latest of several: when its fact happened, and among equals always the same one."""
        return self.known.time_of(event), self.known.id_of(event)


@dataclass(frozen=True, kw_only=True)
class Bought:
    """A purchase, and the places that it gives: one, or those of a bundle."""

    purchase: Purchase
    places: tuple[Place, ...]

    @property
    def place(self) -> Place:
        """For what is the same in all of them: who bought it, and who pays."""
        return self.places[0]

    @property
    def title(self) -> str:
        created = self.place.created_of(self.purchase)
        sold = [program for program in (self.purchase.program, created.program if created else None) if program]
        bundles = [program for program in sold if program.includes]
        return (_title(bundles) if bundles else None) or self.place.program.title

    @property
    def what(self) -> What:
        return "enrollments" if len(self.places) > 1 else self.place.what

    def weakest(self, policy: Policy) -> Place:
        """The place that stands worst: what is true of it, is true of all of them at least."""

        def strength(place: Place) -> tuple[int, bool, str]:
            judged = place.standing(policy)
            return judged[0].rank if judged else -1, place.is_open, place.slug

        return min(self.places, key=strength)


def _title(named: Collection[Program]) -> str | None:
    return max(named, key=_fullness).title if named else None


def _fullness(program: Program) -> tuple[int, str]:
    return len(program.model_dump(exclude_none=True)), program.model_dump_json()


def _supposed(payment: Payment, number: int) -> PaymentSucceeded:
    """As if this were paid."""
    named = [fact.refs.installment for fact in payment.facts if fact.refs.installment]
    refs = payment.facts[0].refs.model_copy(
        update={"manual": f"supposed/{number}", "installment": min(named, default=None)}
    )
    purchase = next((fact.purchase_id for fact in payment.facts if fact.purchase_id), None)
    return PaymentSucceeded(refs=refs, purchase_id=purchase, amount=Money(amount=1, currency="usd"))


def keys_of(event: Event) -> frozenset[str]:
    """What this event has in common with others."""
    match event:
        case PaymentEvent():
            return keys(event)
        case PurchaseCreated():
            enrollments = {enrollment_key(event.student_id, enrollment.slug) for enrollment in event.program.parts}
            return frozenset(enrollments | {f"purchase:{event.purchase_id}"})
        case ReceiptIssued():
            return event.refs.of_payment() | {f"purchase:{event.purchase_id}"}
        case RefundRequested() | RefundDecided():
            return frozenset((f"purchase:{event.purchase_id}",))
        case EnrollmentEvent() | InstructorEvent() | MiladyEvent():
            return frozenset((enrollment_key(event.student_id, event.program.slug),))
        case _:
            return frozenset()


def names_a_contact(event: Event) -> bool:
    """Whether the event says where somebody can be reached."""
    return any(getattr(event, name, None) for name in ("contact", "payer_contact"))
