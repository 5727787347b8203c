"""Events for tests; their content does not matter."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded

PURCHASE = UUID("00000000-0000-4000-8000-000000000001")


def paid(id: str, *, intent: str = "pi_1", source: str = "tests") -> Envelope[PaymentSucceeded]:
    return Envelope(
        id=id,
        source=source,
        subject=str(PURCHASE),
        time=datetime(2026, 11, 21, tzinfo=UTC),
        data=PaymentSucceeded(refs=PaymentRefs(payment_intent=intent), amount=usd(100)),
    )
