"""Where purchases are made: the database on somebody's behalf, Stripe in our words, refusals that say what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from checkout.purchases import repository
from checkout.purchases.domain import State, Wish
from checkout.settings import ApiSettings
from checkout.stripe_client import NoStripe, Stripe, StripeAway
from checkout.topology import SERVICE
from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.people import Contact
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Returns:
    """Where Stripe's page leads to: held against the allow-list already."""

    success_url: str
    cancel_url: str


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """On whose behalf the rows are read and written. `bill_to` is where the page's mail goes."""

    id: UUID
    role: str
    bill_to: str | None = None
    contact: Contact | None = None
    payer_contact: Contact | None = None
    guest: bool = False
    returns: Returns | None = None

    @property
    def actor(self) -> str:
        return f"{self.role}:{self.id}"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Which terms a buyer has accepted, and when."""

    version: str
    accepted_at: datetime


class Desk:
    def __init__(self, database: Database, stripe: Stripe, settings: ApiSettings) -> None:
        self.database = database
        self.stripe = stripe
        self.settings = settings

    @asynccontextmanager
    async def uow(self, buyer: Buyer) -> AsyncIterator[UnitOfWork]:
        async with self.database.transaction_of(student_id=buyer.id, role=buyer.role) as db:
            await repository.act_as(db, buyer.actor)
            yield UnitOfWork(db=db, source=SERVICE, now=utc_now())

    async def note_contact(self, uow: UnitOfWork, student_id: UUID, buyer: Buyer) -> None:
        if buyer.contact is None:
            return
        revision = await repository.note_contact(uow.db, student_id, buyer.contact, at=uow.now)
        if revision is not None:
            event = StudentUpdated(student_id=student_id, contact=buyer.contact)
            await uow.publish(event, id=f"{student_id}/{revision}/{event.type}", subject=str(student_id))

    async def close(self, purchase_id: UUID, state: State, buyer: Buyer) -> None:
        async with self.uow(buyer) as uow:
            await repository.close_purchase(uow.db, purchase_id, state=state, at=uow.now)

    async def say_created(
        self,
        uow: UnitOfWork,
        purchase_id: UUID,
        wish: Wish,
        *,
        url: str | None = None,
        expires_at: datetime | None = None,
        payer_contact: Contact | None = None,
    ) -> None:
        """Says that the purchase can be paid now: on `url`, or else on the front end's own page for it."""
        event = PurchaseCreated(
            purchase_id=purchase_id,
            student_id=wish.student_id,
            program=wish.program,
            amount=wish.amount,
            payer=wish.payer,
            funding_source=wish.funding_source,
            payment_type=wish.payment_type,
            installments=wish.installments,
            checkout_url=url or self.pay_page(purchase_id),
            expires_at=expires_at,
            payer_contact=payer_contact,
            discount=wish.discount,
            promotion_code=wish.promotion_code,
        )
        await uow.publish(event, id=f"{purchase_id}/{event.type}", subject=str(purchase_id))

    def pay_page(self, purchase_id: UUID) -> str:
        """The front end's page on which what is due for a purchase can be paid."""
        return f"{self.settings.frontend_url}/pay/{purchase_id}"


_REFUSALS = {
    "already_enrolled": "This student has an enrollment in this program already; nothing was charged.",
    "payment_in_progress": "This has been paid, or the payment is on its way; wait for the enrollment.",
    "plan_being_canceled": "The plan that paid for this before is just being canceled; wait a moment, and try again.",
    "price_changed": "What you buy has been changed this very moment; look at it again, and send it again.",
    "sponsor_payment_open": "A sponsor has been asked to pay for this; ask the case manager.",
}


def refusal(code: str) -> Problem:
    return Problem(409, code, _REFUSALS[code])


def refused_by_stripe() -> Problem:
    return Problem(502, "payment_refused", "Stripe refuses this payment; an engineer has to look.")


def not_payable() -> Problem:
    return Problem(422, "amount_not_payable", "No payment method takes this price in this way.")


@contextmanager
def in_our_words() -> Iterator[None]:
    """Stripe that is away is a 503. What it refuses stays StripeRefuses: only the caller knows what that means."""
    try:
        yield
    except NoStripe:
        detail = "This school takes no payments by Stripe; ask an admin how to pay."
        raise Problem(503, "stripe_not_configured", detail) from None
    except StripeAway:
        detail = "Stripe cannot be reached. Nothing was charged; send the same request again and it goes on."
        raise Problem(503, "stripe_unavailable", detail, headers={"Retry-After": "5"}) from None
