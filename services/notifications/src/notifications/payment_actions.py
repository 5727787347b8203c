"""Mails to payers who have to act before a payment can go through: 3-D Secure, or verifying a bank account. Pure.

Micro-deposits arrive after 1 to 2 business days (https://docs.stripe.com/payments/ach-direct-debit#verification).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from contracts.payments import PaymentActionRequired, PaymentEvent, PaymentFailed
from ledger.payment import Payment
from notifications.failures import AUTHENTICATION_CODES, installment_refs
from notifications.message import DeliveryDelay, Message
from notifications.payer_message import payer_message
from notifications.student_facts import PurchaseFacts, StudentFacts


def payment_action_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """One for each payment and action, as long as it is the latest that is on record about the payment."""
    enrollment, purchase = facts.enrollment, facts.purchase
    if purchase.ended:
        return
    for due in purchase.amounts_due:
        required = _latest_action(enrollment.facts, due)
        if required is None or due.settled is not None:
            continue
        url = required.url or _page(due) or facts.pay_link
        if url is None:
            continue  # only the page on which the payer is paying can do it
        yield payer_message(
            facts,
            due,
            key=f"payment-action/{min(installment_refs(due) or due.refs)}/{required.action}",
            template="payment-action-required",
            delay=DeliveryDelay.NEW_ATTEMPT,
            topics=frozenset(f"payment-action:{ref}/{required.action}" for ref in due.refs | installment_refs(due)),
            yields_to=_explained_by_failure(due),
            context={
                "amount": required.amount,
                "action": required.action,
                "url": url,
            },
        )


def _latest_action(facts: StudentFacts, due: Payment) -> PaymentActionRequired | None:
    """None if something else has happened to the payment since."""

    def order(fact: PaymentEvent) -> tuple[datetime, bool, str]:
        is_action = isinstance(fact, PaymentActionRequired)
        return facts.occurred_at(fact), not is_action, facts.id_of(fact)

    latest = max(due.facts, key=order)
    return latest if isinstance(latest, PaymentActionRequired) else None


def _page(due: Payment) -> str | None:
    pages = [fact.pay_url for fact in due.facts if isinstance(fact, PaymentFailed) and fact.pay_url]
    return pages[-1] if pages else None


def _explained_by_failure(due: Payment) -> frozenset[str]:
    """The topics of the mail about a failed attempt that asks for the same."""
    failed = [fact for fact in due.facts if isinstance(fact, PaymentFailed) and fact.code in AUTHENTICATION_CODES]
    refs = installment_refs(due) or due.refs
    return frozenset(f"payment-failed:{ref}/{fact.attempt}" for fact in failed for ref in refs)
