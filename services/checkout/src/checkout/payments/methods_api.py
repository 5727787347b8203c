"""Ways to pay that a student has saved with Stripe, and Stripe's own page for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from checkout.purchases.context import in_our_words
from checkout.purchases.dependencies import allowed_url, buyer_of, customers_of, desk_of, settings_of
from checkout.stripe_client import SavedMethod, StripeRefuses
from kit.http.auth import Caller, CurrentCaller
from kit.http.errors import Problem
from kit.http.paging import Page

router = APIRouter(prefix="/api/payments", tags=["payment methods"])

MethodId = Annotated[str, Path(pattern="^[A-Za-z0-9_]{1,255}$")]


class PaymentMethod(BaseModel):
    """`type` is Stripe's: card, us_bank_account, link, …; only a card has a brand and an expiry."""

    id: str
    type: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    default: bool


class PortalWish(BaseModel):
    """`return_url`: where the page leads back to; without it, the front end."""

    model_config = ConfigDict(extra="forbid")

    return_url: Annotated[str | None, Field(min_length=1, max_length=2000)] = None


class Portal(BaseModel):
    url: str


@router.get("/methods")
async def list_methods(request: Request, caller: CurrentCaller) -> Page[PaymentMethod]:
    """What the caller has saved, newest first. Nobody who has not paid yet has any."""
    customer = await customers_of(request).known(caller.id, buyer_of(caller))
    if customer is None:
        return Page(items=[])
    stripe = desk_of(request).stripe
    with in_our_words(), _unknown_is_404():
        default = await stripe.default_method(customer)
        return Page(items=[_shown(method, default) for method in await stripe.saved_methods(customer)])


@router.post("/methods/{method_id}/default")
async def make_default(request: Request, method_id: MethodId, caller: CurrentCaller) -> PaymentMethod:
    """From now on, what falls due is charged to this one."""
    with in_our_words(), _unknown_is_404():
        customer, method = await _own(request, caller, method_id)
        await desk_of(request).stripe.make_default(customer, method_id)
    return _shown(method, method_id)


@router.delete("/methods/{method_id}", status_code=204)
async def remove_method(request: Request, method_id: MethodId, caller: CurrentCaller) -> None:
    """Stripe forgets it; nothing can be charged to it any more."""
    with in_our_words(), _unknown_is_404():
        await _own(request, caller, method_id)
        await desk_of(request).stripe.forget_method(method_id)


@router.post("/billing-portal")
async def open_portal(request: Request, caller: CurrentCaller, wanted: PortalWish | None = None) -> Portal:
    """A page of Stripe's on which the caller looks after what they pay with. It is good for some minutes."""
    settings = settings_of(request)
    return_url = wanted.return_url if wanted and wanted.return_url else settings.frontend_url
    allowed_url(settings, return_url, "return_url")
    customer = await customers_of(request).ensure(caller.id, buyer_of(caller))
    try:
        with in_our_words():
            return Portal(url=await desk_of(request).stripe.billing_portal(customer, return_url=return_url))
    except StripeRefuses:
        detail = "Stripe does not open its page for you; an engineer has to look."
        raise Problem(502, "portal_refused", detail) from None


async def _own(request: Request, caller: Caller, method_id: str) -> tuple[str, SavedMethod]:
    """The caller's customer, and the method, which is that customer's."""
    customer = await customers_of(request).known(caller.id, buyer_of(caller))
    if customer is None:
        raise _unknown()
    return customer, await desk_of(request).stripe.saved_method(customer, method_id)


@contextmanager
def _unknown_is_404() -> Iterator[None]:
    try:
        yield
    except StripeRefuses:
        raise _unknown() from None


def _unknown() -> Problem:
    return Problem(404, "unknown_payment_method", "You have saved no such method; GET /api/payments/methods.")


def _shown(method: SavedMethod, default: str | None) -> PaymentMethod:
    return PaymentMethod(
        id=method.id,
        type=method.type,
        brand=method.brand,
        last4=method.last4,
        exp_month=method.exp_month,
        exp_year=method.exp_year,
        default=method.id == default,
    )
