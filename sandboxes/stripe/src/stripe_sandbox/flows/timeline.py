"""Passage of time: processes everything due, oldest first, each with the clock at its due time.

Due times are derived from the objects (periods, retries, phases, expirations); there is no separate schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from stripe_sandbox.errors import StripeError
from stripe_sandbox.flows import (
    checkout_completion,
    collection,
    disputes,
    invoices,
    payments,
    settlement,
    subscription_schedules,
    subscriptions,
)
from stripe_sandbox.flows.payments import Decline
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj

_INCOMPLETE_SECONDS = 23 * 3_600
_BILLED = ("active", "past_due", "unpaid", "trialing")


@dataclass(frozen=True)
class _Due:
    """An action due at a time. `rank` orders actions of the same second, e.g. phase ends before renewals."""

    at: int
    rank: int
    run: Callable[[], None]


def run_until(sandbox: Sandbox, test_clock: str | None, target: int) -> None:
    """Processes everything due up to `target` on one clock, then sets the clock to `target`."""
    while (due := _next(sandbox, test_clock, target)) is not None:
        if due.at > sandbox.clock.now(test_clock):
            sandbox.clock.set(test_clock, due.at)
        sandbox.store.touch_unfinished()
        due.run()
    if target > sandbox.clock.now(test_clock):
        sandbox.clock.set(test_clock, target)


def catch_up(sandbox: Sandbox) -> None:
    """Processes everything due on the sandbox clock by now."""
    now = sandbox.clock.now()
    while (due := _next(sandbox, None, now)) is not None:
        sandbox.store.touch_unfinished()
        due.run()


def _next(sandbox: Sandbox, test_clock: str | None, target: int) -> _Due | None:
    pending = [due for due in _pending(sandbox, test_clock) if due.at <= target]
    return min(pending, key=lambda due: (due.at, due.rank), default=None)


def _pending(sandbox: Sandbox, test_clock: str | None) -> Iterator[_Due]:
    store = sandbox.store
    for schedule in store.where("subscription_schedule", test_clock=test_clock, status="active"):
        if (at := subscription_schedules.phase_end(schedule)) is not None:
            yield _Due(at, 0, partial(subscription_schedules.advance, sandbox, schedule))
    for subscription in store.unfinished("subscription", "canceled", "incomplete_expired"):
        if subscription["test_clock"] == test_clock:
            yield from _due_of_subscription(sandbox, subscription)
    for invoice in store.unfinished("invoice", "paid", "void"):
        if invoice["test_clock"] != test_clock:
            continue
        if (at := _invoice_due(invoice)) is not None:
            yield _Due(at, 2, partial(_advance_invoice, sandbox, invoice))
        if invoice["status"] == "open" and invoice["due_date"] and invoice["id"] not in sandbox.internal.overdue:
            yield _Due(invoice["due_date"], 3, partial(_mark_overdue, sandbox, invoice))
    for dispute in store.unfinished("dispute", "won", "lost", "warning_closed"):
        charge = store.get("charge", dispute["charge"])
        deadline = disputes.response_deadline(dispute)
        if deadline is not None and sandbox.clock.test_clock_of(charge["customer"]) == test_clock:
            yield _Due(deadline, 3, partial(disputes.close_unanswered, sandbox, dispute))
    for session in store.unfinished("checkout.session", "complete", "expired"):
        if sandbox.clock.test_clock_of(session["customer"]) == test_clock:
            yield _Due(session["expires_at"], 3, partial(checkout_completion.expire, sandbox, session))
    for intent in [store.get("payment_intent", id) for id in sandbox.internal.settles_at]:
        if sandbox.clock.test_clock_of(intent["customer"]) == test_clock:
            yield _Due(sandbox.internal.settles_at[intent["id"]], 3, partial(_settle, sandbox, intent))


def _due_of_subscription(sandbox: Sandbox, subscription: Obj) -> Iterator[_Due]:
    if subscription["status"] == "incomplete":
        yield _Due(
            subscription["created"] + _INCOMPLETE_SECONDS,
            0,
            lambda: subscriptions.expire_incomplete(sandbox, subscription),
        )
    if subscription["status"] not in _BILLED:
        return
    pause = subscription["pause_collection"]
    if pause is not None and pause["resumes_at"] is not None:
        yield _Due(pause["resumes_at"], 0, lambda: _unpause(sandbox, subscription))
    end = subscriptions.period(subscription)[1]
    if subscription["cancel_at"] is not None:
        yield _Due(subscription["cancel_at"], 0, lambda: subscriptions.cancel(sandbox, subscription))
    elif subscription["cancel_at_period_end"]:
        yield _Due(end, 0, lambda: subscriptions.cancel(sandbox, subscription))
    yield _Due(end, 1, lambda: _renew(sandbox, subscription))


def _renew(sandbox: Sandbox, subscription: Obj) -> None:
    """Starts the next period and drafts its invoice. Emits customer.subscription.updated."""
    before = copy_of(subscription)
    subscriptions.advance_period(subscription)
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    pause = subscription["pause_collection"]
    mark = sandbox.events.mark()
    invoice = subscriptions.draft_invoice(sandbox, subscription, "subscription_cycle", auto_advance=pause is None)
    mark.emit("customer.subscription.updated", subscription, before)
    if pause is None:
        invoice["automatically_finalizes_at"] = invoice["created"] + sandbox.settings.invoice_finalization_seconds
    elif pause["behavior"] != "keep_as_draft":
        invoices.finalize(sandbox, invoice)
        if invoice["status"] == "open" and pause["behavior"] == "void":
            invoices.void(sandbox, invoice)
        elif invoice["status"] == "open":
            invoices.mark_uncollectible(sandbox, invoice)


def _unpause(sandbox: Sandbox, subscription: Obj) -> None:
    before = copy_of(subscription)
    subscription["pause_collection"] = None
    sandbox.emit("customer.subscription.updated", subscription, before)


def _mark_overdue(sandbox: Sandbox, invoice: Obj) -> None:
    """Emits invoice.overdue, once. The invoice's subscription becomes past due."""
    sandbox.internal.overdue.add(invoice["id"])
    sandbox.emit("invoice.overdue", invoice)
    subscription = subscriptions.subscription_of(sandbox, invoice)
    if subscription is not None and subscription["status"] == "active":
        subscriptions.change_status(sandbox, subscription, "past_due")


def _settle(sandbox: Sandbox, intent: Obj) -> None:
    """Settles or fails a bank debit, depending on the test account."""
    instrument = payments.instrument_of(sandbox, intent)
    if instrument.settles_successfully:
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
        with suppress(StripeError):  # a failed finalization leaves a draft
            collection.finalize_and_collect(sandbox, invoice)
        return
    invoice["next_payment_attempt"] = None
    collection.collect(sandbox, invoice)
