"""A payment that was not started here ends in the same rows, in any order of its events."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from tests.checkout.service import Service
from tests.deliveries import find_handler

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import (
    PaymentEvent,
    PaymentFailed,
    PaymentPending,
    PaymentRefs,
    PaymentRefunded,
    PaymentSucceeded,
    SubscriptionChanged,
)
from contracts.people import Program, purchase_uuid
from kit.db.database import row_dict
from kit.db.unit_of_work import UnitOfWork, utc_now

START = datetime(2026, 10, 1, 12, tzinfo=UTC)
CPR = Program(slug="cpr", id="their-id")
BY_ID = Program(slug="barber-apprenticeship", id="barber-apprenticeship", id_only=True)
FIRST, SECOND = UUID(int=1, version=4), UUID(int=2, version=4)

History = list[PaymentEvent]


def page(name: str) -> History:
    """A page with a discount of Stripe's, of which some is refunded."""
    pi, ids = f"pi_{name}", {"purchase_id": purchase_uuid(f"pi_{name}"), "student_id": FIRST}
    session = PaymentRefs(checkout_session=f"cs_{name}", payment_intent=pi)
    return [
        PaymentSucceeded(refs=session, program=CPR, amount=usd(50_000), discount=usd(7_500), **ids),
        PaymentSucceeded(refs=PaymentRefs(payment_intent=pi, charge=f"ch_{name}"), amount=usd(50_000)),
        PaymentRefunded(refs=PaymentRefs(charge=f"ch_{name}"), refund_id=f"re_{name}", amount=usd(1_000)),
    ]


def plan(name: str) -> History:
    """A subscription of three payments, whose invoices' intents name nobody."""
    sub = f"sub_{name}"
    ids = {"purchase_id": purchase_uuid(sub), "student_id": FIRST, "program": BY_ID}
    events: History = [
        SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="active", as_of=START, **ids),
        SubscriptionChanged(refs=PaymentRefs(subscription=sub), status="canceled", as_of=START + timedelta(9), **ids),
    ]
    for n in range(1, 4):
        invoice, intent = f"in_{name}{n}", f"pi_{name}{n}"
        events += [
            PaymentSucceeded(
                refs=PaymentRefs(invoice=invoice, subscription=sub), amount=usd(163_000 + (3 - n) * 10), **ids
            ),
            PaymentSucceeded(refs=PaymentRefs(payment_intent=intent), amount=usd(163_000 + (3 - n) * 10)),
            PaymentSucceeded(
                refs=PaymentRefs(invoice=invoice, payment_intent=intent), amount=usd(163_000 + (3 - n) * 10)
            ),
        ]
    return events


def sponsored(name: str) -> History:
    """The sponsor is named by one event only."""
    pi, ids = f"pi_{name}", {"purchase_id": purchase_uuid(f"pi_{name}"), "student_id": FIRST, "program": CPR}
    return [
        PaymentSucceeded(refs=PaymentRefs(payment_intent=pi), amount=usd(57_500), **ids),
        PaymentSucceeded(
            refs=PaymentRefs(checkout_session=f"cs_{name}", payment_intent=pi),
            amount=usd(57_500),
            funding_source="wioa",
            payer="sponsor",
            **ids,
        ),
    ]


def corrected(name: str) -> History:
    """A debit was submitted for one student and one program; the payment that succeeds is another's."""
    sub, first, second = f"sub_{name}", f"in_{name}1", f"in_{name}2"
    ids = {"purchase_id": purchase_uuid(sub)}
    refs = PaymentRefs(invoice=first, subscription=sub)
    return [
        PaymentPending(refs=refs, student_id=FIRST, program=BY_ID, amount=usd(57_500), **ids),
        PaymentFailed(refs=refs, student_id=FIRST, program=BY_ID, code="declined", **ids),
        PaymentSucceeded(
            refs=PaymentRefs(invoice=second, subscription=sub),
            student_id=SECOND,
            program=CPR,
            amount=usd(57_500),
            **ids,
        ),
    ]


def unknown(name: str) -> History:
    """Two intents of one invoice that names a student, and nothing that is sold here."""
    refs = PaymentRefs(payment_intent=f"pi_{name}", invoice=f"in_{name}")
    named = {"student_id": FIRST, "program": Program(slug="nothing", id="nothing")}
    return [
        PaymentSucceeded(refs=PaymentRefs(payment_intent=f"pi_{name}"), amount=usd(100)),
        PaymentSucceeded(refs=refs, amount=usd(100)),
        PaymentSucceeded(
            refs=PaymentRefs(invoice=f"in_{name}"), amount=usd(100), purchase_id=purchase_uuid(f"in_{name}"), **named
        ),
    ]


HISTORIES: tuple[Callable[[str], History], ...] = (page, plan, sponsored, corrected, unknown)


@pytest.mark.parametrize("history", HISTORIES)
@settings(max_examples=settings().max_examples * 2 // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_order_ends_in_the_same_rows(service: Service, history: Callable[[str], History], data: Any) -> None:
    name = uuid4().hex[:10]
    story: list[Envelope[Any]] = [
        Envelope(id=f"evt_{n}_{name}/{event.type}", source="test", subject="x", time=START, data=event)
        for n, event in enumerate(history(name))
    ]
    again = data.draw(st.lists(st.sampled_from(story), max_size=3))
    shuffled = data.draw(st.permutations([*story, *again]))
    first, second = [await _rows_after(service, order, name) for order in (story, shuffled)]
    assert first == second
    assert len(first["purchases"]) == (history is not unknown)
    assert len(first["unmatched"]) == (history is unknown)


async def _rows_after(service: Service, order: Sequence[Envelope[Any]], name: str) -> dict[str, Any]:
    """The rows after these events, in a transaction that is rolled back."""
    async with service.database.engine.connect() as db, db.begin() as transaction:
        uow = UnitOfWork(db=db, source="checkout", now=utc_now())
        for event in order:
            _, handler = find_handler(service.consumers, event.type)
            await handler(event, uow)
        values = {"name": f"%{name}%"}
        rows = {table: [_plain(row) for row in await db.execute(text(sql), values)] for table, sql in _ROWS.items()}
        recorded = [json.loads(row.body) for row in await db.execute(text(_RECORDED), values)]
        rows["recorded"] = [{k: v for k, v in each.items() if k not in ("refs", "as_of")} for each in recorded[-1:]]
        await transaction.rollback()
    return rows


def _plain(row: Any) -> dict[str, Any]:
    """Without generated ids, times, and the ids that events of one payment derive before they are connected."""
    return {name: value for name, value in row_dict(row).items() if name not in _OWN}


_OWN = ("id", "purchase_id", "payment_id", "created_at", "updated_at", "paid_at")
_PAYMENTS = "SELECT * FROM payments WHERE array_to_string(refs, ' ') LIKE :name"
_ROWS = {
    "payments": f"{_PAYMENTS} ORDER BY refs",
    "purchases": f"SELECT * FROM purchases WHERE id IN (SELECT purchase_id FROM ({_PAYMENTS}) AS paid)",
    "funding": f"SELECT * FROM funding_payments WHERE id IN (SELECT purchase_id FROM ({_PAYMENTS}) AS paid)",
    "refunds": f"SELECT * FROM refunds WHERE payment_id IN (SELECT id FROM ({_PAYMENTS}) AS paid)",
    "documents": "SELECT refs FROM documents WHERE array_to_string(refs, ' ') LIKE :name ORDER BY refs",
    "unmatched": "SELECT * FROM unmatched_payments WHERE array_to_string(refs, ' ') LIKE :name ORDER BY refs",
}
_RECORDED = (
    "SELECT convert_from(body, 'UTF8') AS body FROM outbox_messages WHERE routing_key = 'purchase.recorded.v1' "
    "AND convert_from(body, 'UTF8') LIKE :name ORDER BY id"
)
