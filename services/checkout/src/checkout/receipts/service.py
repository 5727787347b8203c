"""Issues a receipt for each payment that succeeded, and one invoice for each purchase that a sponsor pays."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from checkout.catalog.repository import find_sponsor
from checkout.payments import projection
from checkout.payments.domain import NOT_MONEY
from checkout.payments.repository import find_payment_id
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.student_repository import read_contact
from checkout.receipts import repository
from checkout.receipts.domain import Buyer, Content, Kind, Line, Seller, method_name
from checkout.receipts.repository import Document
from contracts.checkout import ReceiptIssued
from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from ledger.payment import EARLIEST, Payment
from ledger.purchase import Purchase

DEFAULT_SELLER = Seller(name="The school")


@dataclass(frozen=True, kw_only=True)
class ReceiptIssuer:
    """What every document says of the seller, and the prefixes of the numbers."""

    seller: Seller = DEFAULT_SELLER
    receipt_prefix: str = "R"
    invoice_prefix: str = "I"
    invoice_terms: str | None = None

    async def issue_receipts(
        self, uow: UnitOfWork, row: PurchaseRow, purchase: Purchase, events: Sequence[Envelope[PaymentEvent]]
    ) -> None:
        """Issues a document for each of the purchase's payments that has none yet.

        `row` is the purchase's row, locked by this transaction, so no one else is issuing for it.
        """
        paid = sorted(
            (each for each in purchase.settled_payments if _is_money(each) and _is_tax_stated(row, each)),
            key=lambda each: sorted(each.refs),
        )
        if not paid:
            return
        issued = await repository.documents_of(uow.db, row.id, frozenset().union(*(each.refs for each in paid)))
        for payment in paid:
            kind = _kind(row, payment)
            existing = next((d for d in issued if d.refs & payment.refs or (kind == "invoice" == d.kind)), None)
            if existing is None:
                nth = sum(each.purchase_id == row.id for each in issued) + 1
                issued.append(await self._issue(uow, row, purchase, payment, events, kind=kind, nth=nth))
            else:
                issued[issued.index(existing)] = await _add_refs(uow, existing, payment)

    async def _issue(
        self,
        uow: UnitOfWork,
        row: PurchaseRow,
        purchase: Purchase,
        payment: Payment,
        events: Sequence[Envelope[PaymentEvent]],
        *,
        kind: Kind,
        nth: int,
    ) -> Document:
        prefix = self.invoice_prefix if kind == "invoice" else self.receipt_prefix
        series = f"{prefix}-{uow.now.astimezone(UTC).year}"
        buyer = await (_sponsor if row.payer == "sponsor" else _student)(uow, row, purchase)
        payment_id = await find_payment_id(uow.db, row.id, payment.refs)
        # the number comes last: concurrent callers wait for it
        serial, issued_at = await repository.next_number(uow.db, series, at=uow.now)
        content = self._content(
            row,
            payment,
            kind=kind,
            number=f"{series}-{serial:06d}",
            issued_at=issued_at,
            buyer=buyer,
            nth=nth,
            paid_at=_paid_at(payment, events, uow.now),
        )
        from checkout.receipts.pdf import render  # 11 MB, which a process that issues nothing does not need

        document = Document(
            id=uuid4(),
            kind=kind,
            purchase_id=row.id,
            payment_id=payment_id,
            refs=payment.refs,
            content=content,
        )
        await repository.insert_document(uow.db, document, series=series, serial=serial)
        refunds = await repository.refunds_of(uow.db, document)
        others = await repository.other_payments_of(uow.db, document)
        balance = await repository.balance_of(uow.db, document, row)
        issued = ReceiptIssued(
            document_id=document.id,
            kind=kind,
            number=content.number,
            purchase_id=row.id,
            student_id=row.student_id,
            refs=_refs(payment),
            amount=content.paid,
            filename=content.filename,
            pdf=base64.b64encode(render(content, refunds, others, balance)).decode(),
        )
        await uow.publish(issued, id=f"{document.id}/{ReceiptIssued.type}", subject=str(row.id))
        return document

    def _content(
        self,
        row: PurchaseRow,
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
        if row.payment_flow == "membership" and (nth > 1 or not _adds_up(paid, total, payment.tax)):
            # a renewal or a changed tier has a price of its own
            name = _stated_title(payment) or name
            price = total = paid - payment.tax if payment.tax else paid
        discount = price - total
        parts = (Line(text=part.name or part.slug) for part in row.includes)
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
            discount=discount if discount.amount else None,
            promotion_code=row.promotion_code if discount.amount else None,
            total=total,
            tax=payment.tax,
            paid=paid,
            paid_at=paid_at,
            method=method_name(projection.method(payment), projection.details(payment)),
            refs=tuple(sorted(payment.refs)),
            installment=nth,
            installments=row.installments,
            funding_source=row.funding_source,
            terms=self.invoice_terms if kind == "invoice" else None,
            terms_accepted=_terms_accepted(row),
        )


def _kind(row: PurchaseRow, payment: Payment) -> Kind:
    """A sponsor's invoice is Stripe's, numbered and sent before it is paid: a second one would claim the same money
    twice, so what follows it is a receipt. A sponsor who pays otherwise has no other invoice than ours."""
    invoiced = row.payment_flow == "installments" and not any(fact.refs.manual for fact in payment.facts)
    return "invoice" if row.payer == "sponsor" and not invoiced else "receipt"


def _adds_up(paid: Money, total: Money, tax: Money | None) -> bool:
    return paid == total or (tax is not None and tax.currency == total.currency and paid == total + tax)


def _stated_title(payment: Payment) -> str | None:
    """What was paid for, according to the payment's own events."""
    return min((fact.program.title for fact in payment.facts if fact.program), default=None)


def _is_money(payment: Payment) -> bool:
    return payment.settled is not None and payment.settled.amount > 0 and payment.method not in NOT_MONEY


def _is_tax_stated(row: PurchaseRow, payment: Payment) -> bool:
    """If Stripe adds the tax, only the event of its page or invoice states how much; the intent's event, which may
    arrive first, does not. An issued document cannot be changed, so it waits for that event."""
    if not (row.session_params or {}).get("automatic_tax"):
        return True
    succeeded = (fact.refs for fact in payment.facts if isinstance(fact, PaymentSucceeded))
    return any(refs.checkout_session or refs.invoice for refs in succeeded)


async def _add_refs(uow: UnitOfWork, document: Document, payment: Payment) -> Document:
    """Stores new references, so that the document is found by any of them."""
    refs = document.refs | payment.refs
    payment_id = document.payment_id or await find_payment_id(uow.db, document.purchase_id, payment.refs)
    if (refs, payment_id) == (document.refs, document.payment_id):
        return document
    await repository.write_refs(uow.db, document.id, refs=refs, payment_id=payment_id, at=uow.now)
    return replace(document, payment_id=payment_id, refs=refs)


async def _student(uow: UnitOfWork, row: PurchaseRow, purchase: Purchase) -> Buyer:
    """The contact that the student gave us; if there is none, the one that they gave Stripe."""
    own, at_stripe = await read_contact(uow.db, row.student_id), purchase.contact
    return Buyer(
        name=(own.name if own else None) or (at_stripe.name if at_stripe else None),
        email=(own.email if own else None) or (at_stripe.email if at_stripe else None),
    )


async def _sponsor(uow: UnitOfWork, row: PurchaseRow, purchase: Purchase) -> Buyer:
    sponsor, at_stripe = await find_sponsor(uow.db, row.funding_source or "", inactive=True), purchase.contact
    return Buyer(
        name=(sponsor.name if sponsor else None) or (at_stripe.name if at_stripe else None) or row.funding_source,
        email=(sponsor.finance_email if sponsor else None) or (at_stripe.email if at_stripe else None),
    )


def _paid_at(payment: Payment, events: Sequence[Envelope[PaymentEvent]], now: datetime) -> datetime:
    """When it was received, as Stripe states it; else the time of the first new success, else now."""
    if payment.received_at > EARLIEST:
        return payment.received_at
    succeeded = (each for each in events if isinstance(each.data, PaymentSucceeded) and each.data in payment.facts)
    return min((each.time for each in succeeded), default=now)


def _refs(payment: Payment) -> PaymentRefs:
    """The payment's ids by kind. If events state several of a kind, the choice is deterministic."""
    refs: dict[str, str | None] = {}
    for kind in PaymentRefs.model_fields:
        refs[kind] = min((ref for fact in payment.facts if (ref := getattr(fact.refs, kind))), default=None)
    return PaymentRefs(**refs)


def _terms_accepted(row: PurchaseRow) -> str | None:
    if not row.terms_version or row.terms_accepted_at is None:
        return None
    return f"Terms {row.terms_version} accepted on {row.terms_accepted_at.astimezone(UTC):%Y-%m-%d}."
