"""The hosted checkout page, /c/pay/{id}."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.errors import StripeError
from stripe_sandbox.exchange import read_as, read_form, with_webhooks
from stripe_sandbox.flows import checkout
from stripe_sandbox.flows.checkout import PaymentForm
from stripe_sandbox.operator_actions import session_result
from stripe_sandbox.pages.renderer import page
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        session = _session(sandbox, request)
        return _render(sandbox, session) if session else page("gone.html", 404, kind="checkout session")

    async def pay(request: Request) -> Response:
        session = _session(sandbox, request)
        if session is None:
            return page("gone.html", 404, kind="checkout session")
        sandbox.internal.checkouts[session["id"]].submitted = await read_form(request)
        try:
            checkout.pay(sandbox, session, await read_as(request, PaymentForm))
        except StripeError as error:
            return await with_webhooks(sandbox, _render(sandbox, session, error.message, error.status))
        result = session_result(sandbox, session)
        if result["redirect_url"]:
            return await with_webhooks(sandbox, RedirectResponse(result["redirect_url"], 303))
        return await with_webhooks(sandbox, _render(sandbox, session, result["error"], 402))

    async def promotion(request: Request) -> Response:
        session = _session(sandbox, request)
        if session is None:
            return page("gone.html", 404, kind="checkout session")
        try:
            checkout.apply_promotion(sandbox, session, (await read_form(request)).get("promotion_code", ""))
        except StripeError as error:
            return _render(sandbox, session, error.message, error.status)
        return RedirectResponse(f"/c/pay/{session['id']}", 303)

    return [
        Route("/c/pay/{id}", show),
        Route("/c/pay/{id}", pay, methods=["POST"]),
        Route("/c/pay/{id}/promotion", promotion, methods=["POST"]),
    ]


def _session(sandbox: Sandbox, request: Request) -> Obj | None:
    try:
        return sandbox.store.get("checkout.session", request.path_params["id"])
    except StripeError:
        return None


def _render(sandbox: Sandbox, session: Obj, problem: str | None = None, status: int = 200) -> Response:
    if session["status"] != "open":
        success = checkout.success_url(session) if session["status"] == "complete" else None
        return page("checkout_over.html", status, session=session, success_url=success)
    plan = sandbox.internal.checkouts[session["id"]]
    holder = sandbox.store.find(session["customer"]) if session["customer"] else None
    fixed = session["customer_email"] or (holder["email"] if holder else None)
    return page(
        "checkout.html",
        status,
        session=session,
        lines=plan.lines,
        offered=session["payment_method_types"],
        fixed_email=fixed,
        email=fixed or plan.submitted.get("email") or plan.email or "",
        submitted=plan.submitted,
        problem=problem or plan.error,
    )
