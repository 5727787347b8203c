"""The 3-D Secure page, /authenticate/{payment intent}."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.exchange import read_as, with_webhooks
from stripe_sandbox.flows import checkout, invoices, settlement
from stripe_sandbox.operator_actions import Authentication, authenticate
from stripe_sandbox.pages.renderer import page
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        intent = _requiring_action(sandbox, request)
        return page("authenticate.html", intent=intent) if intent else page("gone.html", 404, kind="authentication")

    async def submit(request: Request) -> Response:
        intent = _requiring_action(sandbox, request)
        if intent is None:
            return page("gone.html", 404, kind="authentication")
        back = (intent["next_action"].get("redirect_to_url") or {}).get("return_url")
        authenticate(sandbox, intent["id"], await read_as(request, Authentication))
        return await with_webhooks(sandbox, RedirectResponse(_next_page(sandbox, intent, back), 303))

    return [Route("/authenticate/{id}", show), Route("/authenticate/{id}", submit, methods=["POST"])]


def _requiring_action(sandbox: Sandbox, request: Request) -> Obj | None:
    intent = sandbox.store.find(request.path_params["id"])
    return intent if intent is not None and intent.get("status") == "requires_action" else None


def _next_page(sandbox: Sandbox, intent: Obj, back: str | None) -> str:
    session = settlement.session_of(sandbox, intent)
    if session is not None:
        return checkout.success_url(session) if session["status"] == "complete" else f"/c/pay/{session['id']}"
    invoice = invoices.invoice_of(sandbox, intent)
    if invoice is not None:
        return f"/i/{invoice['id']}"
    return _returned(back, intent) if back else "/sandbox"


def _returned(back: str, intent: Obj) -> str:
    """The `return_url` with what Stripe appends. Source: docs.stripe.com/payments/accept-a-payment."""
    result = {"succeeded": "succeeded", "processing": "pending"}.get(intent["status"], "failed")
    secret = {"payment_intent_client_secret": intent["client_secret"]}
    added = urlencode({"payment_intent": intent["id"], **secret, "redirect_status": result})
    parts = urlsplit(back)
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, added)))))
