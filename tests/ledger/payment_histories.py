"""Histories of purchases as Stripe tells them, for property tests: lists of events that really occur together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
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
    PurchaseEnded,
    SubscriptionChanged,
)
from contracts.people import MEMBERSHIP, ItemRef, Program

STUDENT = UUID("00000000-0000-4000-8000-000000000001")
BARBER = Program(slug="barber-apprenticeship", id="prog-1", provider="milady")
TOOLS = ItemRef(slug="tool-kit", id="prod-7", kind="product")
BUNDLE = Program(
    slug="career-starter",
    id="bundle-1",
    kind="bundle",
    includes=(
        ItemRef(slug=BARBER.slug, id=BARBER.id, provider="milady", kind="program"),
        ItemRef(slug="business-basics", id="course-3", kind="course"),
        TOOLS,
    ),
)
GOLD = Program(slug=MEMBERSHIP, id="tier-gold", kind="membership")
PRICE = usd(489_000)
START = datetime(2026, 9, 21, tzinfo=UTC)


def purchase(n: int) -> UUID:
    return UUID(f"00000000-0000-4000-8000-{n:012d}")


def paid_by_card(n: int, amount: Money = PRICE, program: Program = BARBER) -> list[PaymentEvent]:
    fields = {"purchase_id": purchase(n), "student_id": STUDENT, "program": program, "payer": "student"}
    intent = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}")
    session = PaymentRefs(payment_intent=f"pi_{n}", checkout_session=f"cs_{n}")
    return [
        PaymentSucceeded(refs=intent, amount=amount, method="card", **fields),
        PaymentSucceeded(refs=session, amount=amount, **fields),
    ]


def declined(n: int) -> list[PaymentEvent]:
    fields = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    refs = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}_declined")
    return [PaymentFailed(refs=refs, code="card_declined", **fields)]


def expired(n: int) -> list[PaymentEvent]:
    fields = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    return [PaymentExpired(refs=PaymentRefs(checkout_session=f"cs_{n}"), **fields)]


def bank_debit(n: int, *, settles: bool) -> list[PaymentEvent]:
    fields: dict[str, Any] = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER}
    intent = PaymentRefs(payment_intent=f"pi_{n}", charge=f"py_{n}")
    session = PaymentRefs(payment_intent=f"pi_{n}", checkout_session=f"cs_{n}")
    under_way: list[PaymentEvent] = [
        PaymentPending(refs=intent, amount=PRICE, method="us_bank_account", **fields),
        PaymentPending(refs=session, amount=PRICE, **fields),
    ]
    if settles:
        return [
            *under_way,
            PaymentSucceeded(refs=intent, amount=PRICE, **fields),
            PaymentSucceeded(refs=session, amount=PRICE, **fields),
        ]
    return [
        *under_way,
        PaymentFailed(refs=intent, code="insufficient_funds", **fields),
        PaymentFailed(refs=session, code="async_payment_failed", final=True, **fields),
    ]


def plan(
    n: int, paid: int, *, missed: bool = False, caught_up: bool = False, ended: bool = False
) -> list[PaymentEvent]:
    """Four installments, of which `paid` are paid; then perhaps one missed for good, and perhaps paid after all."""
    fields = {"purchase_id": purchase(n), "student_id": STUDENT, "program": BARBER, "installments": 4}
    sub = f"sub_{n}"
    share = usd(PRICE.amount // 4)
    events: list[PaymentEvent] = [SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="active", **fields)]
    for k in range(paid):
        refs = PaymentRefs(invoice=f"in_{n}_{k}", subscription=sub)
        link = PaymentRefs(invoice=f"in_{n}_{k}", payment_intent=f"pi_{n}_{k}", charge=f"ch_{n}_{k}")
        events += [PaymentSucceeded(refs=refs, amount=share, **fields), PaymentSucceeded(refs=link, amount=share)]
    if missed:
        refs = PaymentRefs(invoice=f"in_{n}_{paid}", subscription=sub)
        events += [
            PaymentFailed(refs=refs, attempt=1, code="card_declined", **fields),
            PaymentFailed(refs=refs, attempt=4, code="card_declined", final=True, **fields),
            SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="past_due", **fields),
        ]
        if caught_up:
            events.append(PaymentSucceeded(refs=refs, amount=share, **fields))
    if ended:
        events.append(SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="canceled", **fields))
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


End = Literal["left", "card", "invoice", "cash", "given_up"]
"""What becomes of an installment after its last try has failed."""


def due(n: int, k: int) -> str:
    """Our own id of an amount due, that all attempts at it name."""
    return f"due_{n}_{k}"


def schedule(
    n: int, paid: int, *, missed: End | None = None, count: int = 4, program: Program = BARBER
) -> list[PaymentEvent]:
    """Installments that the school collects itself, without a subscription; `paid` of them at once, one not."""
    price = usd(PRICE.amount)
    fields: dict[str, Any] = {
        "purchase_id": purchase(n),
        "student_id": STUDENT,
        "program": program,
        "installments": count,
        "price": price,
    }
    shares = price.installments(count)
    events: list[PaymentEvent] = []
    for k in range(paid):
        refs = PaymentRefs(payment_intent=f"pi_{n}_{k}", charge=f"ch_{n}_{k}", installment=due(n, k))
        events.append(PaymentSucceeded(refs=refs, amount=shares[k], method="card", **fields))
    if missed:
        events += _missed(n, paid, shares[paid], fields)
        events += _made_good(n, paid, shares[paid], fields, missed)
    return events


def _missed(n: int, k: int, share: Money, fields: dict[str, Any]) -> list[PaymentEvent]:
    """Stripe tells each decline and that the intent was canceled; only checkout knows which try was the last."""
    intent = f"pi_{n}_{k}"
    first = PaymentRefs(payment_intent=intent, charge=f"ch_{n}_{k}_1", installment=due(n, k))
    second = PaymentRefs(payment_intent=intent, charge=f"ch_{n}_{k}_2", installment=due(n, k))
    last = PaymentRefs(payment_intent=intent, installment=due(n, k))
    return [
        PaymentFailed(refs=first, amount=share, code="card_declined", **fields),
        PaymentFailed(refs=second, amount=share, code="insufficient_funds", **fields),
        PaymentFailed(refs=last, amount=share, code="card_declined", attempt=2, final=True, **fields),
    ]


def _made_good(n: int, k: int, share: Money, fields: dict[str, Any], end: End) -> list[PaymentEvent]:
    installment = due(n, k)
    old = PaymentRefs(payment_intent=f"pi_{n}_{k}", installment=installment)
    put_aside = PaymentFailed(refs=old, amount=share, code="canceled", final=True, **fields)
    match end:
        case "left":
            return []
        case "card":  # the same intent, with another card
            refs = PaymentRefs(payment_intent=f"pi_{n}_{k}", charge=f"ch_{n}_{k}", installment=installment)
            return [PaymentSucceeded(refs=refs, amount=share, method="card", **fields)]
        case "invoice":  # what pays an invoice is a new intent, that carries none of our metadata
            refs = PaymentRefs(invoice=f"in_{n}_{k}", installment=installment)
            link = PaymentRefs(invoice=f"in_{n}_{k}", payment_intent=f"pi_{n}_{k}_b", charge=f"ch_{n}_{k}")
            return [
                put_aside,
                PaymentFailed(refs=refs, amount=share, code="invoice_payment_failed", **fields),
                PaymentSucceeded(refs=refs, amount=share, **fields),
                PaymentSucceeded(refs=link, amount=share),
            ]
        case "cash":
            refs = PaymentRefs(manual=f"manual_{n}_{k}", installment=installment)
            return [put_aside, PaymentSucceeded(refs=refs, amount=share, method="cash", **fields)]
        case "given_up":
            return [put_aside, PaymentExpired(refs=PaymentRefs(installment=installment), **fields)]


def cash(n: int, amount: Money, *, installment: str | None = None, program: Program = BARBER) -> list[PaymentEvent]:
    fields: dict[str, Any] = {"purchase_id": purchase(n), "student_id": STUDENT, "program": program}
    refs = PaymentRefs(manual=f"manual_{n}_{amount.amount}_{amount.currency}", installment=installment)
    return [PaymentSucceeded(refs=refs, amount=amount, method="cash", **fields)]


def canceled(n: int, program: Program = BARBER) -> list[PaymentEvent]:
    fields: dict[str, Any] = {"purchase_id": purchase(n), "student_id": STUDENT, "program": program}
    return [PurchaseEnded(refs=PaymentRefs(), by="school", reason="moved away", **fields)]


Word = Literal["active", "paused", "resumed", "past_due", "ending", "ended"]
"""A membership's subscription, as Stripe tells that it stands now."""


def membership(n: int, months: int, *words: Word, at: Sequence[int] | None = None) -> list[PaymentEvent]:
    """`months` that were paid, and what was told of the subscription, the first at day 0, the next at day 1, …"""
    fields: dict[str, Any] = {"purchase_id": purchase(n), "student_id": STUDENT, "program": GOLD}
    sub = f"sub_m{n}"
    events: list[PaymentEvent] = []
    for k in range(months):
        refs = PaymentRefs(invoice=f"in_m{n}_{k}", subscription=sub)
        events.append(PaymentSucceeded(refs=refs, amount=usd(4_900), **fields))
    for day, word in zip(at or range(len(words)), words, strict=True):
        status = {"past_due": "past_due", "ended": "canceled"}.get(word, "active")
        changed: dict[str, Any] = {
            **fields,
            "refs": PaymentRefs(subscription=sub),
            "status": status,
            "tier": "gold",
            "collection_paused": word == "paused",
            "cancel_at_period_end": word == "ending",
            "as_of": START + timedelta(days=day),
            "ended_at": START + timedelta(days=day) if word == "ended" else None,
        }
        events.append(SubscriptionChanged.model_validate(changed))
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


def funds(n: int, where: Literal["withdrawn", "reinstated"], status: str) -> list[PaymentEvent]:
    """The disputed money has moved; Stripe tells it with the dispute as it stands then."""
    kind = PaymentDisputeOpened if status in ("needs_response", "under_review") else PaymentDisputeClosed
    refs = PaymentRefs(payment_intent=f"pi_{n}", charge=f"ch_{n}")
    fields = {"refs": refs, "dispute_id": f"du_{n}", "status": status, "amount": PRICE, "funds": where}
    return [kind.model_validate(fields)]


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


def _schedules(n: int, program: Program = BARBER) -> st.SearchStrategy[list[PaymentEvent]]:
    ends: list[End | None] = [None, "left", "card", "invoice", "cash", "given_up"]
    return st.builds(
        lambda paid, missed: schedule(
            n, paid, missed=(missed or (None if paid else "left")) if paid < 4 else None, program=program
        ),
        st.integers(0, 4),
        st.sampled_from(ends),
    )


def memberships(n: int) -> st.SearchStrategy[list[PaymentEvent]]:
    words: list[Word] = ["active", "paused", "resumed", "past_due", "ending", "ended"]
    return st.builds(
        lambda months, said, days: membership(n, months, *said, at=days[: len(said)]),
        st.integers(0, 3),
        st.lists(st.sampled_from(words), min_size=1, max_size=5),
        st.lists(st.integers(0, 3), min_size=5, max_size=5),  # several in one second, and in any order
    )


def _card(n: int, program: Program = BARBER) -> st.SearchStrategy[list[PaymentEvent]]:
    return st.builds(
        lambda declines, refunds, dispute, moved: (
            declined(n) * declines
            + paid_by_card(n, program=program)
            + refunded(n, *sorted(refunds))
            + (disputed(n, dispute) if dispute else [])
            + (funds(n, "withdrawn", "needs_response") if dispute and moved else [])
            + (funds(n, "reinstated", "won") if dispute == "won" and moved else [])
        ),
        st.integers(0, 1) if program is BARBER else st.just(0),
        st.lists(st.integers(1, PRICE.amount), max_size=3),
        st.sampled_from([None, "won", "lost", "warning_closed"]),
        st.booleans(),
    )


def _one_purchase(n: int) -> st.SearchStrategy[list[PaymentEvent]]:
    bank = st.builds(
        lambda declines, settles: declined(n) * declines + bank_debit(n, settles=settles),
        st.integers(0, 1),
        st.booleans(),
    )
    two_currencies = st.builds(
        lambda totals: paid_by_card(n) + cash(n, Money(amount=70_000, currency="jpy")) + refunded(n, *sorted(totals)),
        st.lists(st.integers(1, PRICE.amount), max_size=2),
    )
    bought = st.one_of(
        _card(n), bank, _plans(n), _schedules(n), two_currencies, st.just(declined(n)), st.just(expired(n))
    )
    return st.builds(lambda events, ended: events + canceled(n) * ended, bought, st.sampled_from([0, 0, 0, 1]))


def bundles(n: int) -> st.SearchStrategy[list[PaymentEvent]]:
    """A bundle, however it was paid for."""
    bought = st.one_of(_card(n, BUNDLE), _schedules(n, BUNDLE))
    return st.builds(lambda events, ended: events + canceled(n, BUNDLE) * ended, bought, st.integers(0, 1))


@st.composite
def histories(draw: st.DrawFn) -> dict[str, PaymentEvent]:
    """Everything that happened to one student's enrollment: one purchase or two, by event id."""
    purchases = draw(st.integers(1, 2))
    events = [event for n in range(1, purchases + 1) for event in draw(_one_purchase(n))]
    return numbered(events)


@st.composite
def wide_histories(draw: st.DrawFn) -> dict[str, PaymentEvent]:
    """Everything that happened to all enrollments of one student: programs, a bundle with one of them, memberships."""
    parts = [_one_purchase(1), _one_purchase(2), bundles(3), memberships(4), memberships(5)]
    chosen = draw(st.lists(st.sampled_from(range(len(parts))), min_size=1, max_size=3, unique=True))
    return numbered([event for part in chosen for event in draw(parts[part])])


def numbered(events: Sequence[PaymentEvent]) -> dict[str, PaymentEvent]:
    return {f"evt_{number}/{event.type}": event for number, event in enumerate(events)}
