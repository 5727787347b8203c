"""Which messages the facts call for. Pure: plain data in, messages out.

A message is derived from the facts when one of them arrives (it is wanted) and again when it is about to go out (it is
still wanted). So what goes out depends on what is known then, never on the order in which it became known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from ledger.policy import DEFAULT_POLICY, Policy
from notifications.alerts import about_place, refunds_that_failed
from notifications.bundles import together
from notifications.disputes import about_disputes
from notifications.enrollment import about_enrollment
from notifications.failures import about_failures
from notifications.known import Known
from notifications.message import Channel, Hold, Message
from notifications.money import about_refunds, sponsor_links
from notifications.receipts import about_receipts
from notifications.requests import about_requests

Told = Mapping[str, UUID]
"""mark -> the message that carries it and has gone out"""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the school has chosen: what money does to an enrollment, how long messages wait for facts that may still be on
    their way, and how admins are alerted."""

    policy: Policy = DEFAULT_POLICY
    receipt_settle: timedelta = timedelta(seconds=2)
    receipt_document: timedelta = timedelta(seconds=60)
    failure_settle: timedelta = timedelta(seconds=60)
    welcome_grace: timedelta = timedelta(seconds=20)
    no_contact: timedelta = timedelta(minutes=15)
    alert_channels: tuple[Channel, ...] = ("email",)

    def delay(self, hold: Hold) -> timedelta:
        match hold:
            case Hold.NOW:
                return timedelta()
            case Hold.DOCUMENT:
                return self.receipt_document
            case Hold.SETTLE:
                return self.receipt_settle
            case Hold.FAILURE:
                return self.failure_settle
            case Hold.GRACE:
                return self.welcome_grace
            case Hold.OVERDUE:
                return self.no_contact


def messages(known: Known, rules: Rules) -> list[Message]:
    """Every message that the facts call for, whether or not it has gone out already."""
    found: list[Message] = []
    for bought in known.bought:
        found += about_receipts(bought, rules.policy)
        found += about_refunds(bought, rules.policy)
        found += about_failures(bought, rules.policy)
        found += about_disputes(bought, rules.policy, rules.alert_channels)
        found += refunds_that_failed(bought, rules.alert_channels)
    for place in known.places:
        found += about_place(place, rules.policy, rules.alert_channels)
    found += together(known, [message for place in known.places for message in about_enrollment(place, rules.policy)])
    found += sponsor_links(known)
    found += about_requests(known, rules.alert_channels)
    return found


def wanted(found: Sequence[Message], told: Told) -> list[Message]:
    """Those that may go: nobody else has told it, and what has to be told before has been."""
    may_go = [message for message in found if _may_go(message, told)]
    going = frozenset[str]().union(*(m.once | m.tells for m in may_go if not m.once & told.keys()))
    return [message for message in may_go if not message.yields & going]


def marks(found: Sequence[Message]) -> frozenset[str]:
    """Every mark that decides about one of these messages."""
    return frozenset[str]().union(*(message.marks for message in found))


def _may_go(message: Message, told: Told) -> bool:
    by_another = any(
        told.get(mark, message.id) != message.id for mark in message.once | message.unless | message.yields
    )
    return not by_another and all(mark in told for mark in message.after)
