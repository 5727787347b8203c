"""What a school's services hear: the events of many purchases, as the services publish them, mixed.

Of 20 purchases by card, 14 are plain, 2 follow a decline, 2 are bank debits that settle later, one is refunded in full
and one is lost to a dispute. A payment has three events of the same money (page, intent, charge), as at Stripe.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any
from uuid import UUID, uuid5

from contracts.checkout import PurchaseCreated, ReceiptIssued, StudentUpdated
from contracts.enrollment import EnrollmentActivated, EnrollmentProgressed
from contracts.envelope import Envelope, Event
from contracts.instructor_assignment import Instructor, InstructorAssigned
from contracts.milady_integration import CourseLink, MiladyEnrolled
from contracts.money import usd
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentFailed,
    PaymentMethodDetails,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
)
from contracts.people import Contact, Program, enrollment_uuid
from kit.messaging.topology import Queue

ITEMS = "5f0c0e0a-6a51-4c5e-9a30-0d4b1f6f0a0"
PROGRAMS = (
    (Program(slug="barber-apprenticeship", id=f"{ITEMS}1", name="Barber Apprenticeship", provider="milady"), 489_000),
    (Program(slug="dsp", id=f"{ITEMS}2", name="Direct Support Professional"), 432_500),
    (Program(slug="hvac", id=f"{ITEMS}3", name="HVAC Technician"), 500_000),
    (Program(slug="cpr", id=f"{ITEMS}4", name="CPR Certification"), 57_500),
)
"""Items of checkout's catalog, and their prices."""
NAMESPACE = UUID("b0e7c000-0000-4000-8000-000000000000")
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
WINDOW = 300
"""Events of one purchase arrive among this many of others."""
PDF = base64.b64encode(bytes(range(256)) * 20).decode()


def random_like(name: str) -> UUID:
    """A version 4 UUID, the same for the same name. (Version 5 marks a purchase that was not started here.)"""
    return UUID(bytes=uuid5(NAMESPACE, name).bytes, version=4)


@dataclass(frozen=True)
class History:
    """The `number`-th purchase of a run, and everything that is published about it. `run` makes the ids unique.

    `start`: when the first purchase of the run was made; `apart`: how long after it the next one.
    """

    run: str
    number: int
    start: datetime = START
    apart: timedelta = timedelta(seconds=1)

    def id(self, kind: str) -> UUID:
        return random_like(f"{self.run}/{self.number}/{kind}")

    @cached_property
    def student_id(self) -> UUID:
        return self.id("student")

    @cached_property
    def purchase_id(self) -> UUID:
        return self.id("purchase")

    @property
    def at(self) -> datetime:
        return self.start + self.number * self.apart

    @property
    def program(self) -> Program:
        return PROGRAMS[self.number % len(PROGRAMS)][0]

    @property
    def price(self) -> int:
        return PROGRAMS[self.number % len(PROGRAMS)][1]

    @property
    def contact(self) -> Contact:
        return Contact(email=f"student-{self.number}@example.com", name=f"Student {self.number}")

    def payments(self) -> list[Event]:
        named: dict[str, Any] = {
            "purchase_id": self.purchase_id,
            "student_id": self.student_id,
            "program": self.program,
            "payer": "student",
            "price": usd(self.price),
            "as_of": self.at,
        }
        intent, charge, page = f"pi_{self.purchase_id}", f"ch_{self.purchase_id}", f"cs_{self.purchase_id}"
        amount = usd(self.price)
        on_page = PaymentRefs(payment_intent=intent, checkout_session=page, customer=f"cus_{self.number}")
        of_charge = PaymentRefs(payment_intent=intent, charge=charge)
        details = PaymentMethodDetails(type="card", brand="visa", last4="4242")
        paid: list[Event] = [
            PaymentSucceeded(refs=of_charge, amount=amount, method="card", **named),
            PaymentSucceeded(refs=of_charge, amount=amount, method="card", details=details, as_of=self.at),
            PaymentSucceeded(refs=on_page, amount=amount, contact=self.contact, **named),
        ]
        more: dict[str, Any] = {"refs": of_charge, "as_of": named["as_of"] + timedelta(days=3)}
        dispute: dict[str, Any] = {"dispute_id": f"du_{self.purchase_id}", "amount": amount, **more}
        match (self.number * 7 + self.number // len(PROGRAMS)) % 20:  # every outcome with every program, mixed
            case 0 | 1:
                refs = PaymentRefs(payment_intent=intent)
                return [PaymentFailed(refs=refs, amount=amount, code="card_declined", **named), *paid]
            case 2 | 3:
                return [PaymentPending(refs=on_page, amount=amount, method="us_bank_account", **named), *paid]
            case 4:
                return [
                    *paid,
                    PaymentRefunded(refund_id=f"re_{self.purchase_id}", amount=amount, **more),
                    PaymentRefunded(total=amount, before=usd(0), of=amount, **more),
                ]
            case 5:
                return [
                    *paid,
                    PaymentDisputeOpened(status="needs_response", reason="fraudulent", **dispute),
                    PaymentDisputeClosed(status="lost", reason="fraudulent", funds="withdrawn", **dispute),
                ]
            case _:
                return paid

    def events(self) -> list[Event]:
        """In the order in which they are published."""
        about: dict[str, Any] = {
            "student_id": self.student_id,
            "purchase_id": self.purchase_id,
            "program": self.program,
        }
        enrollment_id = enrollment_uuid(self.student_id, self.program.slug)
        instructor = Instructor(id=uuid5(NAMESPACE, self.program.slug), name="Marcus Fade")
        amount = usd(self.price)
        found = [
            StudentUpdated(student_id=self.student_id, contact=self.contact),
            PurchaseCreated(
                **about, amount=amount, payer="student", payment_type="full", checkout_url="https://pay.example.com"
            ),
            *self.payments(),
            EnrollmentActivated(enrollment_id=enrollment_id, revision=1, **about),
            InstructorAssigned(assignment_id=self.id("assignment"), instructor=instructor, **about),
            ReceiptIssued(
                document_id=self.id("document"),
                kind="receipt",
                number=f"R-{self.run}-{self.number}",
                purchase_id=self.purchase_id,
                student_id=self.student_id,
                refs=PaymentRefs(payment_intent=f"pi_{self.purchase_id}"),
                amount=amount,
                filename=f"receipt-{self.number}.pdf",
                pdf=PDF,
            ),
            EnrollmentProgressed(
                enrollment_id=enrollment_id, student_id=self.student_id, program_slug=self.program.slug, percent=10
            ),
        ]
        if self.program.provider == "milady":
            link = CourseLink(title="Theory 1", url="https://milady.example.com/theory-1")
            found.append(MiladyEnrolled(milady_enrollment_id=f"mil_{self.purchase_id}", links=[link], **about))
        return found

    def envelopes(self) -> Iterator[Envelope[Event]]:
        for n, event in enumerate(self.events()):
            yield Envelope(
                id=f"evt_{self.run}_{self.number}_{n}/{event.type}",
                source="bench",
                subject=str(self.purchase_id),
                time=self.at + timedelta(milliseconds=n),
                data=event,
            )


def backlog(queues: Sequence[Queue], messages: int, *, run: str) -> tuple[list[tuple[str, Envelope[Event]]], int]:
    """The first messages for these queues, each with its queue, and the number of purchases that they are about."""
    found: list[tuple[str, Envelope[Event]]] = []
    number = 0
    while len(found) < messages:
        for each in History(run, number).envelopes():
            found += [(queue.name, each) for queue in queues if type(each.data) in queue.events]
        number += 1
    return list(islice(_mixed(found), messages)), number


def _mixed(messages: Sequence[tuple[str, Envelope[Event]]]) -> Iterator[tuple[str, Envelope[Event]]]:
    """In a new order, the same in every run; none moves further than WINDOW."""
    chance = random.Random(7)
    return (messages[n] for n in sorted(range(len(messages)), key=lambda n: n + chance.random() * WINDOW))
