"""What every payment flow uses: units of work on a buyer's behalf, Stripe, settings, and the shared errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from checkout.problems import (
    ALREADY_ENROLLED,
    AMOUNT_NOT_PAYABLE,
    PAYMENT_IN_PROGRESS,
    PAYMENT_REFUSED,
    PRICE_CHANGED,
    SPONSOR_PAYMENT_OPEN,
    STRIPE_NOT_CONFIGURED,
    STRIPE_UNAVAILABLE,
    SUBSCRIPTION_BEING_CANCELED,
    TAX_NEEDS_PAGE,
    UNDERPAID,
)
from checkout.purchases import caseload, repository, student_repository
from checkout.purchases.domain import Change, PurchaseRequest
from checkout.purchases.event_requests import request_events
from checkout.purchases.pay_links import token_of
from checkout.settings import ApiSettings
from checkout.stripe_client import Stripe, StripeNotConfigured, StripeUnavailable
from checkout.topology import SERVICE
from contracts.audit import Act
from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.people import Contact
from kit.db.database import STAFF, Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import audit
from kit.http.erasure import refuse_erased
from kit.http.problems import Problem, ProblemType

RefusalCode = Literal[
    "already_enrolled",
    "payment_in_progress",
    "subscription_being_canceled",
    "price_changed",
    "sponsor_payment_open",
    "underpaid",
]


@dataclass(frozen=True, kw_only=True)
class Returns:
    """Where Stripe's page returns to; both URLs are on the allow-list."""

    success_url: str
    cancel_url: str


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """On whose behalf rows are read and written. `bill_to`: the email address to prefill on Stripe's page.
    `admits`: the student whom a case manager adds to the caseload."""

    id: UUID
    role: str
    bill_to: str | None = None
    contact: Contact | None = None
    payer_contact: Contact | None = None
    guest: bool = False
    admits: UUID | None = None
    returns: Returns | None = None

    @property
    def actor(self) -> str:
        return f"{self.role}:{self.id}"


class _RolledBack(Exception):
    """Ends a preview."""


class CheckoutContext:
    def __init__(self, database: Database, stripe: Stripe, settings: ApiSettings) -> None:
        self.database = database
        self.stripe = stripe
        self.settings = settings

    @asynccontextmanager
    async def unit_of_work(self, buyer: Buyer) -> AsyncIterator[UnitOfWork]:
        """One transaction with the buyer's row-level security, committed at the end. (Not a FastAPI dependency: no
        transaction may be open while Stripe is called.)

        Raises Problem 403 for a student whom the buyer may not add to the caseload."""
        async with self.database.transaction_of(student_id=buyer.id, role=buyer.role) as db:
            await repository.set_actor(db, buyer.actor)
            uow = UnitOfWork(db=db, source=SERVICE, now=utc_now())
            if buyer.admits is not None:
                await caseload.admit(uow, buyer.id, buyer.admits)
            yield uow

    @asynccontextmanager
    async def preview(self, buyer: Buyer) -> AsyncIterator[UnitOfWork]:
        """The same, rolled back at the end: it sees what `unit_of_work` would, and adds nobody to the caseload."""
        with suppress(_RolledBack):
            async with self.unit_of_work(buyer) as uow:
                yield uow
                raise _RolledBack

    async def record_contact(self, uow: UnitOfWork, student_id: UUID, buyer: Buyer) -> None:
        """Raises Problem 409 for a student who was erased."""
        await refuse_erased(uow.db, student_id)
        if buyer.contact is None:
            return
        revision = await student_repository.record_contact(uow.db, student_id, buyer.contact, at=uow.now)
        contact = await student_repository.read_contact(uow.db, student_id) if revision is not None else None
        if contact is not None:
            event = StudentUpdated(student_id=student_id, contact=contact)
            await uow.publish(event, id=f"{student_id}/{revision}/{event.type}", subject=str(student_id))

    async def close(self, purchase_id: UUID, change: Change, buyer: Buyer) -> None:
        async with self.unit_of_work(buyer) as uow:
            await repository.change_state(uow.db, purchase_id, change, at=uow.now)

    async def already_paid(self, object_id: str, buyer: Buyer) -> Problem:
        """The refusal to raise when Stripe says that the object is paid, or is being paid. Its events are asked for: if
        their webhooks were lost, the payment would stay in progress forever."""
        async with self.unit_of_work(buyer) as uow:
            await request_events(uow, object_id)
        return PAYMENT_IN_PROGRESS()

    async def publish_created(
        self,
        uow: UnitOfWork,
        purchase_id: UUID,
        request: PurchaseRequest,
        *,
        expires_at: datetime | None = None,
        payer_contact: Contact | None = None,
        due_at: datetime | None = None,
    ) -> None:
        """Publishes that the purchase can be paid now. `due_at`: of a sponsor's invoice."""
        event = PurchaseCreated(
            purchase_id=purchase_id,
            student_id=request.student_id,
            program=request.program,
            amount=request.amount,
            payer=request.payer,
            funding_source=request.funding_source,
            payment_type=request.payment_type,
            installments=request.installments,
            checkout_url=self.pay_link(purchase_id),
            expires_at=expires_at,
            payer_contact=payer_contact,
            discount=request.discount,
            promotion_code=request.promotion_code,
            due_at=due_at,
            authorization_number=request.authorization_number,
            co_pay=request.co_pay,
        )
        await uow.publish(event, id=f"{purchase_id}/{event.type}", subject=str(purchase_id))
        actor = audit.current_actor()
        if actor is not None and actor.role in STAFF and actor.id != str(request.student_id):
            act = Act.of(
                "purchase.created",
                "purchase",
                purchase_id,
                purchase_id=purchase_id,
                student_id=request.student_id,
                after={"item": request.program.slug, "payer": request.payer, **request.amount.model_dump()},
            )
            await audit.record(uow, act)

    def pay_link(self, id: UUID) -> str:
        """Where the purchase or the installment can be paid, for as long as it is owed: each click opens a current page
        of Stripe's. (A page of Stripe's own ends after a day, and an invoice can be replaced.)"""
        return f"{self.settings.public_url}/pay/{token_of(id, secret=self.settings.pay_link_secret.get_secret_value())}"


_REFUSALS: dict[RefusalCode, ProblemType] = {
    "already_enrolled": ALREADY_ENROLLED,
    "payment_in_progress": PAYMENT_IN_PROGRESS,
    "price_changed": PRICE_CHANGED,
    "sponsor_payment_open": SPONSOR_PAYMENT_OPEN,
    "subscription_being_canceled": SUBSCRIPTION_BEING_CANCELED,
    "underpaid": UNDERPAID,
}


def refusal(code: RefusalCode) -> Problem:
    return _REFUSALS[code]()


def rejected_by_stripe() -> Problem:
    return PAYMENT_REFUSED()


def not_payable() -> Problem:
    return AMOUNT_NOT_PAYABLE()


def tax_needs_page() -> Problem:
    """Stripe calculates tax for Checkout sessions, invoices and subscriptions; a payment intent has no `automatic_tax`
    (stripe.params.PaymentIntentCreateParams), so an amount that is paid by one would be untaxed."""
    return TAX_NEEDS_PAGE()


@contextmanager
def stripe_errors_as_problems() -> Iterator[None]:
    """Raises Problem 503 when Stripe cannot be reached or is not configured. StripeRejected passes through: only the
    caller knows how to handle a rejection."""
    try:
        yield
    except StripeNotConfigured:
        raise STRIPE_NOT_CONFIGURED() from None
    except StripeUnavailable:
        raise STRIPE_UNAVAILABLE(headers={"Retry-After": "5"}) from None
