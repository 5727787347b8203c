"""`python -m checkout verify`: installments, memberships and deleted purchases become what payment events say; nothing
is collected because of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.conftest import new_database
from tests.checkout.installment_steps import EACH, FIRST, School
from tests.checkout.membership_steps import Member
from tests.checkout.payment_steps import PRICE, paid
from tests.checkout.plan_steps import charge_of, paid_page
from tests.checkout.service import Service
from tests.checkout.verification_steps import verify_rows

from checkout.installments.verification import COLLECTED, NO_PLAN, PAUSED
from checkout.memberships.event_handlers import SYNC
from checkout.memberships.verification import NO_SUBSCRIPTION
from checkout.payments.verification import NO_FACTS
from kit.messaging.verification import Difference
from testkit.postgres_server import Database, PostgresServer


@pytest.fixture(scope="module")
def checkout_database(postgres_server: PostgresServer) -> Database:
    """One that other tests have not filled: everything in it is compared, again and again."""
    return new_database(postgres_server)


async def verified(service: Service, unit: UUID, *, repair: bool = False) -> list[Difference]:
    """The differences of one purchase: other tests leave rows behind."""
    report = await verify_rows(service, repair=repair)
    return [each for each in report.differences if each.unit == str(unit)]


def named(found: Sequence[Difference]) -> list[tuple[str, str | None, Any, Any, str]]:
    return [(each.table, each.column, each.stored, each.expected, each.outcome) for each in found]


async def audited(service: Service, id: object) -> int:
    """How often the repair of this row is in the audit trail."""
    (row,) = await service.rows(
        "SELECT count(*) AS records FROM outbox_messages WHERE routing_key = 'audit.recorded.v1'"
        " AND convert_from(body, 'UTF8') LIKE '%row.repaired%' AND convert_from(body, 'UTF8') LIKE :id",
        id=f"%{id}%",
    )
    return int(row["records"])


async def started(school: School) -> UUID:
    """A plan of a deposit and five installments, of which the deposit and the first were paid."""
    await school.started()
    await school.later(31)
    id = UUID(str((await school.service.purchase(school.student))["id"]))
    assert named(await verified(school.service, id)) == []
    return id


@pytest.mark.parametrize(
    ("position", "change", "difference"),
    [
        (1, "status = 'open'", ("status", "open", "paid")),
        (1, "status = 'canceled'", ("status", "canceled", "paid")),
        (1, "amount = 7", ("amount", 7, FIRST)),
        (3, "amount = 7", ("amount", 7, EACH)),
        (3, "kind = 'deposit'", ("kind", "deposit", "installment")),
    ],
)
async def test_a_changed_installment_is_named_and_repaired(
    school: School, position: int, change: str, difference: tuple[str, Any, Any]
) -> None:
    purchase = await started(school)
    changed = f"UPDATE installments SET {change} WHERE purchase_id = :p AND position = :n RETURNING id"
    (row,) = await school.service.rows(changed, p=purchase, n=position)
    assert named(await verified(school.service, purchase)) == [("installments", *difference, "found")]
    repaired = await verified(school.service, purchase, repair=True)
    assert named(repaired) == [("installments", *difference, "repaired")]
    assert await audited(school.service, row["id"]) == 1
    assert named(await verified(school.service, purchase)) == []
    await school.service.rows(changed, p=purchase, n=position)
    again = await verified(school.service, purchase, repair=True)
    assert [each.outcome for each in again] == ["repaired_before"]


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ("status = 'paid', next_attempt_at = NULL", "paid", NO_FACTS),
        ("status = 'canceled', next_attempt_at = NULL", "canceled", COLLECTED),
        ("status = 'canceled', closed_because = 'expired'", "canceled", COLLECTED),
    ],
)
async def test_what_is_still_owed_is_named_and_not_collected(
    school: School, change: str, status: str, reason: str
) -> None:
    purchase = await started(school)
    sql = f"UPDATE installments SET {change} WHERE purchase_id = :p AND position = 4 RETURNING 1"
    await school.service.rows(sql, p=purchase)
    (found,) = await verified(school.service, purchase, repair=True)
    assert (found.column, found.stored, found.reason, found.outcome) == ("status", status, reason, "not_repairable")
    await school.run_due()
    assert (await school.installments())[3]["status"] == status


async def test_a_deleted_installment_that_was_paid_is_paid_again_without_a_charge(school: School) -> None:
    purchase = await started(school)
    before = await school.charges()
    sql = "DELETE FROM installments WHERE purchase_id = :p AND position = 2 RETURNING id"
    (row,) = await school.service.rows(sql, p=purchase)
    (found,) = await verified(school.service, purchase, repair=True)
    assert (found.row, found.column, found.stored, found.outcome) == (str(row["id"]), None, None, "repaired")
    assert named(await verified(school.service, purchase)) == []
    assert [each["status"] for each in await school.installments()][:2] == ["paid", "paid"]
    await school.run_due()
    assert await school.charges() == before


async def test_a_deleted_installment_that_is_owed_is_added_as_paused(school: School) -> None:
    purchase = await started(school)
    sql = "DELETE FROM installments WHERE purchase_id = :p AND position = 6 RETURNING due_at"
    (row,) = await school.service.rows(sql, p=purchase)
    (found,) = await verified(school.service, purchase, repair=True)
    assert (found.column, found.reason, found.outcome) == (None, PAUSED, "repaired")
    last = (await school.installments())[5]
    assert (last["status"], last["amount"], last["due_at"]) == ("paused", EACH, row["due_at"])
    assert named(await verified(school.service, purchase)) == []
    await school.later(400)
    assert (await school.installments())[5]["status"] == "paused"


async def test_an_installment_added_by_hand_is_removed(school: School) -> None:
    purchase = await started(school)
    await school.service.rows(
        "INSERT INTO installments (purchase_id, student_id, position, kind, amount, currency, due_at, status)"
        " SELECT purchase_id, student_id, 7, kind, amount, currency, due_at, 'open' FROM installments"
        " WHERE purchase_id = :p AND position = 6 RETURNING id",
        p=purchase,
    )
    (found,) = await verified(school.service, purchase, repair=True)
    assert (found.table, found.column, found.expected, found.outcome) == ("installments", None, None, "repaired")
    assert len(await school.installments()) == 6


async def test_a_plan_that_was_started_on_stripes_page_holds(school: School) -> None:
    await paid_page(school)
    purchase = UUID(str((await school.service.purchase(school.student))["id"]))
    assert named(await verified(school.service, purchase)) == []


async def test_a_plan_stays_closed_after_a_refund_that_failed(school: School) -> None:
    await paid_page(school)
    charge = await charge_of(school, 1)
    await school.sandbox.operate(f"/charges/{charge}/refund")
    await school.run_due()
    (refund,) = (await school.sandbox.api.refunds.list_async({"charge": charge})).data
    await school.sandbox.operate(f"/refunds/{refund.id}/fail")
    await school.run_due()
    assert await school.statuses() == ["paid", "canceled", "canceled", "canceled"]
    purchase = UUID(str((await school.service.purchase(school.student))["id"]))
    assert named(await verified(school.service, purchase)) == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("status = 'canceled'", ("status", "canceled", "active")),
        ("tier = 'gold'", ("tier", "gold", "student")),
        ("paused = true", ("paused", True, False)),
        ("stripe_subscription_id = 'sub_by_hand'", ("stripe_subscription_id", "sub_by_hand", None)),
    ],
)
async def test_a_changed_membership_is_named_and_repaired(
    member: Member, change: str, difference: tuple[str, Any, Any]
) -> None:
    subscription = await member.join()
    row = await member.row()
    assert named(await verified(member.service, row["id"])) == []
    await member.service.rows(f"UPDATE memberships SET {change} WHERE id = :id RETURNING 1", id=row["id"])
    column, old, new = difference
    (found,) = await verified(member.service, row["id"], repair=True)
    assert (found.column, found.stored, found.expected) == (column, old, subscription if new is None else new)
    assert found.outcome == "repaired"
    assert named(await verified(member.service, row["id"])) == []
    assert await audited(member.service, row["id"]) == 1
    repaired = await member.row()
    unchanged = ("status", "tier", "paused", "stripe_subscription_id", "student_id", "interval", "stripe_price_id")
    assert [repaired[name] for name in unchanged] == [row[name] for name in unchanged]


async def test_a_deleted_membership_is_added_and_read_at_stripe(member: Member) -> None:
    await member.join()
    row = await member.row()
    await member.service.rows("DELETE FROM memberships WHERE id = :id RETURNING 1", id=row["id"])
    (found,) = await verified(member.service, row["id"], repair=True)
    assert (found.table, found.column, found.stored, found.outcome) == ("memberships", None, None, "repaired")
    await member.service.perform(member.id, SYNC)
    restored = await member.row()
    unchanged = ("status", "tier", "stripe_subscription_id", "student_id", "interval", "stripe_price_id", "item_id")
    assert [restored[name] for name in unchanged] == [row[name] for name in unchanged]
    assert named(await verified(member.service, row["id"])) == []


async def test_a_membership_without_a_subscription_is_left_to_people(service: Service) -> None:
    id = uuid4()
    await service.rows(
        "INSERT INTO memberships (id, student_id, item_id, tier, interval, status, stripe_subscription_id, as_of)"
        " VALUES (:id, :id, :id, 'student', 'month', 'active', 'sub_nobody', now()) RETURNING 1",
        id=id,
    )
    (found,) = await verified(service, id, repair=True)
    assert (found.reason, found.outcome) == (NO_SUBSCRIPTION, "not_repairable")
    await service.rows("DELETE FROM memberships WHERE id = :id RETURNING 1", id=id)


async def test_a_deleted_purchase_is_restored_from_its_payment(service: Service) -> None:
    student = uuid4()
    id = UUID(str((await paid(service, student))["purchase_id"]))
    before = await service.purchase(student)
    published = await service.published(student, "purchase.recorded.v1")
    await service.rows("DELETE FROM purchases WHERE id = :id RETURNING 1", id=id)
    (found,) = await verified(service, id)
    assert (found.table, found.column, found.stored, found.outcome) == ("purchases", None, None, "found")
    (found,) = await verified(service, id, repair=True)
    assert (found.outcome, found.expected["amount"]) == ("repaired", PRICE)
    after = await service.purchase(student)
    same: tuple[str, ...] = (
        "state",
        "amount",
        "currency",
        "payer",
        "payment_flow",
        "payment_type",
        "item_id",
        "item_kind",
        "covers",
    )
    same += ("program_slug", "program_name", "stripe_checkout_session_id", "recorded_by", "shortfall")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert named(await verified(service, id)) == []
    assert await audited(service, id) == 1
    assert await service.published(student, "purchase.recorded.v1") == published
    await service.rows("DELETE FROM purchases WHERE id = :id RETURNING 1", id=id)
    assert [each.outcome for each in await verified(service, id, repair=True)] == ["repaired_before"]


async def test_a_deleted_plan_that_no_event_describes_is_named(school: School) -> None:
    """The purchase is restored; what is still to be collected, and when, is not in its payments."""
    purchase = await started(school)
    before = await school.charges()
    await school.service.rows("DELETE FROM installments WHERE purchase_id = :p RETURNING 1", p=purchase)
    await school.service.rows("DELETE FROM purchases WHERE id = :p RETURNING 1", p=purchase)
    found = await verified(school.service, purchase, repair=True)
    assert [(each.table, each.column, each.reason, each.outcome) for each in found] == [
        ("purchases", None, None, "repaired"),
        ("installments", None, NO_PLAN, "not_repairable"),
        ("installments", None, NO_PLAN, "not_repairable"),
    ]
    assert (await school.service.purchase(school.student))["state"] == "paid"
    await school.later(60)
    assert await school.charges() == before
