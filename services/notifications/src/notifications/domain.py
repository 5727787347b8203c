"""Which messages the facts require. Pure: plain data in, messages out.

Messages are derived when a fact arrives, to schedule them, and again when one is about to go out, to check that it is
still right. So what goes out depends on the facts at that time, never on the order in which they arrived.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from ledger.policy import DEFAULT_POLICY, Policy
from notifications.alerts import enrollment_alerts, purchase_alerts
from notifications.announcements import announcement_messages
from notifications.bundles import with_bundle_messages
from notifications.disputes import dispute_alerts
from notifications.enrollment_messages import enrollment_messages
from notifications.failed_refunds import failed_refund_messages
from notifications.failures import failure_messages
from notifications.links import DEFAULT_HOSTS, with_allowed_links
from notifications.membership_changes import membership_change_messages
from notifications.message import Channel, DeliveryDelay, Message
from notifications.payment_actions import payment_action_messages
from notifications.payment_alerts import checkout_alerts, payment_alerts
from notifications.pending_payments import pending_payment_messages
from notifications.receipts import receipt_messages
from notifications.refund_requests import refund_request_messages
from notifications.refunds import refund_messages
from notifications.returned_payments import returned_payment_messages
from notifications.sponsor_links import sponsor_link_messages
from notifications.student_facts import StudentFacts

CoveredTopics = Mapping[str, UUID]
"""topic -> id of the message that covers it and has gone out"""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Configuration: the school's policy, how long messages wait for related events, and where alerts go."""

    policy: Policy = DEFAULT_POLICY
    receipt_settle: timedelta = timedelta(seconds=2)
    receipt_document: timedelta = timedelta(seconds=60)
    failure_settle: timedelta = timedelta(seconds=60)
    refund_grace: timedelta = timedelta(seconds=60)
    welcome_grace: timedelta = timedelta(seconds=20)
    no_contact: timedelta = timedelta(minutes=15)
    alert_channels: tuple[Channel, ...] = ("email",)
    link_hosts: frozenset[str] = frozenset(DEFAULT_HOSTS)
    """Hosts that mails may link to; with a leading dot, the domain's subdomains."""

    def duration(self, delay: DeliveryDelay) -> timedelta:
        match delay:
            case DeliveryDelay.NONE:
                return timedelta()
            case DeliveryDelay.DOCUMENT:
                return self.receipt_document
            case DeliveryDelay.LINKED_EVENTS:
                return self.receipt_settle
            case DeliveryDelay.NEW_ATTEMPT:
                return self.failure_settle
            case DeliveryDelay.REFUND:
                return self.refund_grace
            case DeliveryDelay.ASSIGNMENTS:
                return self.welcome_grace
            case DeliveryDelay.CONTACT:
                return self.no_contact


def candidates(facts: StudentFacts, rules: Rules) -> list[Message]:
    """Every message that the facts require, including those that have gone out already."""
    channels = rules.alert_channels
    found: list[Message] = []
    for purchase in facts.purchases:
        found += receipt_messages(purchase)
        found += refund_messages(purchase)
        found += failed_refund_messages(purchase, channels)
        found += pending_payment_messages(purchase)
        found += payment_action_messages(purchase)
        found += failure_messages(purchase)
        found += returned_payment_messages(purchase)
        found += membership_change_messages(purchase)
        found += dispute_alerts(purchase, channels)
        found += purchase_alerts(purchase, channels)
        found += payment_alerts(purchase, channels)
    for enrollment in facts.enrollments:
        found += enrollment_alerts(enrollment, channels)
    found += with_bundle_messages(
        facts, [message for enrollment in facts.enrollments for message in enrollment_messages(enrollment)]
    )
    found += sponsor_link_messages(facts)
    found += announcement_messages(facts)
    found += refund_request_messages(facts, channels)
    found += checkout_alerts(facts, channels)
    return with_allowed_links(found, rules.link_hosts, channels)


def sendable(found: Sequence[Message], covered: CoveredTopics) -> list[Message]:
    """Those that may go out: no other message covers their topics, and what has to precede them has gone out."""
    allowed = [message for message in found if _is_allowed(message, covered)]
    pending = frozenset[str]().union(*(m.covers for m in allowed if not m.topics & covered.keys()))
    return [message for message in allowed if not message.yields_to & pending]


def relevant_topics(found: Sequence[Message]) -> frozenset[str]:
    """Every topic that decides whether one of these messages may go out."""
    return frozenset[str]().union(*(message.relevant_topics for message in found))


def _is_allowed(message: Message, covered: CoveredTopics) -> bool:
    exclusive = message.topics | message.suppressed_by | message.yields_to
    by_another = any(covered.get(topic, message.id) != message.id for topic in exclusive)
    return not by_another and all(topic in covered for topic in message.after)
