"""Issues a receipt for each payment that succeeded, and one invoice for each purchase that a sponsor pays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from checkout.catalog.repository import find_sponsor
from checkout.payments import projection
from checkout.payments.domain import NOT_MONEY, PaymentRecord
from checkout.payments.repository import payments_of
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.student_repository import read_contacts
from checkout.purchases.update import PurchaseUpdate
from checkout.receipts import repository
from checkout.receipts.domain import Buyer, Content, Kind, Line, Seller, method_name
from checkout.receipts.jobs import enqueue_publications
from checkout.receipts.repository import Document
from contracts.envelope import Envelope
from contracts.money import Money
from contracts.payments import PaymentEvent, PaymentRefs, PaymentSucceeded
from contracts.people import Contact, Payer
from kit.db.unit_of_work import UnitOfWork
from ledger.payment import EARLIEST, Payment
from ledger.programs import fullest

DEFAULT_SELLER = Seller(name="The school")

_Records = Mapping[UUID, list[PaymentRecord]]
"""The payments of purchases, by purchase."""


@dataclass(kw_only=True)
class _Issue:
    """A document to issue, for a payment that is the `nth` of its purchase. `refs`: an invoice's grow with the
    purchase's other payments."""

    update: PurchaseUpdate
    payment: Payment
    kind: Kind
    nth: int
    refs: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.refs = self.payment.refs

    @property
    def purchase_id(self) -> UUID:
        return self.update.row.id

    @property
    def payer(self) -> Payer:
        return self.payment.payer_of(self.update.row.payer)


@dataclass(frozen=True, kw_only=True)
class ReceiptIssuer:
    """What every document says of the seller, and the prefixes of the numbers."""

    seller: Seller = DEFAULT_SELLER
    receipt_prefix: str = "R"
    invoice_prefix: str = "I"
    invoice_terms: str | None = None

    async def issue_receipts(self, updates: Sequence[PurchaseUpdate]) -> None:
        """Issues a document for each of the purchases' payments that has none yet.

        Their rows are locked by this transaction, so no one else is issuing for them.
        """
        paid = [(each, payments) for each in updates if (payments := _to_document(each))]
        if not paid:
            return
        uow = updates[0].uow
        refs = frozenset().union(*(payment.refs for _, payments in paid for payment in payments))
        stored = await repository.documents_of(uow.db, [each.row.id for each, _ in paid], refs)
        issues, linked = _compare(paid, stored)
        if not issues and not linked:
            return
        purchase_ids = {each.purchase_id for each in issues} | {each.purchase_id for each in linked}
        records = _by_purchase(await payments_of(uow.db, *purchase_ids))
        before = {each.id: each for each in stored}
        linked = [_linked(each, records) for each in linked]
        await repository.write_refs(uow.db, [each for each in linked if each != before[each.id]], at=uow.now)
        if issues:
            await self._issue(uow, issues, records)

    async def _issue(self, uow: UnitOfWork, issues: Sequence[_Issue], records: _Records) -> None:
        buyers = await _buyers(uow, issues)
        by_series = defaultdict[str, list[_Issue]](list)
        for each in issues:
            prefix = self.invoice_prefix if each.kind == "invoice" else self.receipt_prefix
            by_series[f"{prefix}-{uow.now.astimezone(UTC).year}"].append(each)
        numbered = []
        for series in sorted(by_series):
            # the numbers come last: concurrent callers wait for them
            serials, issued_at = await repository.next_numbers(uow.db, series, len(by_series[series]), at=uow.now)
            for serial, each in zip(serials, by_series[series], strict=True):
                row = each.update.row
                content = self._content(
                    row,
                    each.payment,
                    kind=each.kind,
                    number=f"{series}-{serial:06d}",
                    issued_at=issued_at,
                    buyer=buyers[row.id, each.payer],
                    nth=each.nth,
                    paid_at=_paid_at(each.payment, each.update.events, uow.now),
                )
                document = Document(
                    id=uuid4(),
                    kind=each.kind,
                    purchase_id=row.id,
                    payment_id=_payment_id(records[row.id], each.payment.refs),
                    refs=each.refs,
                    content=content,
                )
                numbered.append((each, series, serial, document))
        await repository.insert_documents(
            uow.db, [(series, serial, document) for _, series, serial, document in numbered]
        )
        issued = [(each.update, _refs(each.payment), document) for each, _, _, document in numbered]
        await enqueue_publications(issued, records)

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
        payer = payment.payer_of(row.payer)
        if row.co_pay is not None:  # each payer's own share
            price = total = row.request.payers_share if payer == "sponsor" else total - row.request.payers_share
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
            funding_source=row.funding_source if payer == row.payer else None,
            terms=self.invoice_terms if kind == "invoice" else None,
            terms_accepted=_terms_accepted(row),
        )


def _kind(row: PurchaseRow, payment: Payment) -> Kind:
    """A sponsor's invoice is Stripe's, numbered and sent before it is paid: a second one would claim the same money
    twice, so what follows it is a receipt. A sponsor who pays otherwise has no other invoice than ours."""
    invoiced = row.payment_flow == "installments" and not any(fact.refs.manual for fact in payment.facts)
    return "invoice" if payment.payer_of(row.payer) == "sponsor" and not invoiced else "receipt"


def _to_document(update: PurchaseUpdate) -> list[Payment]:
    """The payments that have a document, in an order that does not depend on that of their events."""
    settled = update.purchase.settled_payments
    paid = (each for each in settled if _is_money(each) and _is_tax_stated(update.row, each))
    return sorted(paid, key=lambda each: sorted(each.refs))


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


def _compare(
    paid: Sequence[tuple[PurchaseUpdate, Sequence[Payment]]], stored: Sequence[Document]
) -> tuple[list[_Issue], list[Document]]:
    """The documents to issue, and those that new references or a payment may be added to."""
    issues, current = list[_Issue](), {each.id: each for each in stored}
    for update, payments in paid:
        refs = frozenset().union(*(payment.refs for payment in payments))
        own: list[Document | _Issue] = [
            each for each in current.values() if each.purchase_id == update.row.id or each.refs & refs
        ]
        for payment in payments:
            kind = _kind(update.row, payment)
            existing = next((each for each in own if _is_of(each, kind, payment)), None)
            if existing is None:
                nth = sum(each.purchase_id == update.row.id for each in own) + 1
                issue = _Issue(update=update, payment=payment, kind=kind, nth=nth)
                own.append(issue)
                issues.append(issue)
            elif isinstance(existing, _Issue):
                existing.refs |= payment.refs
            else:
                added = replace(existing, refs=existing.refs | payment.refs)
                own[own.index(existing)] = current[existing.id] = added
    before = {each.id: each.refs for each in stored}
    return issues, [each for each in current.values() if each.refs != before[each.id] or each.payment_id is None]


def _is_of(document: Document | _Issue, kind: Kind, payment: Payment) -> bool:
    return bool(document.refs & payment.refs) or kind == "invoice" == document.kind


def _by_purchase(records: Sequence[PaymentRecord]) -> _Records:
    found: _Records = defaultdict(list)
    for each in records:
        found[each.purchase_id].append(each)
    return found


def _payment_id(records: Sequence[PaymentRecord], refs: frozenset[str]) -> UUID | None:
    """The payment with one of these references; the oldest, if there are several."""
    own = (each for each in records if refs & set(each.refs))
    found = min(own, key=lambda each: (each.created_at, each.id), default=None)
    return None if found is None else found.id


def _linked(document: Document, records: _Records) -> Document:
    payment_id = document.payment_id or _payment_id(records[document.purchase_id], document.refs)
    return replace(document, payment_id=payment_id)


async def _buyers(uow: UnitOfWork, issues: Sequence[_Issue]) -> dict[tuple[UUID, Payer], Buyer]:
    """By purchase and payer."""
    students = {each.update.row.student_id for each in issues if each.payer == "student"}
    contacts = await read_contacts(uow.db, students) if students else {}
    buyers = dict[tuple[UUID, Payer], Buyer]()
    for each in issues:
        row, purchase = each.update.row, each.update.purchase
        if (row.id, each.payer) in buyers:
            continue
        stated = fullest(fact.contact for fact in (purchase if row.co_pay is None else each.payment).facts)
        if each.payer == "sponsor":
            buyers[row.id, each.payer] = await _sponsor(uow, row, stated)
        else:
            buyers[row.id, each.payer] = _student(contacts.get(row.student_id), stated)
    return buyers


def _student(own: Contact | None, at_stripe: Contact | None) -> Buyer:
    """The contact that the student gave us; if there is none, the one that they gave Stripe."""
    return Buyer(
        name=(own.name if own else None) or (at_stripe.name if at_stripe else None),
        email=(own.email if own else None) or (at_stripe.email if at_stripe else None),
    )


async def _sponsor(uow: UnitOfWork, row: PurchaseRow, at_stripe: Contact | None) -> Buyer:
    sponsor = await find_sponsor(uow.db, row.funding_source or "", inactive=True)
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
