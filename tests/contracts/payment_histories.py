"""Histories of purchases as Stripe tells them, for property tests: lists of events that really occur together."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from contracts.money import Money, usd
from contracts.payments import (
    PaymentDisputeClosed,
    PaymentDisputeOpened,
    PaymentEvent,
    PaymentExpired,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    SubscriptionChanged,
)
from contracts.people import Program

STUDENT = UUID("00000000-0000-4000-8000-000000000001")
BARBER = Program(slug="barber-apprenticeship", id="prog-1", provider="milady")
PRICE = usd(489_000)


def purchase(n: int) -> UUID:
    return UUID(f"00000000-0000-4000-8000-{n:012d}")


def paid_by_card(n: int, amount: Money = PRICE) -> list[PaymentEvent]:
    told = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER, "payer": "student"}
    intent = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}")
    session = PaymentRefs(payment_intent=f"pi_{n}", checkout_session=f"cs_{n}")
    return [
        PaymentSucceeded(refs=intent, amount=amount, method="card", **told),
        PaymentSucceeded(refs=session, amount=amount, **told),
    ]


def declined(n: int) -> list[PaymentEvent]:
    told = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    refs = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}_declined")
    return [PaymentFailed(refs=refs, code="card_declined", **told)]


def expired(n: int) -> list[PaymentEvent]:
    told = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    return [PaymentExpired(refs=PaymentRefs(checkout_session=f"cs_{n}"), **told)]


def bank_debit(n: int, *, settles: bool) -> list[PaymentEvent]:
    told: dict[str, Any] = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    intent = PaymentRefs(payment_intent=f"pi_{n}", charge=f"py_{n}")
    session = PaymentRefs(payment_intent=f"pi_{n}", checkout_session=f"cs_{n}")
    under_way: list[PaymentEvent] = [
        PaymentPending(refs=intent, amount=PRICE, method="us_bank_account", **told),
        PaymentPending(refs=session, amount=PRICE, **told),
    ]
    if settles:
        return [
            *under_way,
            PaymentSucceeded(refs=intent, amount=PRICE, **told),
            PaymentSucceeded(refs=session, amount=PRICE, **told),
        ]
    return [
        *under_way,
        PaymentFailed(refs=intent, code="insufficient_funds", **told),
        PaymentFailed(refs=session, code="async_payment_failed", final=True, **told),
    ]


def plan(
    n: int, paid: int, *, missed: bool = False, caught_up: bool = False, ended: bool = False
) -> list[PaymentEvent]:
    """Four instalments, of which `paid` are paid; then perhaps one missed for good, and perhaps paid after all."""
    told = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER, "instalments": 4}
    sub = f"sub_{n}"
    share = usd(PRICE.amount // 4)
    events: list[PaymentEvent] = [SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="active", **told)]
    for k in range(paid):
        refs = PaymentRefs(invoice=f"in_{n}_{k}", subscription=sub)
        link = PaymentRefs(invoice=f"in_{n}_{k}", payment_intent=f"pi_{n}_{k}", charge=f"ch_{n}_{k}")
        events += [PaymentSucceeded(refs=refs, amount=share, **told), PaymentSucceeded(refs=link, amount=share)]
    if missed:
        refs = PaymentRefs(invoice=f"in_{n}_{paid}", subscription=sub)
        events += [
            PaymentFailed(refs=refs, attempt=1, code="card_declined", **told),
            PaymentFailed(refs=refs, attempt=4, code="card_declined", final=True, **told),
            SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="past_due", **told),
        ]
        if caught_up:
            events.append(PaymentSucceeded(refs=refs, amount=share, **told))
    if ended:
        events.append(SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="canceled", **told))
    return events


def refunded(n: int, *totals: int, charge: str | None = None) -> list[PaymentEvent]:
    """Cumulative refunds of a charge, as charge.refunded tells them: without any of our metadata."""
    events: list[PaymentEvent] = []
    before = 0
    for total in totals:
        refs = PaymentRefs(charge=charge or f"ch_{n}")
        events.append(PaymentRefunded(refs=refs, total=usd(total), before=usd(before), of=PRICE))
        before = total
    return events


def disputed(n: int, outcome: str | None) -> list[PaymentEvent]:
    refs = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}")
    events: list[PaymentEvent] = [
        PaymentDisputeOpened(refs=refs, dispute_id=f"du_{n}", status="needs_response", amount=PRICE),
        PaymentDisputeOpened(refs=refs, dispute_id=f"du_{n}", status="under_review", amount=PRICE),
    ]
    if outcome:
        events.append(
            PaymentDisputeClosed.model_validate(
                {"refs": refs, "dispute_id": f"du_{n}", "status": outcome, "amount": PRICE}
            )
        )
    return events


def _plans(n: int) -> st.SearchStrategy[list[PaymentEvent]]:
    return st.builds(
        lambda paid, missed, caught_up, ended: plan(
            n, paid, missed=missed and paid < 4, caught_up=caught_up, ended=ended
        ),
        st.integers(1, 4),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    )


def _one_purchase(n: int) -> st.SearchStrategy[list[PaymentEvent]]:
    card = st.builds(
        lambda declines, refunds, dispute: (
            declined(n) * declines
            + paid_by_card(n)
            + refunded(n, *sorted(refunds))
            + (disputed(n, dispute) if dispute else [])
        ),
        st.integers(0, 1),
        st.lists(st.integers(1, PRICE.amount), max_size=3),
        st.sampled_from([None, "won", "lost", "warning_closed"]),
    )
    bank = st.builds(
        lambda declines, settles: declined(n) * declines + bank_debit(n, settles=settles),
        st.integers(0, 1),
        st.booleans(),
    )
    return st.one_of(card, bank, _plans(n), st.just(declined(n)), st.just(expired(n)))


@st.composite
def histories(draw: st.DrawFn) -> dict[str, PaymentEvent]:
    """Everything that happened to one student's seat: one purchase or two, by event id."""
    purchases = draw(st.integers(1, 2))
    events = [event for n in range(1, purchases + 1) for event in draw(_one_purchase(n))]
    return {f"evt_{number}/{event.type}": event for number, event in enumerate(events)}
