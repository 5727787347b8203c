"""What the routes of checkout ask FastAPI for, and what they derive from a caller."""

from __future__ import annotations

from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from checkout.mail import is_address
from checkout.problems import REDIRECT_NOT_ALLOWED
from checkout.purchases.context import Buyer, CheckoutContext, Returns
from checkout.purchases.customers import Customers
from checkout.purchases.service import PurchaseService
from checkout.purchases.session_flow import SessionFlow
from checkout.settings import ApiSettings, origin_of
from contracts.people import Contact
from kit.http.auth import Caller, CurrentCaller


def settings_of(request: Request) -> ApiSettings:
    return cast(ApiSettings, request.app.state.settings)


def context_of(request: Request) -> CheckoutContext:
    return cast(CheckoutContext, request.app.state.context)


def customers_of(request: Request) -> Customers:
    return cast(Customers, request.app.state.customers)


def purchase_service_of(request: Request) -> PurchaseService:
    return cast(PurchaseService, request.app.state.purchase_service)


def session_flow_of(request: Request) -> SessionFlow:
    return cast(SessionFlow, request.app.state.session_flow)


CurrentSettings = Annotated[ApiSettings, Depends(settings_of)]
CurrentContext = Annotated[CheckoutContext, Depends(context_of)]
CurrentCustomers = Annotated[Customers, Depends(customers_of)]
CurrentPurchases = Annotated[PurchaseService, Depends(purchase_service_of)]
PageFlow = Annotated[SessionFlow, Depends(session_flow_of)]


def buyer_of(caller: Caller, *, returns: Returns | None = None) -> Buyer:
    email = caller.email if caller.email and is_address(caller.email) else None
    contact = Contact(email=email, name=caller.name[:200] if caller.name else None) if email else None
    return Buyer(id=caller.id, role=caller.role, bill_to=email, contact=contact, returns=returns)


def _current_buyer(caller: CurrentCaller) -> Buyer:
    return buyer_of(caller)


CurrentBuyer = Annotated[Buyer, Depends(_current_buyer)]
"""The signed-in caller as a buyer, where no page has to return to URLs of its own."""


def guest_of(id: UUID) -> Buyer:
    return Buyer(id=id, role="student", guest=True)


def allowed_url(settings: ApiSettings, url: str, field: str) -> str:
    """The URL, if a payer may be sent there. Raises Problem 422 if its origin is not on the allow-list."""
    try:
        origin = origin_of(url)
    except ValueError:
        origin = None
    unclean = " " in url or not url.isprintable()  # URL parsers disagree about these
    if unclean or origin not in {origin_of(each) for each in (settings.frontend_url, *settings.redirect_allowlist)}:
        raise REDIRECT_NOT_ALLOWED(f"The origin of {field} is not on the allow-list.")
    return url
