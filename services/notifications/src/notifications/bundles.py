"""One mail for all enrollments of a bundle, because they open, pause and end together. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from notifications.message import DeliveryDelay, Message, notification_id
from notifications.student_facts import PurchaseFacts, StudentFacts

_PER_ENROLLMENT = ("program", "slug", "noun", "kind", "taught", "tier", "instructor", "awaits_instructor", "links")
"""Template variables in which the enrollments of one mail may differ; all others have to be equal."""
_TOPIC = "bundled:"
_TEMPLATES = ("welcome", "enrollment-paused", "enrollment-resumed", "enrollment-withdrawn")


def with_bundle_messages(facts: StudentFacts, single: Sequence[Message]) -> Iterator[Message]:
    """The mails about single enrollments, and one for each bundle.

    Each enrollment keeps its own mail, which yields to the bundle's. So an enrollment that opens after the bundle's
    mail has gone out is still announced, and none is announced twice.
    """
    yields_to: dict[str, set[str]] = defaultdict(set)
    for purchase in facts.purchases:
        if len(purchase.enrollments) > 1:
            for message in _bundle_messages(purchase, single):
                for topic in message.topics:
                    yields_to[topic.removeprefix(_TOPIC)].add(topic)
                yield message
    for message in single:
        yield replace(message, yields_to=message.yields_to | yields_to[message.key])


def _bundle_messages(purchase: PurchaseFacts, single: Sequence[Message]) -> Iterator[Message]:
    keys = {enrollment.key for enrollment in purchase.enrollments}
    groups: dict[str, list[Message]] = defaultdict(list)
    for message in single:
        if message.facts_key in keys and message.template in _TEMPLATES:
            groups[f"{message.template} {message.student_id} {_common_context(message.context)}"].append(message)
    for messages in groups.values():
        yield _combine(purchase, messages)


def _common_context(context: Mapping[str, Any]) -> str:
    return repr(sorted((name, value) for name, value in context.items() if name not in _PER_ENROLLMENT))


def _combine(purchase: PurchaseFacts, messages: Sequence[Message]) -> Message:
    ordered = sorted(messages, key=lambda message: message.key)
    first = ordered[0]
    keys = [message.key for message in ordered]
    enrollments = sorted((dict(message.context) for message in ordered), key=lambda context: str(context["program"]))
    return replace(
        first,
        key=f"{first.template}/{purchase.purchase.id}/{notification_id(' '.join(keys))}",
        facts_key=purchase.enrollment.key,
        purchase_id=purchase.purchase.id,
        delay=_delay(purchase, ordered),
        topics=frozenset(_TOPIC + key for key in keys),
        suppressed_by=frozenset[str]().union(*(message.topics for message in ordered)),
        yields_to=frozenset[str]().union(*(message.yields_to for message in ordered)),
        also_covers=frozenset[str]().union(*(message.covers for message in ordered)),
        context={
            **first.context,
            "program": purchase.title,
            "noun": "enrollments",
            "taught": any(context["taught"] for context in enrollments),
            "enrollments": enrollments,
        },
    )


def _delay(purchase: PurchaseFacts, messages: Sequence[Message]) -> DeliveryDelay:
    """Until all enrollments of the bundle can be announced."""
    for delay in (DeliveryDelay.ASSIGNMENTS, DeliveryDelay.REFUND):
        if any(message.delay is delay for message in messages):
            return delay
    if len(messages) == len(purchase.enrollments):
        return DeliveryDelay.NONE
    return DeliveryDelay.ASSIGNMENTS if messages[0].template == "welcome" else DeliveryDelay.LINKED_EVENTS
