"""`python -m checkout verify`: rows that were changed by hand become what payment events say, where these say it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.conftest import new_database
from tests.checkout.payment_steps import PRICE, refunded_and_disputed
from tests.checkout.service import Service
from tests.checkout.verification_steps import verify_rows

from checkout.main import comparisons
from kit.messaging.verification import Difference, verify
from ledger.policy import DEFAULT_POLICY
from testkit.postgres_server import Database, PostgresServer

Named = tuple[str, str | None, Any, Any, str]


@pytest.fixture(scope="module")
def checkout_database(postgres_server: PostgresServer) -> Database:
    """One that other tests have not filled: everything in it is compared, again and again."""
    return new_database(postgres_server)


async def verified(service: Service, purchase: UUID, *, repair: bool = False) -> list[Difference]:
    """The differences of this purchase: others leave rows behind."""
    report = await verify_rows(service, repair=repair)
    documents = await service.rows("SELECT id::text FROM documents WHERE purchase_id = :p", p=purchase)
    own = {str(purchase), *(each["id"] for each in documents)}
    own |= {
        each["id"] for each in await service.rows("SELECT id::text FROM payments WHERE purchase_id = :p", p=purchase)
    }
    return [each for each in report.differences if own & {each.unit, each.row}]


def named(found: list[Difference]) -> list[Named]:
    return [(each.table, each.column, each.stored, each.expected, each.outcome) for each in found]


@pytest.fixture
async def purchase(service: Service) -> UUID:
    """Paid, refunded in part, and disputed."""
    student = uuid4()
    row = await refunded_and_disputed(service, student)
    id = UUID(str(row["purchase_id"]))
    assert named(await verified(service, id)) == []
    return id


@pytest.mark.parametrize(
    ("sql", "difference"),
    [
        ("UPDATE payments SET amount = 1 WHERE purchase_id = :p", ("payments", "amount", 1, PRICE)),
        ("UPDATE payments SET status = 'failed' WHERE purchase_id = :p", ("payments", "status", "failed", "succeeded")),
        ("UPDATE payments SET refunded = 7 WHERE purchase_id = :p", ("payments", "refunded", 7, 1_000)),
        ("UPDATE refunds SET status = 'pending' WHERE purchase_id = :p", ("refunds", "status", "pending", "succeeded")),
        ("UPDATE refunds SET amount = 5 WHERE purchase_id = :p", ("refunds", "amount", 5, 1_000)),
        ("UPDATE disputes SET status = 'won' WHERE purchase_id = :p", ("disputes", "status", "won", "needs_response")),
        ("UPDATE purchases SET state = 'processing' WHERE id = :p", ("purchases", "state", "processing", "paid")),
        ("UPDATE purchases SET amount = 9 WHERE id = :p", ("purchases", "amount", 9, PRICE)),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
async def test_a_changed_column_is_named_and_repaired(
    service: Service, purchase: UUID, sql: str, difference: tuple[str, str, Any, Any]
) -> None:
    await service.rows(f"{sql} RETURNING 1", p=purchase)
    assert (*difference, "found") in named(await verified(service, purchase))
    assert (*difference, "repaired") in named(await verified(service, purchase, repair=True))
    assert named(await verified(service, purchase)) == []


async def test_a_deleted_payment_is_made_again_with_its_refund_and_its_receipt(
    service: Service, purchase: UUID
) -> None:
    await service.rows("DELETE FROM payments WHERE purchase_id = :p RETURNING 1", p=purchase)
    found = await verified(service, purchase, repair=True)
    assert {(each.table, each.column, each.outcome) for each in found} >= {("payments", None, "repaired")}
    assert named(await verified(service, purchase, repair=True)) == []
    (linked,) = await service.rows(
        "SELECT count(*) AS rows FROM payments JOIN refunds ON refunds.payment_id = payments.id"
        " JOIN documents ON documents.payment_id = payments.id WHERE payments.purchase_id = :p",
        p=purchase,
    )
    assert linked["rows"] == 1


async def test_a_doubled_payment_is_merged(service: Service, purchase: UUID) -> None:
    await service.rows(
        "INSERT INTO payments (purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency,"
        " status, refs) SELECT purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency,"
        " status, refs FROM payments WHERE purchase_id = :p RETURNING 1",
        p=purchase,
    )
    found = await verified(service, purchase, repair=True)
    assert [(each.table, each.column, each.expected, each.outcome) for each in found] == [
        ("payments", None, None, "repaired")
    ]
    assert named(await verified(service, purchase)) == []


async def test_money_that_nobody_has_paid_is_named_and_left_to_people(service: Service, purchase: UUID) -> None:
    await service.rows(
        "INSERT INTO payments (purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency,"
        " status, refs) SELECT purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency,"
        " status, ARRAY['pi_by_hand'] FROM payments WHERE purchase_id = :p RETURNING 1",
        p=purchase,
    )
    found = [each for each in await verified(service, purchase, repair=True) if each.column == "status"]
    assert [(each.table, each.reason, each.outcome) for each in found] == [
        ("payments", "no event says that it was paid", "not_repairable")
    ]
    await service.rows("DELETE FROM payments WHERE 'pi_by_hand' = ANY (refs) RETURNING 1")


async def test_a_receipt_is_never_changed_or_issued_again(service: Service, purchase: UUID) -> None:
    changed = """
        UPDATE documents SET content = jsonb_set(content, '{paid,amount}', '1') WHERE purchase_id = :p RETURNING id
    """
    await service.rows(changed, p=purchase)
    found = named(await verified(service, purchase, repair=True))
    assert found == [("documents", "content.paid", "1", str(PRICE), "not_repairable")]
    (gone,) = await service.rows("DELETE FROM documents WHERE purchase_id = :p RETURNING number", p=purchase)
    found = named(await verified(service, purchase, repair=True))
    assert ("payments", "document", None, "a document", "not_repairable") in found
    report = await verify(service.database, comparisons(DEFAULT_POLICY), service="checkout")
    assert gone["number"] in {each.row for each in report.differences}, "the gap in the numbers is named"
