"""The billing portal, /p/session/{id}: subscriptions, invoices and the default card."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.errors import StripeError
from stripe_sandbox.exchange import read_form, with_webhooks
from stripe_sandbox.flows import payment_methods, subscriptions
from stripe_sandbox.instruments import card
from stripe_sandbox.pages.renderer import page
from stripe_sandbox.state import Sandbox, copy_of
from stripe_sandbox.store import Obj


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        session = _session(sandbox, request)
        return _render(sandbox, session) if session else page("gone.html", 404, kind="portal session")

    async def cancel(request: Request) -> Response:
        session = _session(sandbox, request)
        id = (await read_form(request)).get("subscription", "")
        subscription = sandbox.store.find(id)
        if session is None or subscription is None or subscription.get("customer") != session["customer"]:
            return page("gone.html", 404, kind="subscription")
        if subscription["schedule"] is not None or subscription["status"] not in subscriptions.LIVE:
            return _render(sandbox, session, "This plan ends automatically and cannot be canceled here.", 400)
        before = copy_of(subscription)
        subscription["cancel_at_period_end"] = True
        subscription["cancel_at"] = subscriptions.period(subscription)[1]
        subscription["canceled_at"] = sandbox.clock.now_for(session["customer"])
        sandbox.emit("customer.subscription.updated", subscription, before)
        return await with_webhooks(sandbox, RedirectResponse(f"/p/session/{session['id']}", 303))

    async def new_card(request: Request) -> Response:
        session = _session(sandbox, request)
        if session is None:
            return page("gone.html", 404, kind="portal session")
        try:
            method = payment_methods.create(sandbox, card((await read_form(request)).get("card", "")))
        except StripeError as error:
            return _render(sandbox, session, error.message, error.status)
        payment_methods.attach(sandbox, method, session["customer"])
        _make_default(sandbox, session["customer"], method)
        return await with_webhooks(sandbox, RedirectResponse(f"/p/session/{session['id']}", 303))

    return [
        Route("/p/session/{id}", show),
        Route("/p/session/{id}/cancel", cancel, methods=["POST"]),
        Route("/p/session/{id}/card", new_card, methods=["POST"]),
    ]


def _session(sandbox: Sandbox, request: Request) -> Obj | None:
    found = sandbox.store.find(request.path_params["id"])
    return found if found is not None and found["object"] == "billing_portal.session" else None


def _make_default(sandbox: Sandbox, customer: str, method: Obj) -> None:
    """Sets the default of the customer, and of subscriptions with a default of their own."""
    owner = sandbox.store.get("customer", customer)
    before = copy_of(owner)
    owner["invoice_settings"]["default_payment_method"] = method["id"]
    sandbox.emit("customer.updated", owner, before)
    for subscription in sandbox.store.where("subscription", customer=customer):
        if subscription["default_payment_method"] and subscription["status"] in subscriptions.LIVE:
            previous = copy_of(subscription)
            subscription["default_payment_method"] = method["id"]
            sandbox.emit("customer.subscription.updated", subscription, previous)


def _render(sandbox: Sandbox, session: Obj, problem: str | None = None, status: int = 200) -> Response:
    customer = session["customer"]
    return page(
        "portal.html",
        status,
        session=session,
        subscriptions=list(sandbox.store.where("subscription", customer=customer))[::-1],
        invoices=[i for i in sandbox.store.where("invoice", customer=customer) if i["status"] != "draft"][::-1],
        method=payment_methods.default_of(sandbox, customer),
        problem=problem,
    )
