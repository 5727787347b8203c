"""What the routes find in the app, and what they know of a caller."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from fastapi import Request

from checkout.mail import is_address
from checkout.purchases.context import Buyer, Desk, Returns
from checkout.purchases.customers import Customers
from checkout.purchases.service import Purchasing
from checkout.settings import ApiSettings, origin_of
from contracts.people import Contact
from kit.db.database import Database
from kit.http.auth import Caller
from kit.http.errors import Problem


def database_of(request: Request) -> Database:
    return cast(Database, request.app.state.database)


def settings_of(request: Request) -> ApiSettings:
    return cast(ApiSettings, request.app.state.settings)


def desk_of(request: Request) -> Desk:
    return cast(Desk, request.app.state.desk)


def customers_of(request: Request) -> Customers:
    return cast(Customers, request.app.state.customers)


def purchasing_of(request: Request) -> Purchasing:
    return cast(Purchasing, request.app.state.purchasing)


def buyer_of(caller: Caller, *, returns: Returns | None = None) -> Buyer:
    email = caller.email if caller.email and is_address(caller.email) else None
    contact = Contact(email=email, name=caller.name[:200] if caller.name else None) if email else None
    return Buyer(id=caller.id, role=caller.role, bill_to=email, contact=contact, returns=returns)


def guest_of(id: UUID) -> Buyer:
    return Buyer(id=id, role="student", guest=True)


def allowed_url(settings: ApiSettings, url: str, field: str) -> str:
    """The URL, when a payer may be sent there: 422 for one that is not on the allow-list, or is none."""
    try:
        origin = origin_of(url)
    except ValueError:
        origin = None
    unclean = " " in url or not url.isprintable()  # a parser drops them where another one does not
    if unclean or origin not in {origin_of(each) for each in (settings.frontend_url, *settings.redirect_allowlist)}:
        raise Problem(422, "redirect_not_allowed", f"{field} leads to an origin that is not on the allow-list.")
    return url
