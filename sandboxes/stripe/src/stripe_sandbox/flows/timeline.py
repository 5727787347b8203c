"""Time passing: whatever falls due is done at its own moment, oldest first, as if nobody had pushed the clock.

What is due is read from the objects themselves (periods, retries, phases, expiries), so there is no second calendar
that could disagree with them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from stripe_sandbox.flows import (
    checkout_completion,
    collecting,
    disputing,
    invoicing,
    payments,
    phases,
    settlement,
    subscribing,
)
from stripe_sandbox.flows.payments import Decline
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_PATIENCE = 23 * 3_600  # seconds that a first invoice may wait for its payment
_BILLED = ("active", "past_due", "unpaid", "trialing")


@dataclass(frozen=True)
class _Due:
    """Something to do at a moment. Ends of phases come before renewals of the same second (`rank`)."""

    at: int
    rank: int
    do: Callable[[], None]


def run_until(sandbox: Sandbox, test_clock: str | None, target: int) -> None:
    """Live through everything up to `target` on one clock; objects on other clocks are left alone."""
    while (due := _next(sandbox, test_clock, target)) is not None:
        if due.at > sandbox.clock.now(test_clock):
            sandbox.clock.set(test_clock, due.at)
        due.do()
    if target > sandbox.clock.now(test_clock):
        sandbox.clock.set(test_clock, target)


def catch_up(sandbox: Sandbox) -> None:
    """Do what has fallen due on the sandbox's own clock, which runs by itself."""
    now = sandbox.clock.now()
    while (due := _next(sandbox, None, now)) is not None:
        due.do()


def _next(sandbox: Sandbox, test_clock: str | None, target: int) -> _Due | None:
    pending = [due for due in _pending(sandbox, test_clock) if due.at <= target]
    return min(pending, key=lambda due: (due.at, due.rank), default=None)


def _pending(sandbox: Sandbox, test_clock: str | None) -> Iterator[_Due]:
    store = sandbox.store
    for schedule in store.where("subscription_schedule", test_clock=test_clock, status="active"):
        if (at := phases.boundary(schedule)) is not None:
            yield _Due(at, 0, partial(phases.advance, sandbox, schedule))
    for subscription in store.unfinished("subscription", "canceled", "incomplete_expired"):
        if subscription["test_clock"] == test_clock:
            yield from _of_subscription(sandbox, subscription)
    for invoice in store.unfinished("invoice", "paid", "void"):
        if invoice["test_clock"] != test_clock:
            continue
        if (at := _invoice_due(invoice)) is not None:
            yield _Due(at, 2, partial(_advance_invoice, sandbox, invoice))
        if invoice["status"] == "open" and invoice["due_date"] and invoice["id"] not in sandbox.hidden.overdue:
            yield _Due(invoice["due_date"], 3, partial(_fall_overdue, sandbox, invoice))
    for dispute in store.unfinished("dispute", "won", "lost", "warning_closed"):
        charge = store.get("charge", dispute["charge"])
        answer_by = disputing.due(dispute)
        if answer_by is not None and sandbox.clock.test_clock_of(charge["customer"]) == test_clock:
            yield _Due(answer_by, 3, partial(disputing.lapse, sandbox, dispute))
    for session in store.unfinished("checkout.session", "complete", "expired"):
        if sandbox.clock.test_clock_of(session["customer"]) == test_clock:
            yield _Due(session["expires_at"], 3, partial(checkout_completion.expire, sandbox, session))
    for intent in [store.get("payment_intent", id) for id in sandbox.hidden.settles_at]:
        if sandbox.clock.test_clock_of(intent["customer"]) == test_clock:
            yield _Due(sandbox.hidden.settles_at[intent["id"]], 3, partial(settle, sandbox, intent))


def _of_subscription(sandbox: Sandbox, subscription: Obj) -> Iterator[_Due]:
    if subscription["status"] == "incomplete":
        yield _Due(subscription["created"] + _PATIENCE, 0, lambda: subscribing.never_began(sandbox, subscription))
    if subscription["status"] not in _BILLED:
        return
    pause = subscription["pause_collection"]
    if pause is not None and pause["resumes_at"] is not None:
        yield _Due(pause["resumes_at"], 0, lambda: _unpause(sandbox, subscription))
    end = subscribing.period(subscription)[1]
    if subscription["cancel_at"] is not None:
        yield _Due(subscription["cancel_at"], 0, lambda: subscribing.end(sandbox, subscription))
    elif subscription["cancel_at_period_end"]:
        yield _Due(end, 0, lambda: subscribing.end(sandbox, subscription))
    yield _Due(end, 1, lambda: renew(sandbox, subscription))


def renew(sandbox: Sandbox, subscription: Obj) -> None:
    """The next period begins: customer.subscription.updated, and a draft that is charged an hour later."""
    before = copy_of(subscription)
    subscribing.roll(subscription)
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    pause = subscription["pause_collection"]
    with sandbox.events.held() as held:
        invoice = subscribing.draft_invoice(sandbox, subscription, "subscription_cycle", auto_advance=pause is None)
        held.first("customer.subscription.updated", subscription, before)
    if pause is None:
        invoice["automatically_finalizes_at"] = invoice["created"] + sandbox.settings.invoice_finalization_seconds
    elif pause["behavior"] != "keep_as_draft":
        invoicing.finalize(sandbox, invoice)
        if invoice["status"] == "open" and pause["behavior"] == "void":
            invoicing.void(sandbox, invoice)
        elif invoice["status"] == "open":
            invoicing.give_up(sandbox, invoice)


def _unpause(sandbox: Sandbox, subscription: Obj) -> None:
    before = copy_of(subscription)
    subscription["pause_collection"] = None
    sandbox.emit("customer.subscription.updated", subscription, before)


def _fall_overdue(sandbox: Sandbox, invoice: Obj) -> None:
    """Nobody paid in time: invoice.overdue, once; a subscription that is billed by invoice is past due."""
    sandbox.hidden.overdue.add(invoice["id"])
    sandbox.emit("invoice.overdue", invoice)
    subscription = subscribing.subscription_of(sandbox, invoice)
    if subscription is not None and subscription["status"] == "active":
        subscribing.change_status(sandbox, subscription, "past_due")


def settle(sandbox: Sandbox, intent: Obj) -> None:
    """A bank debit comes to its end: as the account that the customer chose behaves."""
    instrument = payments.instrument_of(sandbox, intent)
    if instrument.later_succeeds:
        settlement.succeed(sandbox, intent)
    else:
        settlement.fail(sandbox, intent, Decline.of(instrument))


def _invoice_due(invoice: Obj) -> int | None:
    if invoice["status"] == "draft":
        at: int | None = invoice["automatically_finalizes_at"]
    elif invoice["status"] == "open" and invoice["auto_advance"]:
        at = invoice["next_payment_attempt"]
    else:
        at = None
    return at


def _advance_invoice(sandbox: Sandbox, invoice: Obj) -> None:
    if invoice["status"] == "draft":
        collecting.finalize_and_collect(sandbox, invoice)
        return
    invoice["next_payment_attempt"] = None
    collecting.collect(sandbox, invoice)
