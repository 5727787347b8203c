"""A message to the payer about one of their payments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ledger.payment import Payment
from notifications.enrollment import Enrollment
from notifications.message import DeliveryDelay, Message
from notifications.student_facts import PurchaseFacts

_NONE: frozenset[str] = frozenset()


def payer_message(
    facts: PurchaseFacts,
    payment: Payment | None,
    *,
    enrollment: Enrollment | None = None,
    key: str,
    template: str,
    delay: DeliveryDelay,
    topics: frozenset[str],
    suppressed_by: frozenset[str] = _NONE,
    yields_to: frozenset[str] = _NONE,
    also_covers: frozenset[str] = _NONE,
    document_ids: tuple[UUID, ...] = (),
    context: Mapping[str, Any],  # as in Message
) -> Message:
    """`payment`: None for one about all payments. `enrollment`: the one that the mail describes, if not the first.
    The context has what every such mail needs: the item, its noun, and for a sponsor, which student it is about."""
    enrollment, purchase = enrollment or facts.enrollment, facts.purchase
    return Message(
        key=key,
        template=template,
        recipient=enrollment.payer(purchase, payment),
        facts_key=facts.key,
        student_id=enrollment.student_id,
        purchase_id=purchase.id,
        contact=enrollment.payer_contact(purchase, payment),
        delay=delay,
        topics=topics,
        suppressed_by=suppressed_by,
        yields_to=yields_to,
        also_covers=also_covers,
        document_ids=document_ids,
        context={
            "program": facts.title,
            "noun": facts.noun,
            **context,
            **enrollment.payer_context(purchase, payment),
        },
    )
