"""The rows of payments, refunds and disputes are what their events make of them, however they became wrong."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from tests.checkout.payment_steps import PRICE, refunded_and_disputed
from tests.checkout.service import Service

from checkout.payments.refold import payment_rows
from checkout.receipts.repository import move_documents
from kit.messaging.refold import Refolded, refold
from ledger.facts import enrollment_pattern


async def _refold(service: Service, student: UUID) -> Refolded:
    apply = payment_rows(move_documents)
    return await refold(service.database, apply, service="checkout", pattern=enrollment_pattern(str(student), None))


async def _rows(service: Service, student: UUID) -> list[list[dict[str, Any]]]:
    """Without what depends on when they were written."""
    found = []
    for table in ("payments", "refunds", "disputes"):
        rows = await service.rows(f"SELECT * FROM {table} WHERE student_id = :student ORDER BY id", student=student)
        found.append([{name: row[name] for name in row if name != "updated_at"} for row in rows])
    return found


async def test_wrong_rows_are_mended_and_right_ones_are_left_alone(service: Service) -> None:
    student = uuid4()
    await refunded_and_disputed(service, student)
    right = await _rows(service, student)
    assert [len(rows) for rows in right] == [1, 1, 1]
    published = await service.rows("SELECT count(*) AS messages FROM outbox_messages")
    assert (await _refold(service, student)).rows == 0

    for wrong in (
        "UPDATE payments SET status = 'failed', refunded = 7, disputed = false WHERE student_id = :s RETURNING 1",
        "UPDATE refunds SET status = 'pending' WHERE student_id = :s RETURNING 1",
        "UPDATE disputes SET status = 'won' WHERE student_id = :s RETURNING 1",
    ):
        await service.rows(wrong, s=student)
    result = await _refold(service, student)
    assert (result.groups, result.rows, result.events, result.failed) == (1, 3, 0, [])
    assert await _rows(service, student) == right
    assert right[0][0]["refunded"] == 1_000 < PRICE
    assert (await _refold(service, student)).rows == 0
    assert await service.rows("SELECT count(*) AS messages FROM outbox_messages") == published, "nothing is published"
