"""Any realistic history, in any order and with repetitions, ends in the same payments, refunds and disputes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from tests.checkout.service import Service
from tests.deliveries import deliver_together
from tests.ledger.payment_histories import histories, purchase

from contracts.envelope import Envelope
from contracts.payments import PaymentEvent
from kit.db.database import Database, row_dict
from ledger.facts import fold

START = datetime(2026, 10, 1, 12, tzinfo=UTC)


@settings(max_examples=settings().max_examples * 2 // 5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), data=st.data())
async def test_any_order_and_batch_ends_in_the_same_rows(
    service: Service, history: dict[str, PaymentEvent], data: Any
) -> None:
    story: list[Envelope[Any]] = [
        Envelope(id=id, source="test", subject="x", time=START + timedelta(minutes=n // 2), data=event)
        for n, (id, event) in enumerate(history.items())
    ]
    again = data.draw(st.lists(st.sampled_from(story), max_size=3))
    shuffled = data.draw(st.permutations([*story, *again]))
    first = await _rows_after(service, story)
    second = await _rows_after(service, shuffled, batch=data.draw(st.integers(1, 20)))
    assert first == second
    facts = [payment for each in fold(history) for payment in each.payments]
    assert sorted(row["refs"] for row in first["payments"]) == sorted(sorted(payment.refs) for payment in facts)
    for payment in facts:
        (row,) = [row for row in first["payments"] if row["refs"] == sorted(payment.refs)]
        assert (row["status"] == "succeeded") == (payment.settled is not None) == (row["paid_at"] is not None)
        assert row["amount"] == (payment.settled.amount if payment.settled else row["amount"]) >= row["refunded"]
        assert row["disputed"] == payment.disputed
        assert {d["stripe_dispute_id"]: d["status"] for d in first["disputes"] if d["refs"] == row["refs"]} == dict(
            payment.disputes
        )


class _OpenTransaction(Database):
    """Its transactions are savepoints of one that is open."""

    def __init__(self, db: AsyncConnection) -> None:
        self._db = db

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._db.begin_nested():
            yield self._db


async def _rows_after(
    service: Service, order: Sequence[Envelope[Any]], *, batch: int = 1
) -> dict[str, list[dict[str, Any]]]:
    """The rows after these events, so many together, in a transaction that is rolled back."""
    async with service.database.engine.connect() as db, db.begin() as transaction:
        for n in (1, 2):
            await db.execute(_PURCHASE, {"id": purchase(n), "student": uuid4()})
        for start in range(0, len(order), batch):
            await deliver_together(_OpenTransaction(db), service.consumers, "checkout", order[start : start + batch])
        rows = {name: [_plain(row) for row in await db.execute(text(sql))] for name, sql in _ROWS.items()}
        await transaction.rollback()
    return rows


def _plain(row: Any) -> dict[str, Any]:
    """Without generated ids and times."""
    return {name: value for name, value in row_dict(row).items() if name not in _OWN}


_OWN = ("id", "payment_id", "student_id", "created_at", "updated_at")
_OURS = f"purchase_id IN ('{purchase(1)}', '{purchase(2)}')"
_ROWS = {
    "payments": f"SELECT * FROM payments WHERE {_OURS} ORDER BY refs",
    "refunds": f"SELECT * FROM refunds WHERE {_OURS} ORDER BY stripe_refund_id",
    "disputes": "SELECT d.*, p.refs FROM disputes d JOIN payments p ON p.id = d.payment_id "
    f"WHERE d.{_OURS} ORDER BY stripe_dispute_id",
}
_PURCHASE = text(
    "INSERT INTO purchases (id, student_id, program_id, program_slug, program_name, covers, amount, currency, payer, "
    "payment_type, state, session_params) VALUES (:id, :student, 'prog-1', 'barber-apprenticeship', 'Barber', "
    "ARRAY['barber-apprenticeship'], 489000, 'usd', 'student', 'full', 'session_open', '{}')"
)
