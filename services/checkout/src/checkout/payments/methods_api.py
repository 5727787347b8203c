"""Saved payment methods, and Stripe's billing portal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from checkout.payments.problems import PAYMENT_METHOD_NOT_ACCEPTED, PORTAL_REFUSED, UNKNOWN_PAYMENT_METHOD
from checkout.purchases.context import stripe_errors_as_problems
from checkout.purchases.dependencies import allowed_url, buyer_of, context_of, customers_of, settings_of
from checkout.stripe_client import SavedMethod, StripeRejected
from kit.http.auth import Caller, CurrentCaller
from kit.http.openapi import example
from kit.http.paging import Page
from kit.http.problems import Problem

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


class PortalRequest(BaseModel, json_schema_extra=example(return_url="https://school.example.com/dashboard")):
    """`return_url`: where the portal links back to; the front end if omitted."""

    model_config = ConfigDict(extra="forbid")

    return_url: Annotated[str | None, Field(min_length=1, max_length=2000)] = None


class Portal(BaseModel):
    url: str


@router.get("/methods")
async def list_saved_methods(request: Request, caller: CurrentCaller) -> Page[PaymentMethod]:
    """The caller's saved payment methods, newest first; none before their first payment."""
    customer = await customers_of(request).existing(caller.id, buyer_of(caller))
    if customer is None:
        return Page(items=[])
    stripe = context_of(request).stripe
    with stripe_errors_as_problems(), _unknown_is_404():
        default = await stripe.default_method(customer)
        return Page(items=[_view(method, default) for method in await stripe.saved_methods(customer)])


@router.post("/methods/{method_id}/default")
async def make_method_default(request: Request, method_id: MethodId, caller: CurrentCaller) -> PaymentMethod:
    """Charges everything that is still to be charged to this payment method: installments and memberships."""
    with stripe_errors_as_problems(), _unknown_is_404():
        customer, method = await _own(request, caller, method_id)
    try:
        with stripe_errors_as_problems():
            await context_of(request).stripe.make_default(customer, method_id)
    except StripeRejected:
        raise PAYMENT_METHOD_NOT_ACCEPTED() from None
    return _view(method, method_id)


@router.delete("/methods/{method_id}", status_code=204)
async def remove_saved_method(request: Request, method_id: MethodId, caller: CurrentCaller) -> None:
    """Detaches the payment method at Stripe; it cannot be charged anymore."""
    with stripe_errors_as_problems(), _unknown_is_404():
        await _own(request, caller, method_id)
        await context_of(request).stripe.detach_method(method_id)


@router.post("/billing-portal")
async def open_billing_portal(request: Request, caller: CurrentCaller, body: PortalRequest | None = None) -> Portal:
    """Opens Stripe's billing portal, where the caller manages payment methods. The URL is valid for a few minutes."""
    settings = settings_of(request)
    return_url = body.return_url if body and body.return_url else settings.frontend_url
    allowed_url(settings, return_url, "return_url")
    customer = await customers_of(request).ensure(caller.id, buyer_of(caller))
    try:
        with stripe_errors_as_problems():
            return Portal(url=await context_of(request).stripe.billing_portal(customer, return_url=return_url))
    except StripeRejected:
        raise PORTAL_REFUSED() from None


async def _own(request: Request, caller: Caller, method_id: str) -> tuple[str, SavedMethod]:
    """The caller's customer id and the payment method, which belongs to it."""
    customer = await customers_of(request).existing(caller.id, buyer_of(caller))
    if customer is None:
        raise _unknown()
    return customer, await context_of(request).stripe.saved_method(customer, method_id)


@contextmanager
def _unknown_is_404() -> Iterator[None]:
    try:
        yield
    except StripeRejected:
        raise _unknown() from None


def _unknown() -> Problem:
    return UNKNOWN_PAYMENT_METHOD()


def _view(method: SavedMethod, default: str | None) -> PaymentMethod:
    return PaymentMethod(
        id=method.id,
        type=method.type,
        brand=method.brand,
        last4=method.last4,
        exp_month=method.exp_month,
        exp_year=method.exp_year,
        default=method.id == default,
    )
