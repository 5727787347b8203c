"""Unmatched payments for admins: assign one to a student and an item, or refund it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, select

from checkout.catalog import repository as catalog
from checkout.catalog.item import Item
from checkout.problems import PAYMENT_RESOLVED, UNKNOWN_ITEM, UNKNOWN_PAYMENT
from checkout.purchases import (
    external_purchase,
    funding_repository,
    recorder,
    repository,
    unmatched,
    unmatched_repository,
)
from checkout.purchases.domain import PurchaseRequest
from checkout.purchases.external_purchase import UnmatchedCode
from checkout.purchases.tables import unmatched_payments
from checkout.purchases.unmatched_repository import UnmatchedPayment
from contracts.audit import Act, Action
from contracts.money import Money
from contracts.payments import PaymentRefs
from contracts.people import Payer
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.auth import Admin
from kit.http.dependencies import CallerUnitOfWork
from kit.http.erasure import refuse_erased
from kit.http.openapi import example
from kit.http.paging import Cursor, Page, page_of

router = APIRouter(prefix="/api/admin/unmatched-payments", tags=["admin"])

ListedStatus = Literal["open", "matched", "assigned", "refunding", "refunded"]


class UnmatchedPaymentView(BaseModel):
    """`amount` and `refunded` are minor units. `email`: what the payer gave Stripe. `payment_refs`: Stripe's ids."""

    id: UUID
    purchase_id: UUID
    payment_refs: PaymentRefs
    amount: int
    refunded: int
    currency: str
    email: str | None
    payer: Payer
    funding_source: str | None
    code: UnmatchedCode
    status: ListedStatus
    student_id: UUID | None = Field(description="whom an admin has assigned it to")
    failure: str | None = Field(description="why Stripe did not refund it")
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_by: str | None
    resolved_at: datetime | None


class PaymentAssignment(
    BaseModel,
    json_schema_extra=example(student_id="0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44", item="barber-apprenticeship"),
):
    """`item`: the slug, the id, or the id in the system that registered it."""

    model_config = ConfigDict(extra="forbid")

    student_id: UUID
    item: Annotated[str, Field(min_length=1, max_length=200)]


class AssignedPurchase(BaseModel):
    """`amount`: what it costs its payer, in minor units. What was received is counted against it a moment later."""

    purchase_id: UUID
    student_id: UUID
    item: str
    amount: int
    currency: str


class RefundAnswer(BaseModel):
    """`amount` is minor units. Stripe makes the refund a moment later."""

    id: UUID
    status: Literal["refunding", "refunded"]
    amount: int
    currency: str


@router.get("")
async def list_unmatched_payments(
    _: Admin,
    uow: CallerUnitOfWork,
    status: ListedStatus | None = None,
    code: UnmatchedCode | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[UnmatchedPaymentView]:
    """Payments that name no student, or nothing that is sold here; newest first. One whose match may still arrive is
    not listed yet."""
    payments = unmatched_payments
    wanted: Select[Any] = select(
        payments, payments.c.created_at.label("first_seen_at"), payments.c.updated_at.label("last_seen_at")
    ).where(payments.c.status == status if status is not None else payments.c.status != "pending")
    if code is not None:
        wanted = wanted.where(payments.c.code == code)
    return await page_of(uow.db, wanted, payments, UnmatchedPaymentView, cursor=cursor, limit=limit)


@router.post("/{id}/assign", status_code=201)
async def assign_unmatched_payment(
    id: UUID, body: PaymentAssignment, caller: Admin, uow: CallerUnitOfWork
) -> AssignedPurchase:
    """Records it as the student's purchase of this item, at the catalog's price for its payer. All payments of the same
    purchase are assigned with it. The same assignment again returns the same purchase."""
    await refuse_erased(uow.db, body.student_id)
    payment = await _lock_with_purchase(uow, id)
    item = await catalog.find_any_item(uow.db, body.item)
    if item is None:
        raise UNKNOWN_ITEM("There is no such item; GET /api/admin/items lists them.")
    if payment.status == "assigned":
        return await _assigned_before(uow, payment, body, item)
    _check_undecided(payment)
    actor = f"{caller.role}:{caller.id}"
    await repository.set_actor(uow.db, actor)
    request = _request(payment, body.student_id, item)
    if await repository.read_row(uow.db, payment.purchase_id) is None:
        await recorder.insert(uow, payment.purchase_id, request, by=actor)
    else:
        await repository.write_external(uow.db, payment.purchase_id, request, by=actor, at=uow.now)
        if request.payer == "sponsor":
            await funding_repository.correct_funding(uow.db, payment.purchase_id, request, at=uow.now)
    recorded = external_purchase.record_of(request, payment.purchase_id, payment.payment_refs, at=uow.now)
    await uow.publish(recorded, id=f"{payment.id}/{recorded.type}", subject=str(payment.purchase_id))
    await unmatched_repository.assign(uow.db, payment.purchase_id, body.student_id, by=actor, at=uow.now)
    await _record(uow, "payment.assigned", payment, student_id=body.student_id, item=item.slug)
    return _answer(payment, body, item, request.list_price or request.amount)


@router.post("/{id}/refund", status_code=202)
async def refund_unmatched_payment(id: UUID, caller: Admin, uow: CallerUnitOfWork) -> RefundAnswer:
    """Refunds all that is left of it, at Stripe. The same request again changes nothing."""
    payment = await _lock(uow, id)
    if payment.status not in ("refunding", "refunded"):
        _check_undecided(payment)
        actor = f"{caller.role}:{caller.id}"
        await unmatched_repository.write_status(uow.db, id, status="refunding", by=actor, at=uow.now)
        await unmatched.enqueue_refund(uow, payment)
        await _record(uow, "payment.refunded", payment, amount=payment.left.amount, currency=payment.currency)
    status: Literal["refunding", "refunded"] = "refunded" if payment.status == "refunded" else "refunding"
    return RefundAnswer(id=id, status=status, amount=payment.left.amount, currency=payment.currency)


async def _record(uow: UnitOfWork, action: Action, payment: UnmatchedPayment, **decided: object) -> None:
    student_id = decided.get("student_id")
    act = Act.of(
        action,
        "unmatched_payment",
        payment.id,
        purchase_id=payment.purchase_id,
        student_id=student_id if isinstance(student_id, UUID) else None,
        references=payment.payment_refs.of_payment(),
        before={"status": payment.status},
        after={"status": "assigned" if student_id else "refunding", **decided},
    )
    await audit.record(uow, act)


async def _lock(uow: UnitOfWork, id: UUID) -> UnmatchedPayment:
    payment = await unmatched_repository.lock(uow.db, id)
    if payment is None:
        raise UNKNOWN_PAYMENT("There is no such payment; GET /api/admin/unmatched-payments lists them.")
    return payment


async def _lock_with_purchase(uow: UnitOfWork, id: UUID) -> UnmatchedPayment:
    """Locks its purchase first, if there is one, in the same order as the event handlers."""
    payment = await unmatched_repository.read(uow.db, id)
    if payment is not None:
        await repository.lock_purchase(uow.db, payment.purchase_id)
    return await _lock(uow, id)


def _check_undecided(payment: UnmatchedPayment) -> None:
    if payment.status not in ("pending", "open"):
        detail = f"This payment is resolved already: {payment.status}. GET /api/admin/unmatched-payments lists others."
        raise PAYMENT_RESOLVED(detail, resolution=payment.status)


def _request(payment: UnmatchedPayment, student_id: UUID, item: Item) -> PurchaseRequest:
    """As far as it can be said without the events; they correct it when the record arrives among them."""
    is_membership = item.kind == "membership"
    sponsor = payment.funding_source if payment.payer == "sponsor" else None
    price = external_purchase.price_for(item, payer=payment.payer, interval="month" if is_membership else None)
    in_plan = not is_membership and bool(payment.payment_refs.subscription or (payment.installments or 1) > 1)
    count = external_purchase.installments_of(price, stated=payment.installments, largest=payment.amount)
    return PurchaseRequest(
        student_id=student_id,
        program=item.as_program(),
        amount=price,
        item_id=item.id,
        owner_id=item.owner_id,
        payer="sponsor" if sponsor else "student",
        funding_source=sponsor,
        payment_type="plan" if in_plan else "full",
        installments=count if in_plan else None,
        payment_flow="membership" if is_membership else "external",
        list_price=price,
        tier=item.tier,
        interval="month" if is_membership else None,
    )


async def _assigned_before(
    uow: UnitOfWork, payment: UnmatchedPayment, body: PaymentAssignment, item: Item
) -> AssignedPurchase:
    row = await repository.read_row(uow.db, payment.purchase_id)
    if row is None or (row.student_id, row.item_id) != (body.student_id, item.id):
        _check_undecided(payment)
    assert row is not None  # noqa: S101  checked above
    return _answer(payment, body, item, Money(amount=row.list_price or row.amount, currency=row.currency))


def _answer(payment: UnmatchedPayment, body: PaymentAssignment, item: Item, price: Money) -> AssignedPurchase:
    return AssignedPurchase(
        purchase_id=payment.purchase_id,
        student_id=body.student_id,
        item=item.slug,
        amount=price.amount,
        currency=price.currency,
    )
