"""Sponsors' invoices: stored with their purchase, and sent at once, or by the timer's job if Stripe is unavailable."""

from __future__ import annotations

from uuid import UUID

import structlog

from checkout.installments import repository, sponsor_customers, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import sponsored_installments
from checkout.installments.invoice_terms import SponsorInvoice, due_at, sponsor_invoice
from checkout.installments.payment_requests import BeginUnitOfWork, NotDue, PaymentRequests
from checkout.problems import CO_PAY_UNTAXED
from checkout.purchases import payment_methods, student_repository
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, CheckoutContext, not_payable, rejected_by_stripe
from checkout.purchases.domain import OPEN, Change, PurchaseRequest
from checkout.purchases.funding_repository import insert_funding
from checkout.purchases.repository import PurchaseRow
from checkout.stripe_client import PayableInvoice, Stripe, StripeRejected, StripeUnavailable
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


class SponsorInvoices:
    def __init__(self, context: CheckoutContext, clock: Clock) -> None:
        self._context = context
        self._clock = clock

    async def params(self, request: PurchaseRequest, buyer: Buyer) -> dict[str, object]:
        """What the invoice states, to be stored with the purchase. `buyer` names the sponsor's finance contact."""
        assert buyer.payer_contact is not None  # noqa: S101  a sponsor without a finance contact is refused before
        async with self._context.unit_of_work(buyer) as uow:
            student = await student_repository.read_contact(uow.db, request.student_id)
        methods = payment_methods.allowed(amount=request.payers_share, payer="sponsor", payment_type="full")
        if not methods:  # none would offer all of them
            raise not_payable()
        settings = self._context.settings
        if settings.stripe_tax and request.co_pay is not None:
            raise CO_PAY_UNTAXED()  # an invoice adds tax by an address, and students give none
        stated = sponsor_invoice(
            request,
            sponsor=buyer.payer_contact.name or str(request.funding_source),
            bill_to=buyer.payer_contact.email,
            student_name=student.name if student else None,
            days=settings.sponsor_terms_days,
            payment_methods=methods,
        )
        tax: dict[str, object] = {"automatic_tax": {"enabled": True}} if settings.stripe_tax else {}
        return {**stated.to_json(), **tax}

    async def on_created(self, uow: UnitOfWork, purchase_id: UUID, request: PurchaseRequest) -> None:
        """Adds the invoice, which the timer sends unless the route has done so first, and the student's co-pay."""
        context = self._context
        now = await self._clock.now_in(uow.db)
        due = due_at(now, context.settings.sponsor_terms_days)
        await purchases.prepare_enrollment(
            uow.db, purchase_id, request, checkout_url=context.pay_link(purchase_id), expires_at=None
        )
        for each in sponsored_installments(request.amount, request.co_pay, due):
            next_attempt_at = now if context.stripe.configured else due
            await repository.add(
                uow.db,
                purchase_id,
                request.student_id,
                each,
                next_attempt_at=None if each.kind == "co_pay" else next_attempt_at,
                pay_url=context.pay_link(repository.installment_id(purchase_id, each.position)),
            )
        await insert_funding(uow.db, purchase_id, request, at=uow.now)

    async def send(self, purchase_id: UUID, buyer: Buyer) -> None:
        """Sends the invoice unless it is paid or over. If Stripe cannot be reached, the job does it.

        Raises Problem 502 if Stripe rejects it: the purchase is ended then.
        """
        if not self._context.stripe.configured:
            return
        async with self._context.unit_of_work(buyer) as uow:
            purchase = await purchases.read_row(uow.db, purchase_id)
            (installment, *_) = await repository.of_purchase(uow.db, purchase_id)
        if purchase is None or not installment.is_payable:
            return
        try:
            invoice = await send(
                self._context.stripe, lambda: self._context.unit_of_work(buyer), purchase, installment.id
            )
        except NotDue:
            return
        except StripeUnavailable:
            log.warning("sponsor's invoice is sent later", purchase=str(purchase_id))
            return
        except StripeRejected:
            await self._reject(purchase_id, buyer)
            raise rejected_by_stripe() from None
        if invoice.status != "open":
            return
        async with self._context.unit_of_work(buyer) as uow:
            found = await repository.lock(uow.db, installment.id)
            if found is not None and found[1].status == "open" and not found[1].attempts:
                await repository.write(uow.db, installment.id, at=uow.now, next_attempt_at=found[1].due_at)

    async def _reject(self, purchase_id: UUID, buyer: Buyer) -> None:
        async with self._context.unit_of_work(buyer) as uow:
            purchase = await purchases.lock_purchase(uow.db, purchase_id)
            if purchase is None or purchase.state not in OPEN:
                return
            for installment in await repository.of_purchase(uow.db, purchase_id):
                await transitions.close(uow, purchase, installment, because="expired")
            await purchases.change_state(uow.db, purchase_id, Change.REJECTED, at=uow.now)


async def send(stripe: Stripe, begin: BeginUnitOfWork, purchase: PurchaseRow, installment_id: UUID) -> PayableInvoice:
    """The installment's invoice, finalized and sent; the same one again is mailed once.

    Raises NotDue, and StripeUnavailable or StripeRejected.
    """
    stated = SponsorInvoice.from_json(purchase.session_params or {})
    customer_id = await sponsor_customers.ensure(stripe, begin, str(purchase.funding_source), stated)
    return await PaymentRequests(stripe, begin).invoice(installment_id, customer_id, stated.terms)
