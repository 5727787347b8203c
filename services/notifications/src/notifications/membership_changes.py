"""Mails about changes of a membership: another tier or price, and an end that was scheduled or undone. Pure.

(That it is paused, resumed or has ended is a change of its enrollment: `enrollment_messages`.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from contracts.payments import SubscriptionChanged
from ledger.payment import EARLIEST
from ledger.standing import Standing
from notifications.message import DeliveryDelay, Message
from notifications.student_facts import PurchaseFacts


def membership_change_messages(facts: PurchaseFacts) -> Iterator[Message]:
    """The latest change of either kind. Changes are counted: one that is reported again has no second mail."""
    purchase = facts.purchase
    if facts.noun != "membership" or purchase.ended or purchase.subscription_ended:
        return
    if not facts.enrollment.has_standing(Standing.ACTIVE, Standing.PAUSED):
        return
    for subscription in sorted(purchase.subscriptions):
        states = [
            fact
            for fact in purchase.facts
            if isinstance(fact, SubscriptionChanged) and fact.refs.subscription == subscription
        ]
        states.sort(key=lambda fact: (fact.as_of or EARLIEST, facts.enrollment.facts.order_of(fact)))
        if states:
            yield from _tier_message(facts, subscription, states)
            yield from _end_message(facts, subscription, states)


def _tier_message(facts: PurchaseFacts, subscription: str, states: Sequence[SubscriptionChanged]) -> Iterator[Message]:
    named = [state for state in states if state.tier]
    changes = [(before, after) for before, after in pairwise(named) if _differs(before, after)]
    if changes:
        before, after = changes[-1]
        context = {"change": "tier", "tier": after.tier, "price": after.price}
        context |= {"former_tier": before.tier if before.tier != after.tier else None}
        yield _message(facts, f"tier/{subscription}/{len(changes)}", context)


def _differs(before: SubscriptionChanged, after: SubscriptionChanged) -> bool:
    repriced = before.price is not None and after.price is not None and before.price != after.price
    return before.tier != after.tier or repriced


def _end_message(facts: PurchaseFacts, subscription: str, states: Sequence[SubscriptionChanged]) -> Iterator[Message]:
    scheduled = [False, *(state.cancel_at_period_end for state in states)]
    changes = sum(before != after for before, after in pairwise(scheduled))
    if changes:
        latest = states[-1]
        context = {"change": "ends" if latest.cancel_at_period_end else "continues", "on": latest.current_period_end}
        yield _message(facts, f"end/{subscription}/{changes}", context)


def _message(facts: PurchaseFacts, change: str, context: dict[str, Any]) -> Message:
    enrollment, purchase = facts.enrollment, facts.purchase
    key = f"membership-changed/{change}"
    unchanged = {"change": None, "tier": enrollment.tier, "former_tier": None, "price": None, "on": None}
    return Message(
        key=key,
        template="membership-changed",
        recipient="student",
        facts_key=facts.key,
        student_id=enrollment.student_id,
        purchase_id=purchase.id,
        contact=enrollment.student_contact,
        delay=DeliveryDelay.LINKED_EVENTS,
        topics=frozenset((key,)),
        context={"program": facts.title, "noun": facts.noun, **unchanged, **context},
    )
