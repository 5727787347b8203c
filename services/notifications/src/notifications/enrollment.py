"""One student in one program: the ledger's verdict, and what the other services have reported. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar
from uuid import UUID

from contracts.checkout import PurchaseCreated
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentCompleted,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.instructor_assignment import (
    InstructorAssigned,
    InstructorEvent,
    InstructorReleased,
    InstructorUnavailable,
)
from contracts.milady_integration import MiladyEnrolled, MiladyEvent, MiladyFailed
from contracts.money import Money
from contracts.payments import (
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentSucceeded,
    SubscriptionChanged,
)
from contracts.people import Contact, Payer, Program
from ledger.facts import enrollment_key
from ledger.payment import LATEST, Payment
from ledger.programs import fullest, fullest_part
from ledger.purchase import Purchase
from ledger.standing import Standing
from ledger.verdict import SUPERSEDED, Verdict, verdicts

if TYPE_CHECKING:
    from notifications.student_facts import StudentFacts

ItemNoun = Literal["enrollment", "enrollments", "membership", "access", "order"]
"""What mails call the thing that a student gets."""

NamingEvent = PurchaseCreated | EnrollmentEvent | InstructorEvent | MiladyEvent
ENROLLMENT_EVENTS: tuple[type[NamingEvent], ...] = (PurchaseCreated, EnrollmentEvent, InstructorEvent, MiladyEvent)
"""The events, other than payments, that always name a student and a program."""

RETURNED = "payment_returned"
"""Checkout's code of an installment that is owed again because its payment was taken back: nothing was tried."""

N = TypeVar("N", bound=NamingEvent)


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """`verdict` is None while no payment event names this student and program."""

    facts: StudentFacts
    student_id: UUID
    slug: str
    verdict: Verdict | None

    @property
    def key(self) -> str:
        return enrollment_key(self.student_id, self.slug)

    @cached_property
    def purchases(self) -> tuple[Purchase, ...]:
        """Those that were made for this program; a superseded name has none."""
        found = self.verdict.purchases if self.verdict else self.facts.purchases_without_enrollment
        return tuple(
            purchase
            for purchase in found
            if self.student_id in purchase.named_student_ids
            and purchase.program
            and any(part.slug == self.slug for part in purchase.program.parts)
        )

    @cached_property
    def superseded(self) -> bool:
        """Whether a payment event named it, but it is not what was bought: no mail is about it."""
        if self.verdict is None:
            return self.latest is not None and self.latest.reason == SUPERSEDED
        paid = {fact.purchase_id for purchase in self.verdict.purchases for fact in purchase.facts}
        return not self.purchases and all(each.purchase_id in paid for each in self._events(PurchaseCreated))

    @cached_property
    def program(self) -> Program:
        """The fullest description of it."""
        named = [event.program for kind in ENROLLMENT_EVENTS for event in self._events(kind)]
        bought = [purchase.program for purchase in self.purchases if purchase.program]
        return fullest_part([*named, *bought], self.slug)

    @property
    def noun(self) -> ItemNoun:
        match self.program.kind:
            case "membership":
                return "membership"
            case "product" | "service":
                return "access"
            case "merchandise":
                return "order"
            case _:
                return "enrollment"

    @property
    def tier(self) -> str | None:
        """A membership's latest tier."""
        changes = [f for p in self.purchases for f in p.facts if isinstance(f, SubscriptionChanged) and f.tier]
        oldest = datetime.min.replace(tzinfo=UTC)
        latest = max(changes, key=lambda fact: (fact.as_of or oldest, self.facts.order_of(fact)), default=None)
        return latest.tier if latest else None

    # --- standing -----------------------------------------------------------------------------------------------------

    @cached_property
    def history(self) -> list[EnrollmentEvent]:
        """What enrollment has published, by revision rather than by time."""
        return sorted(self._events(EnrollmentEvent), key=lambda event: event.revision)

    @property
    def latest(self) -> EnrollmentEvent | None:
        return self.history[-1] if self.history else None

    @property
    def is_open(self) -> bool:
        """According to enrollment's latest event; `contradicted` says whether the verdict agrees."""
        return isinstance(self.latest, (EnrollmentActivated, EnrollmentResumed, EnrollmentCompleted))

    @property
    def settled_verdict(self) -> Verdict | None:
        """The verdict, once a payment was received."""
        return self.verdict if self.verdict and self.verdict.opened else None

    def has_standing(self, *standings: Standing) -> bool:
        """Whether a payment was received and the standing is one of these."""
        return self.settled_verdict is not None and self.settled_verdict.standing in standings

    @property
    def contradicted(self) -> bool:
        """Whether the verdict differs from enrollment's latest event. An event is still on its way then, and until it
        arrives, no mail says how the enrollment stands."""
        if self.settled_verdict is None:
            return False
        standing = self.settled_verdict.standing
        match self.latest:
            case EnrollmentActivated() | EnrollmentResumed():
                return standing is not Standing.ACTIVE
            case EnrollmentCompleted():
                return standing is Standing.WITHDRAWN
            case EnrollmentPaused(reason="past_due" | "plan_canceled" | "membership_paused"):
                return standing is not Standing.PAUSED
            case EnrollmentWithdrawn(
                reason="refunded" | "dispute_lost" | "canceled" | "membership_ended" | "superseded"
            ):
                return standing is not Standing.WITHDRAWN
            case _:
                return False

    @cached_property
    def past_due(self) -> tuple[Payment, ...]:
        """Invoices and installments whose last attempt failed, or that were taken back, and that are still owed.

        An installment that was taken back is owed again in another round: it is one of them, not two.
        """
        missing = [payment for purchase in self.purchases for payment in purchase.past_due]
        tried = [payment for payment in missing if not payment.lost and not is_owed_again(payment)]
        lost = [payment for payment in missing if payment.lost and not _shares_installment(payment, tried)]
        rest = (p for p in missing if is_owed_again(p) and not p.lost and not _shares_installment(p, [*tried, *lost]))
        return (*tried, *lost, *rest)

    def would_be_open(self, paid: Collection[Payment]) -> bool:
        """Whether the verdict would be ACTIVE if these payments were received."""
        supposed: dict[str, PaymentEvent] = {f"supposed/{n}": _supposed(each, n) for n, each in enumerate(paid)}
        verdict = verdicts({**self.facts.payments, **supposed}, self.facts.policy).get((self.student_id, self.slug))
        return verdict is not None and verdict.standing is Standing.ACTIVE

    # --- instructor and course provider -------------------------------------------------------------------------------

    @cached_property
    def instructor(self) -> InstructorEvent | None:
        """The latest event about who teaches."""
        return max(self._events(InstructorEvent), key=self._order_of_row, default=None)

    @cached_property
    def milady(self) -> MiladyEvent | None:
        """The latest event of the course provider."""
        return max(self._events(MiladyEvent), key=self._order_of_row, default=None)

    def _order_of_row(self, event: InstructorEvent | MiladyEvent) -> tuple[int, bool, datetime, str]:
        """Sort key: by the row's revision, because its events may have the times of several processes' clocks. Within a
        revision, the former instructor is released first."""
        return event.revision, not isinstance(event, InstructorReleased), *self.facts.order_of(event)

    @property
    def assignments_complete(self) -> bool:
        """Whether the instructor and the course provider, as far as the program has them, are decided."""
        instructor = not self.program.taught or isinstance(self.instructor, (InstructorAssigned, InstructorUnavailable))
        provider = not self._expects_provider or isinstance(self.milady, (MiladyEnrolled, MiladyFailed))
        return instructor and provider

    @property
    def _expects_provider(self) -> bool:
        """purchase.created comes from the catalog; without it, a missing provider may just not have been named."""
        unnamed = self.program.provider is None and self.program.taught and not self._events(PurchaseCreated)
        return self.program.provider == "milady" or unnamed

    # --- people -------------------------------------------------------------------------------------------------------

    @cached_property
    def student_contact(self) -> Contact | None:
        """From the student's own payments; a sponsor's address is not the student's."""
        own = [
            fact
            for purchase in self.purchases
            for fact in self._facts_of(purchase, "student")
            if fact.contact and (len(purchase.student_ids) == 1 or fact.student_id == self.student_id)
        ]
        return max(own, key=self.facts.order_of).contact if own else None

    def _facts_of(self, purchase: Purchase, payer: Payer) -> tuple[PaymentEvent, ...]:
        """What the events say of this payer's payments: all of them, unless there is a co-pay."""
        payers = {self.payer(purchase), *(self.payer(purchase, payment) for payment in purchase.payments)}
        if len(payers) == 1:
            return purchase.facts if payer in payers else ()
        own = (payment for payment in purchase.payments if self.payer(purchase, payment) == payer)
        return tuple(fact for payment in own for fact in payment.facts)

    @property
    def student_name(self) -> str | None:
        return self.student_contact.name if self.student_contact else None

    def payer(self, purchase: Purchase, payment: Payment | None = None) -> Payer:
        """Of the payment, if one is given: a student pays their co-pay."""
        created = self.created_event(purchase)
        payer: Payer = "sponsor" if created and created.payer == "sponsor" else purchase.payer
        return payer if payment is None else payment.payer_of(payer)

    def payer_contact(self, purchase: Purchase, payment: Payment | None = None) -> Contact | None:
        if self.payer(purchase, payment) == "student":
            return self.student_contact
        of_sponsor = self._facts_of(purchase, "sponsor")
        named = [fact for fact in (of_sponsor if payment is None else payment.facts) if fact.contact]
        if named:
            return max(named, key=self.facts.order_of).contact
        created = self.created_event(purchase)
        return fullest(fact.contact for fact in of_sponsor) or (created.payer_contact if created else None)

    def payer_context(self, purchase: Purchase, payment: Payment | None = None) -> dict[str, str | None]:
        """Template variables: a sponsor pays for many students and needs to know which one this is."""
        return {
            "payer": self.payer(purchase, payment),
            "student": self.student_name,
            "student_id": str(self.student_id),
        }

    def created_event(self, purchase: Purchase) -> PurchaseCreated | None:
        ids = {fact.purchase_id for fact in purchase.facts if fact.purchase_id}
        return next((created for created in self._events(PurchaseCreated) if created.purchase_id in ids), None)

    def _events(self, kind: type[N]) -> list[N]:
        """The events that name this student and program, earliest first."""
        return [
            event
            for event in self.facts.of(kind)
            if event.student_id == self.student_id and any(part.slug == self.slug for part in event.program.parts)
        ]


def is_owed_again(payment: Payment) -> bool:
    """Whether it is the round in which an installment is owed again after it was taken back."""
    failed = [fact for fact in payment.facts if isinstance(fact, PaymentFailed) and fact.final]
    return bool(failed) and all(fact.code == RETURNED for fact in failed)


def _shares_installment(payment: Payment, others: Collection[Payment]) -> bool:
    return any(payment.installments & other.installments for other in others)


def _supposed(payment: Payment, number: int) -> PaymentSucceeded:
    """An event as if this payment had been received, with the amount that was last tried."""
    installments = [fact.refs.installment for fact in payment.facts if fact.refs.installment]
    refs = payment.facts[0].refs.model_copy(
        update={"manual": f"supposed/{number}", "installment": min(installments, default=None)}
    )
    if payment.lost:  # what was lost stays lost: another payment makes it good
        rounds = {f"{installment}:supposed" for installment in payment.installments}
        refs = PaymentRefs(manual=refs.manual, installment=min(rounds, default=None))
    attempts = (PaymentFailed, PaymentPending)
    tried = [fact.amount for fact in payment.facts if isinstance(fact, attempts) and fact.amount]
    prices = [fact.price for fact in payment.facts if fact.price]
    lost = [payment.settled] if payment.lost and payment.settled else []
    amount = max(lost or tried or prices, key=lambda money: money.amount, default=Money(amount=1, currency="usd"))
    purchase_id = next((fact.purchase_id for fact in payment.facts if fact.purchase_id), None)
    return PaymentSucceeded(refs=refs, purchase_id=purchase_id, amount=amount, as_of=LATEST)
