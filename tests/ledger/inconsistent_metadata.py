"""Payments whose events contradict each other about who bought what: metadata missing, late, wrong or corrected."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from tests.ledger.payment_histories import BARBER, BUNDLE, PRICE, STUDENT, numbered, purchase

from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs, PaymentRefunded, PaymentSucceeded
from contracts.people import Program

OTHER = UUID("00000000-0000-4000-8000-000000000002")
ID_ONLY = Program(slug=BARBER.id, id=BARBER.id, id_only=True)
"""As the gateway names a program of which an event has the id only."""
NO_PARTS = Program(slug=BUNDLE.slug, id=BUNDLE.id, kind="bundle")
UNDEFINED = Program(slug="undefined", id="undefined", id_only=True)


def card(
    n: int, session: dict[str, Any], intent: dict[str, Any], *, amount: int = PRICE.amount, refunded: bool = False
) -> list[PaymentEvent]:
    """One payment, reported by its session and by its intent, each with metadata of its own."""
    refs = PaymentRefs(payment_intent=f"pi_{n}", checkout_session=f"cs_{n}")
    charge = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}")
    back = PaymentRefs(charge=f"ch_{n}")
    events: list[PaymentEvent] = [
        PaymentSucceeded(refs=charge, amount=usd(amount), method="card", **intent),
        PaymentSucceeded(refs=refs, amount=usd(amount), **session),
    ]
    if refunded:
        events.append(PaymentRefunded(refs=back, total=usd(amount), before=usd(0), of=usd(amount)))
    return events


def invoices(n: int, *students: UUID) -> list[PaymentEvent]:
    """A subscription whose metadata names another student each month."""
    return [
        PaymentSucceeded(
            refs=PaymentRefs(invoice=f"in_{n}_{k}", subscription=f"sub_{n}"),
            amount=PRICE,
            student_id=student,
            program=BARBER,
        )
        for k, student in enumerate(students)
    ]


def metadata(n: int) -> st.SearchStrategy[dict[str, Any]]:
    programs = st.sampled_from([None, BARBER, ID_ONLY, BUNDLE, NO_PARTS, UNDEFINED])
    return st.fixed_dictionaries(
        {
            "purchase_id": st.sampled_from([None, purchase(n)]),
            "student_id": st.sampled_from([None, STUDENT, STUDENT, OTHER]),
            "program": programs,
            "price": st.sampled_from([None, PRICE]),
        }
    )


@st.composite
def inconsistent_histories(draw: st.DrawFn) -> dict[str, PaymentEvent]:
    """One or two purchases, by event id."""
    events: list[PaymentEvent] = []
    for n in range(1, draw(st.integers(1, 2)) + 1):
        amount = draw(st.sampled_from([1_000, PRICE.amount]))
        events += card(n, draw(metadata(n)), draw(metadata(n)), amount=amount, refunded=draw(st.booleans()))
    if draw(st.booleans()):
        events += invoices(9, *draw(st.lists(st.sampled_from([STUDENT, OTHER]), min_size=1, max_size=2)))
    return numbered(events)
