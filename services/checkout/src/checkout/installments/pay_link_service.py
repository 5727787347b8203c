"""Where a pay link leads: to a page of Stripe's that can be paid now, made anew if the last one has ended.

A link never charges anything itself, and a page is only opened by the rules by which a purchase is started: what has
been paid, or is being paid, cannot be paid again by clicking an old link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from checkout.catalog import repository as catalog
from checkout.catalog.promotion_repository import quote
from checkout.installments import repository, sponsor_invoices
from checkout.installments.domain import Installment, waits_for_sponsor
from checkout.installments.payment_requests import NotDue, PaymentRequests
from checkout.installments.payment_service import collection_stopped
from checkout.problems import (
    ALREADY_ENROLLED,
    BUSY,
    CHECKOUT_BUSY,
    INVOICE_NOT_READY,
    NO_INVOICE,
    NO_LONGER_PAYABLE,
    NOTHING_OWED,
    PAYMENT_IN_PROGRESS,
    PRICE_CHANGED,
    SPONSOR_HAS_NOT_PAID,
    SUBSCRIPTION_BEING_CANCELED,
    UNKNOWN_LINK,
)
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.customers import Customers
from checkout.purchases.domain import OPEN, PaymentFlowName, State
from checkout.purchases.pay_links import id_in
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.service import PurchaseService
from checkout.purchases.session_flow import SessionFlow
from checkout.stripe_client import PayableInvoice, StripeRejected
from contracts.money import Money
from kit.db.unit_of_work import utc_now
from kit.http.problems import Problem

_NOBODY = UUID(int=0)
_UNPAID = (*OPEN, State.EXPIRED, State.FAILED)


class PayLinkService:
    """`pages`: the flows whose purchases are paid on a Checkout page."""

    def __init__(
        self,
        context: CheckoutContext,
        purchases: PurchaseService,
        customers: Customers,
        pages: Mapping[PaymentFlowName, SessionFlow],
    ) -> None:
        self._context = context
        self._purchases = purchases
        self._customers = customers
        self._pages = pages

    async def page(self, token: str) -> str:
        """The URL to redirect to. Raises Problem: 404 for a token that is not ours, 410 if nothing is owed for what it
        names, 502 and 503 for Stripe."""
        row, installments, named = await self._read(token)
        if row.canceled_at is not None or row.state in (State.CANCELED, State.WITHDRAWN):
            raise _ended()
        if row.payment_flow not in ("installments", "external") and row.state in _UNPAID:
            return await self._open_page(row)
        if row.state in (State.EXPIRED, State.FAILED):
            raise _ended()
        due = named or _first_owed(installments)
        if due is not None and not due.is_co_pay and row.state in OPEN:  # the first one opens the enrollment
            due = _first_owed(installments)
        if due is None:
            return self._paid_page(row)
        return await self._installment_page(row, due, installments)

    async def document(self, token: str) -> str:
        """The URL of the PDF of a sponsor's invoice. Raises Problem as `page` does, and 404 if there is no invoice."""
        row, installments, named = await self._read(token)
        chosen = named or next(iter(installments), None)
        if chosen is None or chosen.payer_of(row.payer) != "sponsor" or chosen.stripe_invoice_id is None:
            raise NO_INVOICE()
        try:
            with stripe_errors_as_problems():
                invoice = await self._context.stripe.invoice(chosen.stripe_invoice_id)
        except StripeRejected:
            raise rejected_by_stripe() from None
        if invoice.pdf is None:
            raise _not_ready()
        return invoice.pdf

    async def _read(self, token: str) -> tuple[PurchaseRow, list[Installment], Installment | None]:
        """The purchase, its installments, and the one that the token names, if it names one."""
        id = id_in(token, secret=self._context.settings.pay_link_secret.get_secret_value())
        if id is None:
            raise _unknown()
        async with self._context.unit_of_work(Buyer(id=_NOBODY, role="student")) as uow:
            await purchases.set_pay_link(uow.db, id)  # the token is the authorization
            named = await repository.read(uow.db, id)
            if named is not None:
                await purchases.set_pay_link(uow.db, named.purchase_id)
            row = await purchases.read_row(uow.db, named.purchase_id if named else id)
            if row is None:
                raise _unknown()
            return row, await repository.of_purchase(uow.db, row.id), named

    # --- a purchase that is paid on a Checkout page ---------------------------------------------------------------

    async def _open_page(self, row: PurchaseRow) -> str:
        """The page that is open, or a new one for the same item at the same price."""
        payer = _payer(row)
        async with self._context.unit_of_work(payer) as uow:
            related = await purchases.read_purchases(uow.db, row.student_id, row.covers)
        newer = next((each for each in related if each.state in OPEN and each.id != row.id), None)
        if newer is not None and row.state not in OPEN:  # the buyer has started again meanwhile
            async with self._context.unit_of_work(payer) as uow:
                current = await purchases.read_row(uow.db, newer.id)
            if current is not None and current.payment_flow in self._pages:
                row = current
        flow = self._pages.get(row.payment_flow)
        own = next((each for each in related if each.id == row.id and each.state in OPEN), None)
        try:
            if flow is not None and own is not None and (opened := await flow.resume(own, payer)) is not None:
                return opened.url
            return await self._reopen(row, payer)
        except Problem as problem:
            if problem.type in (ALREADY_ENROLLED, PAYMENT_IN_PROGRESS):
                return self._paid_page(row)
            if problem.type in (CHECKOUT_BUSY, SUBSCRIPTION_BEING_CANCELED):
                raise BUSY(problem.detail, headers={"Retry-After": "5"}) from None
            if problem.status in (502, 503):
                raise
            detail = f"This can no longer be paid by this link. {problem.detail}"
            raise NO_LONGER_PAYABLE(detail, reason=problem.code) from None

    async def _reopen(self, row: PurchaseRow, payer: Buyer) -> str:
        """Starts the purchase again. A payment intent has no page, so a page replaces it."""
        flow_name: PaymentFlowName = row.payment_flow if row.payment_flow in self._pages else "page"
        async with self._context.unit_of_work(payer) as uow:
            item = await catalog.find_any_item(uow.db, str(row.item_id or row.program_slug))
            if item is None:
                raise _changed()
            list_price = Money(amount=row.list_price or row.amount, currency=row.currency)
            priced = await quote(uow.db, item, list_price, row.promotion_code, student_id=row.student_id, at=utc_now())
        if priced.total != row.price:
            raise _changed()
        flow = self._pages[flow_name]
        wanted = replace(row.request, payment_flow=flow_name)
        return (await self._purchases.open(flow, wanted, payer, quote=priced)).url

    # --- an installment -------------------------------------------------------------------------------------------

    async def _installment_page(
        self, row: PurchaseRow, installment: Installment, installments: Sequence[Installment]
    ) -> str:
        if installment.status in ("paid", "waived") or installment.closed_because == "covered":
            return self._paid_page(row)
        if installment.status == "canceled":
            raise _ended()
        if waits_for_sponsor(installment, installments):
            raise SPONSOR_HAS_NOT_PAID()
        if row.collection_stopped is not None:
            raise collection_stopped()
        try:
            with stripe_errors_as_problems():
                invoice = await self._invoice(row, installment)
        except NotDue:
            return self._paid_page(row)
        except StripeRejected:
            raise rejected_by_stripe() from None
        if invoice.status == "paid":  # its webhook is on its way, or was lost
            await self._context.already_paid(invoice.id, _payer(row))
            return self._paid_page(row)
        if invoice.url is None:
            raise _not_ready()
        return invoice.url

    async def _invoice(self, row: PurchaseRow, installment: Installment) -> PayableInvoice:
        """The one that exists, if it can still be paid, else a new one."""
        stripe, payer = self._context.stripe, _payer(row)
        if installment.stripe_invoice_id is not None:
            existing = await stripe.invoice(installment.stripe_invoice_id)
            if existing.status in ("open", "paid"):
                return existing
        if installment.payer_of(row.payer) == "sponsor":
            return await sponsor_invoices.send(stripe, lambda: self._context.unit_of_work(payer), row, installment.id)
        requests = PaymentRequests(stripe, lambda: self._context.unit_of_work(payer))
        return await requests.invoice(installment.id, await self._customers.ensure(row.student_id, payer))

    def _paid_page(self, row: PurchaseRow) -> str:
        """Where Stripe's page leads after a payment, which is what has happened."""
        return f"{self._context.settings.frontend_url}/enroll/success?program={row.program_slug}"


def _payer(row: PurchaseRow) -> Buyer:
    return Buyer(id=row.student_id, role="student")


def _first_owed(installments: Sequence[Installment]) -> Installment | None:
    """Of the purchase's payer: a co-pay has a link of its own."""
    owed = [each for each in installments if each.is_payable and not each.is_remainder and not each.is_co_pay]
    return min(owed, key=lambda each: (each.due_at, each.position), default=None)


def _unknown() -> Problem:
    return UNKNOWN_LINK()


def _ended() -> Problem:
    return NOTHING_OWED()


def _changed() -> Problem:
    return PRICE_CHANGED()


def _not_ready() -> Problem:
    return INVOICE_NOT_READY(headers={"Retry-After": "5"})
