"""Enrolling somebody: the item, the plan that fits it, and who pays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.promotion_repository import Quote
from checkout.catalog.repository import Item, Sponsor, find_any_item, find_sponsor
from checkout.installments import repository, rules
from checkout.installments.clock import Clock
from checkout.installments.domain import detect_plan, fitting, schedule
from checkout.installments.plan_flow import Enroller, OpenEnrollment
from checkout.payments.intent_flow import OpenIntent
from checkout.purchases.context import Buyer, Desk, in_our_words, refused_by_stripe
from checkout.purchases.domain import Wish
from checkout.purchases.request_builder import wish_for
from checkout.purchases.service import Purchasing
from checkout.stripe_client import StripeRefuses
from contracts.people import Contact
from kit.db.unit_of_work import utc_now
from kit.http.auth import Caller
from kit.http.errors import Problem

MemberTier = Callable[[AsyncConnection, UUID], Awaitable[str | None]]
"""The membership tier that a student has access to now; which plans apply may depend on it."""

STAFF = ("admin", "case_manager")


@dataclass(frozen=True, kw_only=True)
class Application:
    product: str
    student_id: UUID
    promotion_code: str | None = None
    funding_source: str | None = None


class Enrolling:
    def __init__(self, desk: Desk, purchasing: Purchasing, clock: Clock, member_tier: MemberTier) -> None:
        self._desk = desk
        self._purchasing = purchasing
        self._clock = clock
        self._member_tier = member_tier

    async def enroll(self, caller: Caller, buyer: Buyer, asked: Application) -> OpenEnrollment:
        """Raises Problem: 403 for somebody else's, 404 and 409 for the product, and whatever `Purchasing.open` does."""
        if asked.student_id != caller.id and caller.role not in STAFF:
            raise Problem(403, "forbidden", "Students enroll themselves; leave user_id at your own id.")
        if asked.funding_source is not None and caller.role not in STAFF:
            raise Problem(403, "forbidden", "Only staff can let a sponsor pay.")
        sponsor, quote, wish, enroller = await self._wish(buyer, asked)
        if sponsor is not None:
            await self._bill_to(sponsor, str(enroller.bill_to), buyer)
        opened = await self._purchasing.open(wish, enroller, quote=quote)
        if isinstance(opened, OpenIntent):
            return OpenEnrollment(purchase_id=opened.purchase_id, client_secret=None, due_now=None)
        assert isinstance(opened, OpenEnrollment)  # noqa: S101
        return opened

    async def _wish(self, buyer: Buyer, asked: Application) -> tuple[Sponsor | None, Quote, Wish, Enroller]:
        async with self._desk.uow(buyer) as uow:
            item = await _item(uow.db, asked.product)
            sponsor = await self._sponsor(uow.db, asked.funding_source)
            tier = await self._member_tier(uow.db, asked.student_id)
        price = (item.cost or item.money) if sponsor is not None else None
        async with self._desk.uow(buyer) as uow:
            wish, quote = await wish_for(
                uow.db,
                item,
                asked.student_id,
                at=utc_now(),
                promotion_code=asked.promotion_code,
                price=price,
                how="schedule",
            )
        plan = fitting(detect_plan(item, tier, rules.checked_in()), wish.amount)
        dues = schedule(plan, wish.amount, await self._clock.now())
        terms: dict[str, Any] = {"payer": "student"}
        if sponsor is not None:
            terms = {"payer": "sponsor", "funding_source": sponsor.code}
        if len(dues) > 1:
            terms |= {"payment_type": "plan", "installments": len(dues)}
        elif not dues:
            terms["how"] = "intent"  # a discount of everything: there is nothing to collect
        wish = Wish(**{**vars(wish), **terms})
        return sponsor, quote, wish, self._enroller(buyer, sponsor, plan)

    def _enroller(self, buyer: Buyer, sponsor: Sponsor | None, plan: Any) -> Enroller:
        known = {name: getattr(buyer, name) for name in Buyer.__dataclass_fields__}
        if sponsor is not None:
            bill_to = sponsor.finance_email or self._desk.settings.sponsor_finance_email
            if bill_to is None:
                detail = "Give the sponsor a finance_email, or set SPONSOR_FINANCE_EMAIL."
                raise Problem(409, "no_finance_email", detail)
            known |= {"bill_to": bill_to, "payer_contact": Contact(email=bill_to, name=sponsor.name), "contact": None}
        return Enroller(**known, plan=plan)

    async def _sponsor(self, db: Any, code: str | None) -> Sponsor | None:
        if code is None:
            return None
        if (sponsor := await find_sponsor(db, code)) is None:
            detail = "Name a funding source that an admin has set up: GET /api/admin/sponsors lists them."
            raise Problem(422, "unknown_funding_source", detail)
        return sponsor

    async def _bill_to(self, sponsor: Sponsor, mail: str, buyer: Buyer) -> None:
        """The sponsor's one customer at Stripe: made once, and told each time where its bills go."""
        if not self._desk.stripe.configured:
            return
        async with self._desk.uow(buyer) as uow:
            known = await repository.sponsor_customer(uow.db, sponsor.code)
        try:
            with in_our_words():
                customer_id = known or await self._desk.stripe.create_customer(
                    metadata={"sponsor": sponsor.code}, key=f"sponsor/{sponsor.code}"
                )
                await self._desk.stripe.tell_customer(customer_id, email=mail, name=sponsor.name)
        except StripeRefuses:
            raise refused_by_stripe() from None
        if known is None:
            async with self._desk.uow(buyer) as uow:
                await repository.keep_sponsor_customer(uow.db, sponsor.code, customer_id)


async def _item(db: Any, reference: str) -> Item:
    item = await find_any_item(db, reference)
    if item is None:
        raise Problem(404, "unknown_product", "There is no such product; GET /api/catalog lists what there is.")
    if not item.active:
        raise Problem(409, "product_inactive", "This product is not sold any more; GET /api/catalog lists what is.")
    if item.kind == "membership":
        raise Problem(409, "use_memberships", "A membership is a subscription: POST /api/memberships.")
    return item
