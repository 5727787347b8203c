"""Records money that did not come through Stripe, and publishes it like any other payment."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

from checkout.installments import repository, transitions
from checkout.installments.clock import Clock
from checkout.installments.domain import Installment, ManualMethod, ManualPayment
from checkout.installments.payment_requests import PaymentRequests, is_not_due
from checkout.installments.payment_service import installment_busy, not_due, unknown_installment
from checkout.payments.repository import insert_payment
from checkout.problems import ALREADY_PAID, REFERENCE_ALREADY_RECORDED, SPONSOR_HAS_NOT_PAID, SPONSOR_MUST_PAY
from checkout.purchases.context import Buyer, CheckoutContext, rejected_by_stripe, stripe_errors_as_problems
from checkout.purchases.domain import OPEN
from checkout.purchases.event_fields import purchase_fields
from checkout.purchases.repository import PurchaseRow
from checkout.purchases.student_repository import read_contact
from checkout.stripe_client import StripeRejected
from contracts.audit import Act
from contracts.money import Money
from contracts.payments import PaymentRefs, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from kit.http import audit
from kit.http.problems import Problem

_ROUNDS = 5


class ManualPaymentService:
    """Ends the installment's intent or invoice at Stripe first, and records the payment only if there is no other."""

    def __init__(self, context: CheckoutContext, clock: Clock, buyer: Buyer) -> None:
        self._context = context
        self._clock = clock
        self._buyer = buyer
        self._requests = PaymentRequests(context.stripe, lambda: context.unit_of_work(buyer))

    async def record(
        self, id: UUID, method: ManualMethod, transaction_reference: str, notes: str | None
    ) -> ManualPayment:
        """The same reference for the same installment is the same payment. Raises Problem 404, 409, 502 and 503."""
        for _ in range(_ROUNDS):
            async with self._context.unit_of_work(self._buyer) as uow:
                found = await repository.lock(uow.db, id)
            if found is None:
                raise unknown_installment()
            await self._expire_page(found[0])
            async with self._context.unit_of_work(self._buyer) as uow:
                found = await repository.lock(uow.db, id)
                assert found is not None  # noqa: S101  found a moment ago, and never deleted
                purchase, installment = found
                existing = await self._existing(uow, installment, method, transaction_reference)
                if existing is not None:
                    return existing
                await _refuse_out_of_turn(uow, purchase, installment, method)
                if not installment.is_payable and not _page_has_expired(purchase, installment):
                    raise not_due(installment.status)
                requested = await self._requested(uow, installment)
                if not requested and await is_not_due(uow, purchase, installment):
                    raise not_due("canceled")
                if not requested:
                    return await self._record(uow, purchase, installment, method, transaction_reference, notes)
            try:
                with stripe_errors_as_problems():
                    ended = [await self._requests.end(each) for each in requested]
            except StripeRejected:
                raise rejected_by_stripe() from None
            if not all(ended):
                await self._request_events(each for each, is_over in zip(requested, ended, strict=True) if not is_over)
                detail = "This was paid through Stripe a moment ago; its payment event will follow."
                raise ALREADY_PAID(detail)
        raise installment_busy()

    async def _expire_page(self, purchase: PurchaseRow) -> None:
        """A page on which the first installment could be paid too. Raises Problem 409 if it has been paid there."""
        if purchase.payment_flow != "page" or purchase.stripe_checkout_session_id is None or purchase.state not in OPEN:
            return
        try:
            with stripe_errors_as_problems():
                session = await self._context.stripe.expire_session(
                    purchase.stripe_checkout_session_id, key=f"{purchase.id}/expire"
                )
        except StripeRejected:
            raise rejected_by_stripe() from None
        if session.status != "expired":
            await self._context.already_paid(session.id, self._buyer)
            raise not_due("processing")

    async def _request_events(self, paid: Iterable[Installment]) -> None:
        """Stripe says that they are paid, or being paid; their events may have been lost."""
        for each in paid:
            if (object_id := each.stripe_invoice_id or each.stripe_payment_intent_id) is not None:
                await self._context.already_paid(object_id, self._buyer)

    async def _requested(self, uow: UnitOfWork, installment: Installment) -> list[Installment]:
        """The installments whose intent or invoice could pay the same money: this one, or one that includes it."""
        related = [
            each
            for each in await repository.of_purchase(uow.db, installment.purchase_id)
            if each.id == installment.id or each.is_remainder != installment.is_remainder
        ]
        if any(each.status == "processing" for each in related):
            raise not_due("processing")
        return [each for each in related if each.is_payable and each.is_requested]

    async def _existing(
        self, uow: UnitOfWork, installment: Installment, method: ManualMethod, transaction_reference: str
    ) -> ManualPayment | None:
        existing = await repository.find_manual_payment(uow.db, installment.student_id, method, transaction_reference)
        if existing is not None and existing.installment_id != installment.id:
            raise _already_recorded(existing.installment_id)
        return existing

    async def _record(
        self,
        uow: UnitOfWork,
        purchase: PurchaseRow,
        installment: Installment,
        method: ManualMethod,
        transaction_reference: str,
        notes: str | None,
    ) -> ManualPayment:
        payment = ManualPayment(
            id=uuid4(),
            student_id=installment.student_id,
            purchase_id=purchase.id,
            installment_id=installment.id,
            method=method,
            transaction_reference=transaction_reference,
            notes=notes,
            amount=installment.amount,
            currency=installment.currency,
            recorded_by=self._buyer.actor,
            created_at=uow.now,
            updated_at=uow.now,
        )
        if not await repository.add_manual_payment(uow.db, payment):  # recorded concurrently for another purchase
            raise _already_recorded()
        await repository.write(
            uow.db,
            installment.id,
            at=uow.now,
            status="waived" if method == "waiver" else "paid",
            paid_at=await self._clock.now_in(uow.db),
            next_attempt_at=None,
            failure_code=None,
            closed_because=None,
        )
        for each in await repository.of_purchase(uow.db, purchase.id):  # before the event arrives: nobody pays twice
            if each.is_remainder != installment.is_remainder and each.is_payable:
                await transitions.close(uow, purchase, each, because="covered")
        payer = installment.payer_of(purchase.payer)
        # a waiver settles the installment without money
        money = Money(amount=0 if method == "waiver" else installment.amount, currency=installment.currency)
        await insert_payment(
            uow.db,
            purchase.id,
            purchase.request,
            refs=[str(payment.id)],
            manual_id=str(payment.id),
            amount=money,
            installment=installment.reference,
            payer=payer,
            at=uow.now,
        )
        event = PaymentSucceeded(
            **purchase_fields(purchase, payer=payer),
            as_of=uow.now,
            refs=PaymentRefs(manual=str(payment.id), installment=installment.reference),
            contact=None if payer == "sponsor" else await read_contact(uow.db, installment.student_id),
            amount=money,
            method=method,
        )
        await uow.publish(event, id=f"{payment.id}/{event.type}", subject=str(purchase.id))
        act = Act.of(
            "installment.paid",
            "installment",
            installment.id,
            purchase_id=purchase.id,
            student_id=installment.student_id,
            before={"status": installment.status},
            after={"status": "waived" if method == "waiver" else "paid", "method": method, **money.model_dump()},
        )
        await audit.record(uow, act)
        return payment


async def _refuse_out_of_turn(
    uow: UnitOfWork, purchase: PurchaseRow, installment: Installment, method: ManualMethod
) -> None:
    """A co-pay comes after the sponsor's money. A waiver settles all that is due, so the sponsor's share has none."""
    if await repository.awaits_sponsor(uow.db, installment):
        raise SPONSOR_HAS_NOT_PAID()
    if purchase.co_pay is not None and not installment.is_co_pay and method == "waiver":
        raise SPONSOR_MUST_PAY()


def _page_has_expired(purchase: PurchaseRow, installment: Installment) -> bool:
    """Its page expired a moment ago, for this payment: the purchase goes on without it."""
    return purchase.payment_flow == "page" and installment.closed_because == "expired"


def _already_recorded(installment_id: UUID | None = None) -> Problem:
    detail = "This reference is already recorded for another installment; every payment needs its own reference."
    if installment_id is None:
        return REFERENCE_ALREADY_RECORDED(detail)
    return REFERENCE_ALREADY_RECORDED(detail, installment_id=str(installment_id))
