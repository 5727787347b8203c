"""Pays installments in the front end's card form: one installment, or the remainder."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import Installment, PlannedInstallment
from checkout.installments.payment_requests import CardForm, NotDue, PaymentRequests
from checkout.installments.shortfall import ShortfallPayments
from checkout.problems import (
    ALREADY_PAID,
    COLLECTION_STOPPED,
    ENROLLMENT_OVER,
    FIRST_INSTALLMENT_DUE,
    INSTALLMENT_BUSY,
    INSTALLMENT_CLOSED,
    NOTHING_DUE,
    PAID_ON_PAGE,
    PAYMENT_IN_PROGRESS,
    SPONSOR_HAS_NOT_PAID,
    SPONSOR_PAYS,
    UNKNOWN_ENROLLMENT,
    UNKNOWN_INSTALLMENT,
)
from checkout.purchases import repository as purchases
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.customers import Customers
from checkout.purchases.domain import OPEN, State
from checkout.purchases.repository import PurchaseRow
from checkout.stripe_client import StripeRejected
from contracts.money import Money
from kit.http.problems import Problem

_ROUNDS = 5
_ENDED = (State.WITHDRAWN, State.CANCELED, State.FAILED, State.EXPIRED)


@dataclass(frozen=True, kw_only=True)
class RequestedPayment:
    """`installment_id` None: what is missing of a purchase that has no installments."""

    installment_id: UUID | None
    form: CardForm


class InstallmentPaymentService:
    def __init__(self, context: CheckoutContext, customers: Customers, clock: Clock, buyer: Buyer) -> None:
        self._context = context
        self._customers = customers
        self._clock = clock
        self._buyer = buyer
        self._requests = PaymentRequests(context.stripe, lambda: context.unit_of_work(buyer))

    async def pay_installment(self, id: UUID) -> RequestedPayment:
        """Raises Problem 404, 409, 502 and 503."""
        async with self._context.unit_of_work(self._buyer) as uow:
            found = await repository.lock(uow.db, id)
        if found is None:
            raise unknown_installment()
        purchase, installment = found
        if not installment.is_payable:
            raise not_due(installment.status)
        return await self._request(purchase, installment)

    async def pay_remainder(self, id: UUID) -> RequestedPayment:
        """Requests everything left to pay. `id`: the purchase's or the enrollment's.

        If the amount has not changed, the intent is the same one; otherwise it is replaced.
        """
        async with self._context.unit_of_work(self._buyer) as uow:
            purchase = await purchases.find_purchase(uow.db, id)
        if purchase is None:
            raise unknown_enrollment()
        if purchase.shortfall is not None and purchase.payment_plan is None:
            shortfall = ShortfallPayments(self._context, self._customers, self._buyer)
            return RequestedPayment(installment_id=None, form=await shortfall.card_form(purchase, purchase.shortfall))
        for _ in range(_ROUNDS):
            purchase, installment, outdated = await self._remainder(purchase.id)
            if not outdated:
                return await self._request(purchase, installment)
            try:
                with stripe_errors_as_problems():
                    ended = await self._requests.end(installment)
            except StripeRejected:
                raise rejected_by_stripe() from None
            if not ended:
                raise await self._being_paid(installment)
        raise installment_busy()

    async def _remainder(self, purchase_id: UUID) -> tuple[PurchaseRow, Installment, bool]:
        """The purchase and what is to be paid. True: it is outdated, and its request has to be ended first."""
        now = await self._clock.now()
        async with self._context.unit_of_work(self._buyer) as uow:
            purchase = await purchases.lock_purchase(uow.db, purchase_id)
            assert purchase is not None  # noqa: S101  found a moment ago, and never deleted
            if purchase.state in _ENDED or purchase.canceled_at is not None:
                raise ENROLLMENT_OVER()
            installments = await repository.of_purchase(uow.db, purchase_id)
            remainder = next((each for each in installments if each.is_remainder and each.is_payable), None)
            if any(each.status == "processing" for each in installments):
                raise not_due("processing")
            parts = [each for each in installments if not each.is_remainder and each.is_payable]
            parts = [each for each in parts if each.is_co_pay] or parts  # the other one is the sponsor's
            if not parts:
                raise NOTHING_DUE()
            if len(parts) == 1:
                return purchase, parts[0], False
            amount = Money(amount=sum(each.amount for each in parts), currency=purchase.currency)
            if remainder is not None and remainder.amount == amount.amount:
                return purchase, remainder, False
            if remainder is not None and remainder.is_requested:
                return purchase, remainder, True
            if remainder is not None:
                await transitions.close(uow, purchase, remainder, because="covered")
            planned = PlannedInstallment(
                position=installments[-1].position + 1, kind="remainder", amount=amount, due_at=now
            )
            pay_url = self._context.pay_link(purchase_id)
            added = await repository.add(
                uow.db, purchase_id, purchase.student_id, planned, next_attempt_at=None, pay_url=pay_url
            )
            return purchase, added, False

    async def _request(self, purchase: PurchaseRow, installment: Installment) -> RequestedPayment:
        if installment.payer_of(purchase.payer) == "sponsor":
            raise SPONSOR_PAYS("This amount is invoiced to the sponsor.")
        if purchase.collection_stopped is not None:
            raise collection_stopped()
        async with self._context.unit_of_work(self._buyer) as uow:
            if await repository.awaits_sponsor(uow.db, installment):
                raise SPONSOR_HAS_NOT_PAID()
        if purchase.state in OPEN and installment.position > 1 and not installment.is_remainder:
            raise FIRST_INSTALLMENT_DUE()
        if purchase.payment_flow == "page" and purchase.state in OPEN:
            raise PAID_ON_PAGE(pay_url=purchase.checkout_url)
        try:
            customer_id = await self._customers.ensure(purchase.student_id, self._buyer)
            with stripe_errors_as_problems():
                form = await self._requests.card_form(installment.id, customer_id)
        except NotDue:
            raise await self._being_paid(installment) from None
        except StripeRejected:
            raise rejected_by_stripe() from None
        if form.done:
            raise await self._being_paid(installment, form.intent_id)
        return RequestedPayment(installment_id=installment.id, form=form)

    async def _being_paid(self, installment: Installment, intent_id: str | None = None) -> Problem:
        """The refusal to raise when Stripe says that it is paid, or is being paid. Its events may have been lost."""
        object_id = installment.stripe_invoice_id or installment.stripe_payment_intent_id or intent_id
        if object_id is not None:
            await self._context.already_paid(object_id, self._buyer)
        return not_due("processing")


def not_due(status: str) -> Problem:
    if status == "processing":
        detail = "This installment has been paid, or its payment is being processed; wait until it is complete."
        return PAYMENT_IN_PROGRESS(detail)
    if status in ("paid", "waived"):
        return ALREADY_PAID("This installment is already paid or waived; nothing was charged.")
    return INSTALLMENT_CLOSED()


def collection_stopped() -> Problem:
    return COLLECTION_STOPPED()


def unknown_installment() -> Problem:
    return UNKNOWN_INSTALLMENT()


def unknown_enrollment() -> Problem:
    return UNKNOWN_ENROLLMENT()


def installment_busy() -> Problem:
    return INSTALLMENT_BUSY()
