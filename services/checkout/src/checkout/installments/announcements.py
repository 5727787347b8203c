"""Announces an installment some days before it is charged, or due."""

from __future__ import annotations

from checkout.installments import repository
from checkout.installments.domain import Installment
from checkout.installments.invoice_terms import SponsorInvoice
from checkout.purchases.repository import PurchaseRow, read_row
from contracts.checkout import InstallmentAnnounced
from contracts.people import Contact
from kit.db.unit_of_work import UnitOfWork


async def announce(uow: UnitOfWork, installment: Installment) -> None:
    """Publishes it once per installment and round, in the transaction that has locked it."""
    purchase = await read_row(uow.db, installment.purchase_id)
    assert purchase is not None  # noqa: S101  installments refer to it
    await repository.write(uow.db, installment.id, at=uow.now, announced_round=installment.round)
    payer = installment.payer_of(purchase.payer)
    event = InstallmentAnnounced(
        installment=installment.reference,
        purchase_id=purchase.id,
        student_id=purchase.student_id,
        program=purchase.program,
        payer=payer,
        amount=installment.money,
        due_at=installment.next_attempt_at or installment.due_at,
        position=1 if installment.is_co_pay else installment.position,
        installments=purchase.installments or 1,
        automatic=await _is_automatic(uow, purchase),
        co_pay=installment.is_co_pay,
        pay_url=installment.pay_page or installment.pay_url,
        payer_contact=_payer_contact(purchase) if payer == "sponsor" else None,
    )
    await uow.publish(event, id=f"{installment.reference}/{event.type}", subject=str(purchase.id))


async def _is_automatic(uow: UnitOfWork, purchase: PurchaseRow) -> bool:
    """Whether a payment method was saved: one was charged before, or the first installment was not paid by its invoice,
    whose page saves none. Whether it can still be charged is seen on the due date."""
    if purchase.payer != "student":
        return False
    first, *others = await repository.of_purchase(uow.db, purchase.id)
    was_charged = any(each.charged_at is not None for each in (first, *others))
    return was_charged or (purchase.charges > 0 and first.stripe_invoice_id is None)


def _payer_contact(purchase: PurchaseRow) -> Contact:
    stated = SponsorInvoice.from_json(purchase.session_params or {})
    return Contact(email=stated.bill_to, name=stated.sponsor)
