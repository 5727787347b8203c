"""What may be bought, by whom, and what becomes of it. Pure: plain data and the time in, decisions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.money import Money, usd
from contracts.payments import PaymentFailed
from contracts.people import Payer, Program
from ledger import purchase as ledger
from ledger.policy import Policy
from ledger.purchase import Standing

PaymentType = Literal["full", "plan"]
How = Literal["page", "intent", "schedule", "membership"]
"""On Stripe's page; by one intent that the front end confirms; by our own schedule; as a subscription that goes on."""
Interval = Literal["month", "year"]
SeatStatus = Literal["pending", "active", "paused", "withdrawn", "completed"]

PLAN_INSTALLMENTS = 4
FUNDING_WITHOUT_COST = usd(29_500)
"""What a sponsor pays for a program without a total cost."""
UNANSWERED = timedelta(hours=23)
"""Stripe forgets an idempotency key after a day, and a session that nobody has seen has run out by then."""


class State(StrEnum):
    """How far a purchase has come. `CREATED`: Stripe's answer is not known (yet)."""

    CREATED = "created"
    SESSION_OPEN = "session_open"
    AWAITING_PAYMENT = "awaiting_payment"
    PROCESSING = "processing"
    PAID = "paid"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELED = "canceled"


OPEN = (State.CREATED, State.SESSION_OPEN, State.AWAITING_PAYMENT)
"""Started, and not paid: somebody who asks again goes on here."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What somebody sets out to buy. `amount` is what all of it costs, after the discount.

    `installments`: how many payments a plan has in all; None for one sum, and for what goes on until it is ended.
    """

    student_id: UUID
    program: Program
    amount: Money
    item_id: UUID | None = None
    owner_id: UUID | None = None
    payer: Payer = "student"
    funding_source: str | None = None
    payment_type: PaymentType = "full"
    installments: int | None = None
    how: How = "page"
    list_price: Money | None = None
    promotion_code: str | None = None
    tier: str | None = None
    interval: Interval | None = None

    @property
    def covers(self) -> tuple[str, ...]:
        """The slugs of the enrollments that it gives."""
        return tuple(enrollment.slug for enrollment in self.program.parts)

    @property
    def discount(self) -> Money | None:
        if self.list_price is None or self.list_price == self.amount:
            return None
        return self.list_price - self.amount


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """A purchase that was started before."""

    id: UUID
    wish: Wish
    state: State
    session_id: str | None
    created_at: datetime
    intent_id: str | None = None
    client_secret: str | None = None
    plan_canceled: bool = False

    @property
    def may_charge_again(self) -> bool:
        """A plan goes on charging, whatever went back, until Stripe has been told to end it."""
        at_stripe = self.wish.how == "membership" or (self.wish.how == "page" and self.wish.payment_type == "plan")
        paid = self.state in (State.PAID, State.WITHDRAWN, State.CANCELED)
        return at_stripe and paid and not self.plan_canceled


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """What enrollment has said of one of the student's enrollments."""

    slug: str
    status: SeatStatus
    purchase_id: UUID | None


@dataclass(frozen=True)
class Start:
    """Nothing stands in the way: a new purchase."""


@dataclass(frozen=True)
class GoOn:
    """The same was asked for before and is not paid: go on with that purchase."""

    purchase: Purchase


@dataclass(frozen=True)
class Replace:
    """Something else was asked for before and is not paid: close that first."""

    purchase: Purchase


@dataclass(frozen=True)
class Abandon:
    """A purchase whose session nobody can have seen, and that is too old to be asked for again."""

    purchase: Purchase


@dataclass(frozen=True)
class Refuse:
    code: Literal["already_enrolled", "payment_in_progress", "plan_being_canceled", "sponsor_payment_open"]


Decision = Start | GoOn | Replace | Abandon | Refuse


def begin(*, wish: Wish, enrollments: Sequence[Enrollment], purchases: Sequence[Purchase], now: datetime) -> Decision:
    """What to do about a wish, given the enrollments that it would give, and the student's purchases (newest first) that
    give any of them too."""
    if any(enrollment.status in ("active", "paused", "completed") for enrollment in enrollments):
        return Refuse("already_enrolled")
    if any(enrollment.status == "pending" for enrollment in enrollments):
        return Refuse("payment_in_progress")
    ended = {enrollment.slug: enrollment.purchase_id for enrollment in enrollments if enrollment.status == "withdrawn"}
    for slug in wish.covers:
        for purchase in (each for each in purchases if slug in each.wish.covers):
            if purchase.id == ended.get(slug):
                break  # this one and what was bought before it had their enrollment
            if purchase.state in (State.PROCESSING, State.PAID):
                return Refuse("payment_in_progress")
    if any(purchase.may_charge_again for purchase in purchases):
        return Refuse("plan_being_canceled")  # its enrollment is gone, or never was: the cancel is on its way
    for purchase in purchases:
        if purchase.state in OPEN:
            return _about_open(wish, purchase, now)
    return Start()


def _about_open(wish: Wish, purchase: Purchase, now: datetime) -> Decision:
    # (what is due for an enrollment can be paid by itself, so that one has to be closed or gone on with)
    unanswered = purchase.state is State.CREATED and now - purchase.created_at > UNANSWERED
    if unanswered and purchase.wish.how != "schedule":
        return Abandon(purchase)
    if purchase.wish == wish:
        return GoOn(purchase)
    if purchase.wish.payer == "sponsor" and wish.payer == "student":
        return Refuse("sponsor_payment_open")
    return Replace(purchase)


def same_price(price: Decimal | None, right: Money) -> bool:
    """Whether a client's price is the right one.

    Clients send major units (4890, 4890.00 or "4890.00"), or the minor units that the list of programs gives (489000).
    It is only compared: what is charged is the catalog's price.
    """
    return price is not None and price in (right.to_decimal(), Decimal(right.amount))


def funding_amount(*, total_cost: Money | None, price: Money) -> Money:
    """What a sponsor pays. The house's flat amount is in its own currency, and in no other."""
    return total_cost or (FUNDING_WITHOUT_COST if price.currency == FUNDING_WITHOUT_COST.currency else price)


def charges(*, amount: Money, payment_type: PaymentType) -> list[Money]:
    """What is charged each time; together exactly the amount.

    Raises ValueError when the amount cannot be split.
    """
    return amount.installments(PLAN_INSTALLMENTS) if payment_type == "plan" else [amount]


def state_of(purchase: ledger.Purchase, policy: Policy, *, how: How) -> State | None:
    """How far the payment events say that a purchase is. None: they do not say anything that matters here."""
    standing, reason = purchase.standing(policy)
    match standing:
        case Standing.ACTIVE | Standing.PAUSED:
            return State.PAID
        case Standing.PENDING:
            return State.PROCESSING
        case Standing.WITHDRAWN:
            if reason == "canceled":
                return State.CANCELED
            if reason != "payment_failed":
                return State.WITHDRAWN
            # a debit that failed leaves its intent open: who has its secret can pay it until it is canceled
            return State.AWAITING_PAYMENT if how == "intent" and not failures(purchase, final=True) else State.FAILED
        case Standing.NONE:
            if purchase.canceled:
                return State.CANCELED
            # a declined card leaves the page open, and an amount due outlives the invoice that was sent for it
            ended = [payment for payment in purchase.payments if payment.expired]
            of_page = [payment for payment in ended if not any(fact.refs.installment for fact in payment.facts)]
            return State.EXPIRED if of_page else None


def failures(purchase: ledger.Purchase, *, final: bool) -> int:
    """How many attempts to pay have failed; `final`: for good."""
    failed = [fact for fact in purchase.facts if isinstance(fact, PaymentFailed)]
    return sum(fact.final or not final for fact in failed)


def funding_status_of(state: State) -> Literal["created", "paid", "failed"]:
    """Money that went back again was paid nevertheless."""
    match state:
        case State.PAID | State.WITHDRAWN | State.CANCELED:
            return "paid"
        case State.FAILED | State.EXPIRED:
            return "failed"
        case _:
            return "created"


def months_left(*, started: datetime, phase_start: datetime, installments: int) -> int:
    """How many monthly charges a plan still has at the start of the given billing period, that one included."""
    passed = (phase_start.year - started.year) * 12 + phase_start.month - started.month
    return installments - passed
