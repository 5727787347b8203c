"""What a student may buy, and the states of a purchase. Pure: plain data and the time in, decisions out.

A purchase has one of nine states, and TRANSITIONS lists every change from one to another. The usual ones:

    created ── PAGE_OPENED ────────> session_open ──────┐
       └────── PAYMENT_REQUESTED ──> awaiting_payment ──┤
                                        ^               ├── PAYMENT_PENDING ──> processing ── PAYMENT_SETTLED ──┐
                                        │               └── PAYMENT_SETTLED ────────────────────────────────────┤
                                        └── PAYMENT_RETRYABLE ── processing                                     v
                                                            withdrawn <── MONEY_WITHDRAWN ──────────────────── paid
    created, session_open or awaiting_payment ── EXPIRED ──> expired
                                              └─ REJECTED ─> failed
    any state ── CANCELED_BY_SCHOOL or PURCHASE_CANCELED ──> canceled, which is final

The PAYMENT_* and MONEY_* changes are what the payment facts add up to. Facts arrive in any order, so each of them but
PAYMENT_RETRYABLE (and PAYMENT_REQUESTED, which is no fact) leads to its state from every state but `canceled`: an
expired purchase that turns out to be paid is paid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID, uuid5

from checkout.catalog.item import PaymentPlan
from contracts.money import Money
from contracts.payments import PaymentFailed
from contracts.people import Payer, Program
from ledger import purchase as ledger
from ledger.policy import Policy
from ledger.standing import Standing

PaymentType = Literal["full", "plan"]
PaymentFlowName = Literal["page", "intent", "installments", "membership", "external"]
"""Stripe's Checkout page; one payment intent that the front end confirms; installments that checkout collects itself;
a subscription that renews until it is canceled; payments that were not started here, which checkout only follows."""
Interval = Literal["month", "year"]
EnrollmentStatus = Literal["pending", "active", "paused", "withdrawn", "completed"]

PLAN_INSTALLMENTS = 4
PLAN = PaymentPlan(type="installments", installments=PLAN_INSTALLMENTS)
"""`paymentType: plan` on Stripe's page: four monthly installments."""
UNANSWERED = timedelta(hours=23)
"""Stripe forgets an idempotency key after a day; by then a session that nobody has opened has expired."""


class State(StrEnum):
    """How far a purchase has come. `CREATED`: Stripe has not answered yet, or its answer was lost."""

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
"""Started and not paid: the same request again resumes it."""


class Change(StrEnum):
    """What happens to a purchase."""

    PAGE_OPENED = "page_opened"
    """Stripe has opened a page for it."""
    PAYMENT_REQUESTED = "payment_requested"
    """It can be paid: by an intent, by installments, or nothing is due."""
    EXPIRED = "expired"
    """Nobody has paid it, and from now on nobody can."""
    REJECTED = "rejected"
    """Stripe has rejected it."""
    CANCELED_BY_SCHOOL = "canceled_by_school"

    PAYMENT_PENDING = "payment_pending"
    PAYMENT_SETTLED = "payment_settled"
    PAYMENT_RETRYABLE = "payment_retryable"
    """A debit has failed, and its intent can still be paid."""
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_EXPIRED = "payment_expired"
    MONEY_WITHDRAWN = "money_withdrawn"
    """All of it was refunded, or a dispute was lost."""
    PURCHASE_CANCELED = "purchase_canceled"


_ANY = frozenset(State)
_NOT_CANCELED = _ANY - {State.CANCELED}

_CHANGES: Mapping[Change, tuple[frozenset[State], State]] = {
    Change.PAGE_OPENED: (frozenset({State.CREATED}), State.SESSION_OPEN),
    Change.PAYMENT_REQUESTED: (frozenset({State.CREATED}), State.AWAITING_PAYMENT),
    Change.EXPIRED: (frozenset(OPEN), State.EXPIRED),
    Change.REJECTED: (frozenset(OPEN), State.FAILED),
    Change.CANCELED_BY_SCHOOL: (_ANY, State.CANCELED),
    Change.PAYMENT_PENDING: (_NOT_CANCELED, State.PROCESSING),
    Change.PAYMENT_SETTLED: (_NOT_CANCELED, State.PAID),
    Change.PAYMENT_RETRYABLE: (
        frozenset({State.CREATED, State.AWAITING_PAYMENT, State.PROCESSING}),
        State.AWAITING_PAYMENT,
    ),
    Change.PAYMENT_FAILED: (_NOT_CANCELED, State.FAILED),
    Change.PAYMENT_EXPIRED: (_NOT_CANCELED, State.EXPIRED),
    Change.MONEY_WITHDRAWN: (_NOT_CANCELED, State.WITHDRAWN),
    Change.PURCHASE_CANCELED: (_ANY, State.CANCELED),
}

TRANSITIONS: Mapping[tuple[State, Change], State] = {
    (state, change): after for change, (allowed, after) in _CHANGES.items() for state in allowed
}
"""Every legal transition. What is not in here is refused: the purchase keeps its state."""


def next_state(state: State, change: Change) -> State | None:
    """None: the change is refused in this state."""
    return TRANSITIONS.get((state, change))


@dataclass(frozen=True, kw_only=True)
class Period:
    """What a sponsor pays for: the training between these days, both included."""

    start: date
    end: date


@dataclass(frozen=True, kw_only=True)
class PurchaseRequest:
    """What somebody asks to buy. `amount` is the total after the discount.

    `installments`: the number of payments of a plan; None for a single payment and for a membership.
    `authorization_number` and `period`: what a sponsor has stated for this student; None: not stated. `bill_to`: the
    email address to which the sponsor's invoice is sent. `cap`: what the sponsor pays at most under this number for
    everything that the student buys, None: as stated before. `co_pay`: what the student pays of a sponsor's purchase.
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
    payment_flow: PaymentFlowName = "page"
    list_price: Money | None = None
    promotion_code: str | None = None
    tier: str | None = None
    interval: Interval | None = None
    authorization_number: str | None = None
    period: Period | None = None
    bill_to: str | None = None
    co_pay: Money | None = None
    cap: Money | None = field(default=None, compare=False)
    plan: PaymentPlan | None = field(default=None, compare=False)
    """By which it is paid in installments. (Resuming a purchase keeps the plan that it was started with.)"""

    @property
    def payers_share(self) -> Money:
        """What the payer pays: all but the student's co-pay."""
        return self.amount if self.co_pay is None else self.amount - self.co_pay

    @property
    def covers(self) -> tuple[str, ...]:
        """The slugs of the enrollments that it gives; if it gives none, its own."""
        return tuple(part.slug for part in self.program.parts if part.enrolls) or (self.program.slug,)

    @property
    def may_repeat(self) -> bool:
        """Whether it may be bought again: it gives no enrollment."""
        return not any(part.enrolls for part in self.program.parts)

    @property
    def due(self) -> Money | None:
        """Of a plan: what opens the enrollment, its first installment. None where that is the whole price."""
        if self.payment_type != "plan" or self.plan is None:
            return None
        first, *_ = split(self.plan, self.amount) or [self.amount.amount]
        return Money(amount=first, currency=self.amount.currency)

    @property
    def discount(self) -> Money | None:
        if self.list_price is None or self.list_price == self.amount:
            return None
        return self.list_price - self.amount


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Which terms a buyer has accepted, and when."""

    version: str
    accepted_at: datetime


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """A purchase that was started before."""

    id: UUID
    request: PurchaseRequest
    state: State
    session_id: str | None
    created_at: datetime
    intent_id: str | None = None
    subscription_canceled: bool = False
    underpaid: bool = False

    @property
    def may_charge_again(self) -> bool:
        """A subscription keeps charging after a refund, until it is canceled at Stripe."""
        paid = self.state in (State.PAID, State.WITHDRAWN, State.CANCELED)
        flow, payment_type = self.request.payment_flow, self.request.payment_type
        recurring = flow == "membership" or (flow == "external" and payment_type == "plan")
        return recurring and paid and not self.subscription_canceled


@dataclass(frozen=True, kw_only=True)
class Enrollment:
    """The last status that the enrollment service has published of one of the student's enrollments."""

    slug: str
    status: EnrollmentStatus
    purchase_id: UUID | None


@dataclass(frozen=True)
class Start:
    """Nothing prevents a new purchase."""


@dataclass(frozen=True)
class Resume:
    """The same was requested before and is not paid: resume that purchase."""

    purchase: Purchase


@dataclass(frozen=True)
class Replace:
    """Something else was requested before and is not paid: close that first."""

    purchase: Purchase


@dataclass(frozen=True)
class Abandon:
    """The purchase's session was never handed out, and its idempotency key is too old to ask for it again."""

    purchase: Purchase


@dataclass(frozen=True)
class Refuse:
    code: Literal[
        "already_enrolled", "payment_in_progress", "subscription_being_canceled", "sponsor_payment_open", "underpaid"
    ]


Decision = Start | Resume | Replace | Abandon | Refuse


def decide(
    *, request: PurchaseRequest, enrollments: Sequence[Enrollment], purchases: Sequence[Purchase], now: datetime
) -> Decision:
    """What to do about a request.

    `enrollments` are the student's that the request would give; `purchases` the student's that give any of them too,
    newest first. What gives no enrollment may be bought again as soon as nothing of it is open.
    """
    refused = None if request.may_repeat else _refusal(request, enrollments, purchases)
    if refused is not None:
        return refused
    for purchase in purchases:
        if purchase.state in OPEN:
            return _decide_about_open(request, purchase, now)
    return Start()


def _refusal(
    request: PurchaseRequest, enrollments: Sequence[Enrollment], purchases: Sequence[Purchase]
) -> Refuse | None:
    """Why the enrollments cannot be paid for again."""
    if any(enrollment.status in ("active", "paused", "completed") for enrollment in enrollments):
        return Refuse("already_enrolled")
    if any(purchase.underpaid and purchase.state is State.PROCESSING for purchase in purchases):
        return Refuse("underpaid")
    if any(enrollment.status == "pending" for enrollment in enrollments):
        return Refuse("payment_in_progress")
    ended = {enrollment.slug: enrollment.purchase_id for enrollment in enrollments if enrollment.status == "withdrawn"}
    for slug in request.covers:
        for purchase in (each for each in purchases if slug in each.request.covers):
            if purchase.id == ended.get(slug):
                break  # this one, and what was bought before it, had their enrollment
            if purchase.state in (State.PROCESSING, State.PAID):
                return Refuse("payment_in_progress")
    if any(purchase.may_charge_again for purchase in purchases):
        return Refuse("subscription_being_canceled")  # its enrollment has ended, or never began
    return None


def _decide_about_open(request: PurchaseRequest, purchase: Purchase, now: datetime) -> Decision:
    unanswered = purchase.state is State.CREATED and now - purchase.created_at > UNANSWERED
    # (installments can be paid one by one as soon as they exist, so that purchase has to be closed or resumed)
    if unanswered and purchase.request.payment_flow != "installments":
        return Abandon(purchase)
    if _asks_the_same(purchase.request, request):
        return Resume(purchase)
    if purchase.request.payer == "sponsor" and request.payer == "student":
        return Refuse("sponsor_payment_open")
    return Replace(purchase)


def _asks_the_same(before: PurchaseRequest, request: PurchaseRequest) -> bool:
    """A program's id is the caller's own, and differs between the routes; what is not stated does not differ."""
    return before == replace(
        request,
        program=request.program.model_copy(update={"id": before.program.id}),
        authorization_number=request.authorization_number or before.authorization_number,
        period=request.period or before.period,
        bill_to=request.bill_to or before.bill_to,
    )


def installment_id(purchase_id: UUID, position: int) -> UUID:
    """Derived, so that Stripe can be asked for a payment of it before it is stored."""
    return uuid5(purchase_id, f"installment/{position}")


def split(plan: PaymentPlan, amount: Money) -> list[int]:
    """The installments in minor units; they add up to the amount. Empty if the plan cannot split it."""
    deposit = (amount.amount * plan.deposit_percent + 99) // 100 if plan.deposit_percent else 0
    rest = Money(amount=amount.amount - deposit, currency=amount.currency)
    try:
        parts = [part.amount for part in rest.installments(plan.installments or 1)]
    except ValueError:
        return []
    return [deposit, *parts] if deposit else parts


def charges(*, amount: Money, payment_type: PaymentType) -> list[Money]:
    """What is charged each time; the sum is exactly the amount. Raises ValueError when it cannot be split."""
    return amount.installments(PLAN_INSTALLMENTS) if payment_type == "plan" else [amount]


def change_of(purchase: ledger.Purchase, policy: Policy, *, payment_flow: PaymentFlowName) -> Change | None:
    """What the payment facts add up to. None: nothing that changes a purchase."""
    standing, reason = purchase.standing(policy)
    match standing:
        case Standing.ACTIVE | Standing.PAUSED:
            return Change.PAYMENT_SETTLED
        case Standing.PENDING:
            return Change.PAYMENT_PENDING
        case Standing.WITHDRAWN:
            if reason == "canceled":
                return Change.PURCHASE_CANCELED
            if reason != "payment_failed":
                return Change.MONEY_WITHDRAWN
            # who has the secret can pay the intent of a failed debit until it is canceled, as a sponsor the invoice
            invoiced = payment_flow == "installments" and purchase.payer == "sponsor"
            retryable = invoiced or (payment_flow == "intent" and not failures(purchase, final=True))
            return Change.PAYMENT_RETRYABLE if retryable else Change.PAYMENT_FAILED
        case Standing.NONE:
            if purchase.ended:
                return Change.PURCHASE_CANCELED
            if payment_flow == "external" and purchase.subscription_ended:
                return Change.PAYMENT_EXPIRED
            # a declined card leaves the page open, and an installment outlives the invoice that was sent for it
            expired = [payment for payment in purchase.payments if payment.expired]
            of_page = [each for each in expired if payment_flow == "page" or not each.installments]
            return Change.PAYMENT_EXPIRED if of_page else None


def failures(purchase: ledger.Purchase, *, final: bool) -> int:
    """The number of failed attempts to pay; `final`: only those after which nothing is retried."""
    failed = [fact for fact in purchase.facts if isinstance(fact, PaymentFailed)]
    return sum(fact.final or not final for fact in failed)


def funding_status_of(state: State, *, received: bool) -> Literal["created", "paid", "failed"]:
    """Money that was refunded was paid nevertheless. `received`: any was."""
    match state:
        case State.PAID | State.WITHDRAWN:
            return "paid"
        case State.CANCELED:
            return "paid" if received else "failed"
        case State.FAILED | State.EXPIRED:
            return "failed"
        case _:
            return "created"
