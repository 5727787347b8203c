"""From a wish to a page where it can be paid: one purchase and one session, whoever dies on the way.

Three steps, and no transaction is open while Stripe is asked: the purchase is committed with the very body that Stripe
will get; Stripe is asked under a key that belongs to the purchase; the answer is committed with the event that tells
it. A retry finds the purchase and goes on from where the first request ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

import structlog

from checkout import db as store
from checkout.domain import Abandon, Decision, GoOn, Purchase, Refuse, Replace, Start, State, Wish, begin
from checkout.session_params import PlanPrice, plan_price, session_params
from checkout.stripe_client import Session, Stripe, StripeAway, StripeRefuses
from checkout.topology import SERVICE
from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.people import Contact
from kit.db import Database
from kit.errors import Problem
from kit.work import Work, utc_now

log = structlog.get_logger(__name__)

ROUNDS = 5
"""How often a request looks again when others change the same purchase at the same time."""


@dataclass(frozen=True, kw_only=True)
class Buyer:
    """On whose behalf the rows are read and written. `bill_to` is where the page's mail goes."""

    id: UUID
    role: str
    bill_to: str | None = None
    contact: Contact | None = None
    payer_contact: Contact | None = None

    @property
    def actor(self) -> str:
        return f"{self.role}:{self.id}"


@dataclass(frozen=True, kw_only=True)
class OpenCheckout:
    purchase_id: UUID
    session_id: str
    url: str


class Purchasing:
    def __init__(self, database: Database, stripe: Stripe, *, frontend_url: str) -> None:
        self._database = database
        self._stripe = stripe
        self._frontend_url = frontend_url

    async def open(self, wish: Wish, buyer: Buyer) -> OpenCheckout:
        """Raises Problem: 409 when this must not be paid (again), 502 and 503 for Stripe."""
        for _ in range(ROUNDS):
            async with self._work(buyer) as work:
                await self._note_contact(work, wish.student_id, buyer)
                decision = await self._decide(work, wish)
            match decision:
                case Refuse(code=code):
                    raise _refusal(code)
                case Abandon(purchase=old):
                    await self._close(old.id, State.EXPIRED, buyer)
                case Replace(purchase=old):
                    await self._replace(old, buyer)
                case GoOn(purchase=known) if known.session_id is not None:
                    if (checkout := await self._page_of(known, known.session_id, buyer)) is not None:
                        return checkout
                case GoOn(purchase=known):
                    if (checkout := await self._ask(known.id, wish, buyer)) is not None:
                        return checkout
                case Start():
                    purchase_id = await self._start(wish, buyer)
                    if purchase_id and (checkout := await self._ask(purchase_id, wish, buyer)) is not None:
                        return checkout
        raise Problem(409, "checkout_busy", "Others are changing this purchase; try again.")

    async def _decide(self, work: Work, wish: Wish) -> Decision:
        student_id, slug = wish.student_id, wish.program.slug
        # the seat first: a purchase that turns into a seat in between is then still seen as paid
        seat = await store.read_seat(work.db, student_id, slug)
        known = await store.read_purchases(work.db, student_id, slug)
        return begin(wish=wish, seat=seat, purchases=known, now=work.now)

    async def _start(self, wish: Wish, buyer: Buyer) -> UUID | None:
        """Commits a new purchase with all that Stripe will be asked for. None: another request was faster."""
        purchase_id = uuid4()
        params = await self._params(purchase_id, wish, buyer)
        async with self._work(buyer) as work:
            if not isinstance(await self._decide(work, wish), Start):
                return None
            if not await store.insert_purchase(work.db, purchase_id, wish, params=params, at=work.now):
                return None
            if wish.payer == "sponsor":
                await store.insert_funding(work.db, purchase_id, wish, at=work.now)
        return purchase_id

    async def _ask(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> OpenCheckout | None:
        """Asks Stripe for the purchase's session, for the first time or again, and keeps the answer.

        None when the purchase was closed by somebody else meanwhile.
        """
        try:
            session = await self._session_of(purchase_id, buyer)
        except StripeRefuses:
            await self._close(purchase_id, State.FAILED, buyer)
            raise _refused() from None
        if session.url is None:  # never so for a hosted page that was just made, or that Stripe's memory replays
            raise _refused()
        async with self._work(buyer) as work:
            state = await store.write_session(
                work.db,
                purchase_id,
                session_id=session.id,
                url=session.url,
                expires_at=session.expires_at,
                at=work.now,
            )
            if wish.payer == "sponsor":
                await store.write_funding_session(work.db, purchase_id, session.id, at=work.now)
            if state in (State.EXPIRED, State.FAILED):
                return None
            event = _created(purchase_id, wish, session.url, session.expires_at, buyer.payer_contact)
            await work.say(event, id=f"{purchase_id}/{event.type}", subject=str(purchase_id))
        if state is not State.SESSION_OPEN:  # the webhook was faster than the answer
            raise _refusal("payment_in_progress")
        log.info("checkout open", purchase=str(purchase_id), payer=wish.payer, payment_type=wish.payment_type)
        return OpenCheckout(purchase_id=purchase_id, session_id=session.id, url=session.url)

    async def _page_of(self, purchase: Purchase, session_id: str, buyer: Buyer) -> OpenCheckout | None:
        """The page that was opened before; None when it has closed meanwhile."""
        try:
            with _in_our_words():
                session = await self._stripe.session(session_id)
        except StripeRefuses as refusal:
            await self._forget(purchase, refusal, buyer)
            return None
        if session.status == "open" and session.url:
            return OpenCheckout(purchase_id=purchase.id, session_id=session.id, url=session.url)
        await self._closed(purchase, session, buyer)
        return None

    async def _replace(self, purchase: Purchase, buyer: Buyer) -> None:
        """Closes the page of a purchase, so that it cannot be paid any more. 409 when it has been."""
        try:
            session_id = purchase.session_id or (await self._session_of(purchase.id, buyer)).id
            with _in_our_words():
                session = await self._stripe.expire_session(session_id, key=f"{purchase.id}/expire")
        except StripeRefuses as refusal:
            await self._forget(purchase, refusal, buyer)
        else:
            await self._closed(purchase, session, buyer)

    async def _session_of(self, purchase_id: UUID, buyer: Buyer) -> Session:
        """The purchase's session: the same one however often it is asked for."""
        async with self._work(buyer) as work:
            params = await store.params_of(work.db, purchase_id)
        with _in_our_words():
            return await self._stripe.create_session(params, key=f"{purchase_id}/session")

    async def _closed(self, purchase: Purchase, session: Session, buyer: Buyer) -> None:
        """Complete, or open and not to be closed just now: either way somebody is paying."""
        if session.status != "expired":
            raise _refusal("payment_in_progress")
        await self._close(purchase.id, State.EXPIRED, buyer)

    async def _forget(self, purchase: Purchase, refusal: StripeRefuses, buyer: Buyer) -> None:
        """A session that Stripe does not have (another account, a test mode that was wiped) cannot be paid."""
        if purchase.session_id is not None and refusal.code != "resource_missing":
            raise _refused() from None
        await self._close(purchase.id, State.EXPIRED, buyer)

    async def _close(self, purchase_id: UUID, state: State, buyer: Buyer) -> None:
        async with self._work(buyer) as work:
            await store.close_purchase(work.db, purchase_id, state=state, at=work.now)

    async def _params(self, purchase_id: UUID, wish: Wish, buyer: Buyer) -> dict[str, object]:
        try:
            price = plan_price(wish) if wish.payment_type == "plan" else None
            price_id = await self._price_id(price) if price else None
            return session_params(
                purchase_id=purchase_id,
                wish=wish,
                frontend_url=self._frontend_url,
                email=buyer.bill_to,
                plan_price_id=price_id,
            )
        except ValueError:
            raise Problem(422, "amount_not_payable", "No payment method takes this price in this way.") from None

    async def _price_id(self, price: PlanPrice) -> str:
        try:
            with _in_our_words():
                return await self._stripe.monthly_price(key=price.key, name=price.name, amount=price.amount)
        except StripeRefuses:
            raise _refused() from None

    async def _note_contact(self, work: Work, student_id: UUID, buyer: Buyer) -> None:
        if buyer.contact is None:
            return
        revision = await store.note_contact(work.db, student_id, buyer.contact, at=work.now)
        if revision is not None:
            event = StudentUpdated(student_id=student_id, contact=buyer.contact)
            await work.say(event, id=f"{student_id}/{revision}/{event.type}", subject=str(student_id))

    @asynccontextmanager
    async def _work(self, buyer: Buyer) -> AsyncIterator[Work]:
        async with self._database.transaction_of(student_id=buyer.id, role=buyer.role) as db:
            await store.act_as(db, buyer.actor)
            yield Work(db=db, source=SERVICE, now=utc_now())


def _created(
    purchase_id: UUID, wish: Wish, url: str, expires_at: datetime, payer_contact: Contact | None
) -> PurchaseCreated:
    return PurchaseCreated(
        purchase_id=purchase_id,
        student_id=wish.student_id,
        program=wish.program,
        amount=wish.amount,
        payer=wish.payer,
        funding_source=wish.funding_source,
        payment_type=wish.payment_type,
        instalments=wish.instalments,
        checkout_url=url,
        expires_at=expires_at,
        payer_contact=payer_contact,
    )


_REFUSALS = {
    "already_enrolled": "This student has a seat in this program already; nothing was charged.",
    "payment_in_progress": "This has been paid, or the payment is on its way; wait for the seat.",
    "plan_being_cancelled": "The plan that paid for this before is just being cancelled; wait a moment, and try again.",
    "sponsor_payment_open": "A sponsor has been asked to pay for this; ask the case manager.",
}


def _refusal(code: str) -> Problem:
    return Problem(409, code, _REFUSALS[code])


def _refused() -> Problem:
    return Problem(502, "payment_refused", "Stripe refuses this payment; an engineer has to look.")


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except StripeAway:
        detail = "Stripe cannot be reached. Nothing was charged; send the same request again and it goes on."
        raise Problem(503, "stripe_unavailable", detail, headers={"Retry-After": "5"}) from None
