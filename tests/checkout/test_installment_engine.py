"""The rules of collecting together, as one machine without Stripe or a database: any plan, any answers of the bank, any
clock. Charges never exceed the price, no installment is paid twice, and nobody is charged twice within a day."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkout.payment_plans import payment_plans

from checkout.catalog.item import PaymentPlan
from checkout.installments.domain import (
    Become,
    Close,
    DebitFailed,
    Installment,
    InstallmentFacts,
    Keep,
    OweAgain,
    Reopen,
    applicable_plan,
    decide,
    plan_installments,
)
from checkout.installments.guard import Received, contradiction, may_charge
from checkout.installments.retries import (
    CHARGES_APART,
    HARD_DECLINES,
    NEEDS_PAYER,
    Failure,
    GiveUp,
    Retry,
    after_failure,
    charges_again,
    next_charge_at,
)
from contracts.money import usd

START = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
PLANS = payment_plans(most_installments=12, most_days=60)
ANSWERS = st.sampled_from(
    ["paid", "paid", "paid", "processing", "insufficient_funds", "generic_decline", "stolen_card", *sorted(NEEDS_PAYER)]
)
STEPS = st.one_of(
    st.tuples(st.just("time"), st.integers(1, 24 * 40)),
    st.tuples(st.sampled_from(["pays", "returned", "settles", "bounces", "late"]), st.integers(0, 12)),
    st.tuples(st.sampled_from(["new_method", "end", "dispute", "appeal"]), st.just(0)),
)


@dataclass
class Money:
    """A payment of an installment at Stripe."""

    amount: int
    state: str = "settled"


@dataclass
class Engine:
    """What the service does with the rules, in its order: claim, charge, record; then the events."""

    price: int
    rows: list[Installment]
    now: datetime = START
    method: int = 1
    end: bool = False
    disputed: bool = False
    stopped: bool = False
    money: dict[UUID, list[Money]] = field(default_factory=dict)
    charges: list[datetime] = field(default_factory=list)
    failures: dict[UUID, list[str]] = field(default_factory=dict)

    def received(self) -> Received:
        kept = [each.amount for all_ in self.money.values() for each in all_ if each.state == "settled"]
        return Received(amount=sum(kept), charges=len(kept))

    def write(self, row: Installment, **changes: object) -> Installment:
        index = next(n for n, each in enumerate(self.rows) if each.id == row.id)
        self.rows[index] = replace(self.rows[index], **changes)  # type: ignore[arg-type]  # names are the row's fields
        return self.rows[index]

    def events(self) -> None:
        """Brings the rows in line with what was received, as an event does."""
        for row in list(self.rows):
            own = self.money.get(row.id, [])
            facts = InstallmentFacts(
                settled=any(each.state == "settled" for each in own),
                processing=any(each.state == "processing" for each in own),
                losses=sum(each.state == "lost" for each in own),
                end="ended" if self.end else "disputed" if self.disputed else None,
            )
            match decide(row, facts):
                case Keep() | DebitFailed():
                    pass
                case Become(status=status):
                    self.write(row, status=status, closed_because=None, next_attempt_at=None, failure_code=None)
                case Close(because=because):
                    self.write(row, status="canceled", closed_because=because, next_attempt_at=None)
                case Reopen():
                    at = max(row.due_at, self.now)
                    self.write(row, status="open", closed_because=None, round=row.round + 1, next_attempt_at=at)
                case OweAgain():
                    changes = {"status": "overdue", "round": row.round + 1, "losses": facts.losses}
                    self.write(row, **changes, next_attempt_at=None)
        broken = contradiction(self.received(), price=self.price, installments=self.rows)
        self.stopped = self.stopped or broken is not None

    def collect(self, answers: st.DataObject) -> None:
        """The timer and its job, for everything that is due now."""
        for row in list(self.rows):
            if row.status != "open" or row.next_attempt_at is None or row.next_attempt_at > self.now or self.stopped:
                continue
            method = f"pm_{self.method}"
            if not charges_again(failure_code=row.failure_code, charged_method=row.charged_method, method=method):
                self.failed(row, Failure(code=str(row.failure_code)))
                continue
            charged = [each.charged_at for each in self.rows if each.charged_at is not None]
            until = next_charge_at(max(charged, default=None))
            if until is not None and until > self.now:
                self.write(row, next_attempt_at=until)
                continue
            received = self.received().amount
            if not may_charge(row, received=received, price=self.price, installments=self.rows):
                self.stopped = True
                continue
            row = self.write(row, charged_at=self.now, charged_method=method)
            self.charges.append(self.now)
            self.charge(row, answers.draw(ANSWERS))

    def charge(self, row: Installment, answer: str) -> None:
        if answer in ("paid", "processing"):
            state = "settled" if answer == "paid" else "processing"
            self.money.setdefault(row.id, []).append(Money(row.amount, state))
            self.write(row, status="processing", next_attempt_at=None)
            self.events()
            return
        self.failures.setdefault(row.id, []).append(answer)
        self.failed(row, Failure(code=answer, method="card"))

    def failed(self, row: Installment, failure: Failure) -> None:
        attempts = row.attempts + 1
        match after_failure(failure, attempts=attempts, now=self.now):
            case Retry(at=at):
                self.write(row, attempts=attempts, next_attempt_at=at, failure_code=failure.code)
            case GiveUp():
                self.write(row, status="overdue", attempts=attempts, next_attempt_at=None, failure_code=failure.code)

    def act(self, what: str, n: int) -> None:
        row = self.rows[n % len(self.rows)]
        own = self.money.setdefault(row.id, [])
        match what:
            case "pays" if row.is_payable and not self.stopped and not self.end:
                own.append(Money(row.amount))
            case "returned" if any(each.state == "settled" for each in own):
                next(each for each in own if each.state == "settled").state = "lost"
            case "appeal":
                for each in [each for all_ in self.money.values() for each in all_ if each.state == "lost"][:1]:
                    each.state = "settled"
                self.disputed = False
            case "settles" | "bounces" if any(each.state == "processing" for each in own):
                pending = next(each for each in own if each.state == "processing")
                pending.state = "settled" if what == "settles" else "failed"
                if what == "bounces" and row.status == "processing":
                    self.failed(
                        self.write(row, status="open"), Failure(code="insufficient_funds", method="us_bank_account")
                    )
            case "late":
                own.append(Money(row.amount))  # money that nobody asked for
            case "new_method":
                self.method += 1
            case "end":
                self.end = True
            case "dispute":
                self.disputed = True
            case _:
                pass
        self.events()


def _engine(plan: PaymentPlan, price: int) -> Engine:
    rows = [
        Installment(
            id=uuid4(),
            purchase_id=uuid4(),
            student_id=uuid4(),
            position=each.position,
            kind=each.kind,
            amount=each.amount.amount,
            currency="usd",
            due_at=each.due_at,
            status="open",
            next_attempt_at=each.due_at if each.position > 1 else None,
            created_at=START,
            updated_at=START,
        )
        for each in plan_installments(applicable_plan(plan, usd(price)), usd(price), START)
    ]
    engine = Engine(price=price, rows=rows)
    engine.money[rows[0].id] = [Money(rows[0].amount)]
    engine.events()
    return engine


@settings(deadline=None)
@given(PLANS, st.integers(50, 10**6), st.lists(STEPS, max_size=40), st.data())
def test_no_charge_beyond_what_is_owed(
    plan: PaymentPlan, price: int, steps: list[tuple[str, int]], answers: st.DataObject
) -> None:
    engine = _engine(plan, price)
    for what, n in steps:
        charged, before = len(engine.charges), engine.received().amount
        if what == "time":
            engine.now += timedelta(hours=n)
            engine.collect(answers)
        else:
            engine.act(what, n)
        if len(engine.charges) > charged:
            assert not engine.end, "nothing is charged after an end"
            assert before <= engine.price
    assert all(later - earlier >= CHARGES_APART for earlier, later in pairwise(engine.charges))
    for row in engine.rows:
        hard = [n for n, code in enumerate(engine.failures.get(row.id, [])) if code in HARD_DECLINES]
        assert len(hard) <= row.round, "a hard decline ends the attempts of its round"
    assert sum(each.amount for each in engine.rows) == price


@settings(deadline=None)
@given(PLANS, st.integers(50, 10**6), st.lists(st.integers(1, 24 * 40), max_size=60), st.data())
def test_what_the_timer_collects_is_at_most_the_price(
    plan: PaymentPlan, price: int, hours: list[int], answers: st.DataObject
) -> None:
    """Without anybody acting but the bank, however long the outages are."""
    engine = _engine(plan, price)
    for each in hours:
        engine.now += timedelta(hours=each)
        engine.collect(answers)
        for row in engine.rows:
            engine.act("settles", engine.rows.index(row))
        received = engine.received()
        assert received.amount <= price
        assert received.charges <= len(engine.rows)
        assert not engine.stopped
        assert all(len([m for m in own if m.state == "settled"]) <= 1 for own in engine.money.values())
