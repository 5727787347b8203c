"""What is compared: document numbers with their series, and documents with payments.

An issued document is never changed, and its number is issued once: what differs is only reported, but for the link to
its payment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.payments.domain import NOT_MONEY
from checkout.receipts.tables import documents
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.verification import Difference

NEVER_CHANGED = "an issued document is never changed; restore it from a backup"
NOT_ISSUED = "it is issued when the payment's next event arrives"

# id, column, stored, expected, reason. A payment has one receipt; a sponsor's invoice is for several payments.
_DIFFERENCES = text(
    """
    SELECT series.name || '-' || lpad(each::text, 6, '0') AS id, NULL AS field, NULL AS stored,
        'a document' AS expected, 'never_changed' AS reason
    FROM document_series AS series CROSS JOIN LATERAL generate_series(1, series.last) AS each
    WHERE NOT EXISTS (SELECT FROM documents WHERE documents.series = series.name AND documents.serial = each)
    UNION ALL
    SELECT documents.id::text, 'serial', documents.serial::text, 'at most ' || coalesce(series.last, 0), 'never_changed'
    FROM documents LEFT JOIN document_series AS series ON series.name = documents.series
    WHERE documents.serial > coalesce(series.last, 0)
    UNION ALL
    SELECT id::text, 'number', number, series || '-' || lpad(serial::text, 6, '0'), 'never_changed'
    FROM documents WHERE number <> series || '-' || lpad(serial::text, 6, '0') OR content ->> 'number' <> number
    UNION ALL
    SELECT documents.id::text, 'content.paid', content -> 'paid' ->> 'amount', payments.amount::text, 'never_changed'
    FROM documents JOIN payments ON payments.id = documents.payment_id
    WHERE documents.kind = 'receipt' AND payments.status = 'succeeded'
        AND (content -> 'paid' ->> 'amount')::bigint <> payments.amount
    UNION ALL
    SELECT min(id::text), 'payment_id', count(*) || ' receipts', 'one', 'never_changed'
    FROM documents WHERE kind = 'receipt' AND payment_id IS NOT NULL GROUP BY payment_id HAVING count(*) > 1
    UNION ALL
    SELECT documents.id::text, 'payment_id', documents.payment_id::text, 'a payment', NULL
    FROM documents WHERE payment_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM payments WHERE payments.id = documents.payment_id)
    UNION ALL
    SELECT payments.id::text, 'document', NULL, 'a document', 'not_issued'
    FROM payments JOIN purchases ON purchases.id = payments.purchase_id
    WHERE payments.status = 'succeeded' AND payments.amount > 0
        AND coalesce(payments.method, '') <> ALL (CAST(:not_money AS text[]))
        AND (purchases.session_params -> 'automatic_tax') IS NULL
        AND NOT EXISTS (SELECT FROM documents WHERE documents.purchase_id = payments.purchase_id
            AND documents.refs && payments.refs)
    """
)
_REASONS = {"never_changed": NEVER_CHANGED, "not_issued": NOT_ISSUED}
_LINK = text(
    """
    UPDATE documents SET payment_id = payments.id, updated_at = :now FROM payments
    WHERE documents.id = CAST(:id AS uuid) AND payments.purchase_id = documents.purchase_id
        AND payments.refs && documents.refs
    """
)


class DocumentComparison:
    """The unit of a repair is a document."""

    name = documents.name

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        yield await self._all(db)

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        return [each for each in await self._all(db) if each.unit == unit]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        for each in differences:
            if each.column == "payment_id" and each.reason is None:
                await uow.db.execute(_LINK, {"id": each.row, "now": uow.now})

    async def _all(self, db: AsyncConnection) -> Sequence[Difference]:
        return [_difference(row) for row in await db.execute(_DIFFERENCES, {"not_money": list(NOT_MONEY)})]


# Any: a row of text
def _difference(row: Row[Any]) -> Difference:
    table = "payments" if row.field == "document" else documents.name
    reason = _REASONS.get(row.reason or "")
    return Difference(
        table=table,
        row=row.id,
        column=row.field,
        stored=row.stored,
        expected=row.expected,
        unit=row.id,
        reason=reason,
    )
