"""A receipt for each payment that has come in, an invoice for each purchase of a sponsor; each once."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Row, select

from checkout.catalog.tables import sponsors
from checkout.payments.domain import NOT_MONEY
from checkout.purchases.tables import contacts
from checkout.receipts import repository
from checkout.receipts.document import Buyer, Content, Kind, Line, Seller
from checkout.receipts.pdf import render
from checkout.receipts.repository import Document
from contracts.checkout import ReceiptIssued
from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from ledger.payment import Payment
from ledger.purchase import Purchase

NAMELESS = Seller(name="The school")


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Who gives receipts: what each document says of the seller, and how its numbers begin."""

    seller: Seller = NAMELESS
    receipt_prefix: str = "R"
    invoice_prefix: str = "I"
    invoice_terms: str | None = None

    async def follow(self, uow: UnitOfWork, row: Row[Any], purchase: Purchase, heard: Envelope[PaymentEvent]) -> None:
        """Gives each payment of the purchase its document, if it has none yet.

        `row` is the purchase's, locked by this transaction: so nobody else is giving one at the same time.
        """
        paid = sorted(
            (p for p in purchase.settled_payments if _of_money(p) and _tax_is_told(row, p)),
            key=lambda p: sorted(p.refs),
        )
        if not paid:
            return
        kind: Kind = "invoice" if row.payer == "sponsor" else "receipt"
        issued = await repository.documents_of(uow.db, row.id, frozenset().union(*(p.refs for p in paid)))
        for payment in paid:
            has = next((d for d in issued if d.refs & payment.refs or (kind == "invoice" == d.kind)), None)
            if has is None:
                nth = sum(d.purchase_id == row.id for d in issued) + 1
                issued.append(await self._issue(uow, row, purchase, payment, heard, kind=kind, nth=nth))
            else:
                issued[issued.index(has)] = await _learn(uow, has, payment)

    async def _issue(
        self,
        uow: UnitOfWork,
        row: Row[Any],
        purchase: Purchase,
        payment: Payment,
        heard: Envelope[PaymentEvent],
        *,
        kind: Kind,
        nth: int,
    ) -> Document:
        prefix = self.invoice_prefix if kind == "invoice" else self.receipt_prefix
        series = f"{prefix}-{uow.now.astimezone(UTC).year}"
        buyer = await (_sponsor if kind == "invoice" else _student)(uow, row, purchase)
        payment_id = await repository.payment_id_of(uow.db, row.id, payment.refs)
        # from here on others wait for their numbers
        serial, issued_at = await repository.next_number(uow.db, series, at=uow.now)
        content = self._content(
            row, payment, kind=kind, number=f"{series}-{serial:06d}", issued_at=issued_at, buyer=buyer, nth=nth,
            paid_at=_paid_at(payment, heard, uow.now),
        )  # fmt: skip
        document = Document(
            id=uuid4(),
            kind=kind,
            purchase_id=row.id,
            payment_id=payment_id,
            refs=payment.refs,
            content=content,
        )
        await repository.insert_document(uow.db, document, series=series, serial=serial)
        pdf = render(
            content, await repository.refunds_of(uow.db, document), await repository.others_of(uow.db, document)
        )
        said = ReceiptIssued(
            document_id=document.id,
            kind=kind,
            number=content.number,
            purchase_id=row.id,
            student_id=row.student_id,
            refs=_refs(payment),
            amount=content.paid,
            filename=content.filename,
            pdf=base64.b64encode(pdf).decode(),
        )
        await uow.publish(said, id=f"{document.id}/{ReceiptIssued.type}", subject=str(row.id))
        return document

    def _content(
        self,
        row: Row[Any],
        payment: Payment,
        *,
        kind: Kind,
        number: str,
        issued_at: datetime,
        buyer: Buyer,
        nth: int,
        paid_at: datetime,
    ) -> Content:
        paid = payment.settled
        assert paid is not None  # noqa: S101  only settled payments get here
        total = Money(amount=row.amount, currency=row.currency)
        price = Money(amount=max(row.list_price or row.amount, row.amount), currency=row.currency)
        name = row.program_name
        if row.how == "membership" and (nth > 1 or not _adds_up(paid, total, payment.tax)):
            # a renewal, or a change, has a price of its own
            name = _named(payment) or name
            price = total = paid - payment.tax if payment.tax else paid
        off = price - total
        parts = (Line(text=_title(part)) for part in row.includes or ())
        return Content(
            number=number,
            kind=kind,
            issued_at=issued_at,
            seller=self.seller,
            buyer=buyer,
            purchase_id=row.id,
            student_id=row.student_id,
            program=name,
            lines=(Line(text=name, amount=price), *parts),
            list_price=price,
            discount=off if off.amount else None,
            promotion_code=row.promotion_code if off.amount else None,
            total=total,
            tax=payment.tax,
            paid=paid,
            paid_at=paid_at,
            method=payment.method,
            refs=tuple(sorted(payment.refs)),
            installment=nth,
            installments=row.installments,
            funding_source=row.funding_source,
            terms=self.invoice_terms if kind == "invoice" else None,
            terms_accepted=_terms_accepted(row),
        )


def _adds_up(paid: Money, total: Money, tax: Money | None) -> bool:
    return paid == total or (tax is not None and tax.currency == total.currency and paid == total + tax)


def _named(payment: Payment) -> str | None:
    """What was paid for, as the payment itself says."""
    return min((fact.program.title for fact in payment.facts if fact.program), default=None)


def _of_money(payment: Payment) -> bool:
    return payment.settled is not None and payment.settled.amount > 0 and payment.method not in NOT_MONEY


def _tax_is_told(row: Row[Any], payment: Payment) -> bool:
    """Where Stripe adds the tax, only its page (or its invoice) says how much that was: the intent, which may be heard
    before, does not. A document that is given cannot be changed, so it waits for that word."""
    if not (row.session_params or {}).get("automatic_tax"):
        return True
    told = (fact.refs for fact in payment.facts if isinstance(fact, PaymentSucceeded))
    return any(refs.checkout_session or refs.invoice for refs in told)


async def _learn(uow: UnitOfWork, document: Document, payment: Payment) -> Document:
    """Keeps the references that are new, so that whatever names the payment later finds its document."""
    refs = document.refs | payment.refs
    payment_id = document.payment_id or await repository.payment_id_of(uow.db, document.purchase_id, payment.refs)
    if (refs, payment_id) == (document.refs, document.payment_id):
        return document
    await repository.write_refs(uow.db, document.id, refs=refs, payment_id=payment_id, at=uow.now)
    return Document(
        id=document.id,
        kind=document.kind,
        purchase_id=document.purchase_id,
        payment_id=payment_id,
        refs=refs,
        content=document.content,
    )


async def _student(uow: UnitOfWork, row: Row[Any], purchase: Purchase) -> Buyer:
    """As they last told us themselves; who came without telling, as they told Stripe."""
    found = await uow.db.execute(
        select(contacts.c.name, contacts.c.email).where(contacts.c.student_id == row.student_id)
    )
    known, told = found.one_or_none(), purchase.contact
    return Buyer(
        name=(known.name if known else None) or (told.name if told else None),
        email=(known.email if known else None) or (told.email if told else None),
    )


async def _sponsor(uow: UnitOfWork, row: Row[Any], purchase: Purchase) -> Buyer:
    found = await uow.db.execute(
        select(sponsors.c.name, sponsors.c.finance_email).where(sponsors.c.code == (row.funding_source or ""))
    )
    known, told = found.one_or_none(), purchase.contact
    return Buyer(
        name=(known.name if known else None) or (told.name if told else None) or row.funding_source,
        email=(known.finance_email if known else None) or (told.email if told else None),
    )


def _paid_at(payment: Payment, heard: Envelope[PaymentEvent], now: datetime) -> datetime:
    """When the money came; where another event has brought the payment to its purchase, now."""
    return heard.time if isinstance(heard.data, PaymentSucceeded) and heard.data in payment.facts else now


def _refs(payment: Payment) -> PaymentRefs:
    """All ids of the payment by their kinds; where facts name several of a kind, always the same one."""
    kinds = PaymentRefs.model_fields
    told: dict[str, Iterable[str]] = {
        kind: {ref for fact in payment.facts if (ref := getattr(fact.refs, kind))} for kind in kinds
    }
    return PaymentRefs(**{kind: min(refs, default=None) for kind, refs in told.items()})


def _title(part: dict[str, Any]) -> str:
    return str(part.get("name") or part.get("slug") or "")


def _terms_accepted(row: Row[Any]) -> str | None:
    if not row.terms_version or row.terms_accepted_at is None:
        return None
    return f"Terms {row.terms_version} accepted on {row.terms_accepted_at.astimezone(UTC):%Y-%m-%d}."
