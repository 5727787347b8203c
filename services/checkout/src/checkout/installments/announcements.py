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
    event = InstallmentAnnounced(
        installment=installment.reference,
        purchase_id=purchase.id,
        student_id=purchase.student_id,
        program=purchase.program,
        payer=purchase.payer,
        amount=installment.money,
        due_at=installment.next_attempt_at or installment.due_at,
        position=installment.position,
        installments=purchase.installments or 1,
        automatic=purchase.payer == "student" and purchase.charges > 0,
        pay_url=installment.pay_page or installment.pay_url,
        payer_contact=_payer_contact(purchase),
    )
    await uow.publish(event, id=f"{installment.reference}/{event.type}", subject=str(purchase.id))


def _payer_contact(purchase: PurchaseRow) -> Contact | None:
    if purchase.payer != "sponsor":
        return None
    stated = SponsorInvoice.from_json(purchase.session_params or {})
    return Contact(email=stated.bill_to, name=stated.sponsor)
