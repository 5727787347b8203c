"""The hosted invoice page, /i/{id}, and receipts, /receipts/{charge}."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.errors import StripeError
from stripe_sandbox.exchange import read_as, read_form, with_webhooks
from stripe_sandbox.flows import invoices, payments
from stripe_sandbox.flows.checkout import PaymentForm
from stripe_sandbox.operator_actions import pay_invoice
from stripe_sandbox.pages.renderer import page
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        invoice = _invoice(sandbox, request)
        return _render(sandbox, invoice) if invoice else page("gone.html", 404, kind="invoice")

    async def pay(request: Request) -> Response:
        invoice = _invoice(sandbox, request)
        if invoice is None:
            return page("gone.html", 404, kind="invoice")
        submitted = await read_form(request)
        try:
            pay_invoice(sandbox, invoice["id"], await read_as(request, PaymentForm))
        except StripeError as error:
            return await with_webhooks(sandbox, _render(sandbox, invoice, error.message, error.status, submitted))
        intent = invoices.intent_of(sandbox, invoice)
        target = (payments.action_url(intent) if intent else None) or f"/i/{invoice['id']}"
        return await with_webhooks(sandbox, RedirectResponse(target, 303))

    async def receipt(request: Request) -> Response:
        charge = sandbox.store.find(request.path_params["id"])
        if charge is None or charge["object"] != "charge":
            return page("gone.html", 404, kind="receipt")
        return page("receipt.html", charge=charge)

    return [
        Route("/i/{id}", show),
        Route("/i/{id}/pdf", show),
        Route("/i/{id}", pay, methods=["POST"]),
        Route("/receipts/{id}", receipt),
    ]


def _invoice(sandbox: Sandbox, request: Request) -> Obj | None:
    """The invoice, unless it is a draft: drafts have no page."""
    invoice = sandbox.store.find(request.path_params["id"])
    return invoice if invoice is not None and invoice["object"] == "invoice" and invoice["status"] != "draft" else None


def _render(
    sandbox: Sandbox,
    invoice: Obj,
    problem: str | None = None,
    status: int = 200,
    submitted: dict[str, str] | None = None,
) -> Response:
    intent = invoices.intent_of(sandbox, invoice)
    processing = intent is not None and intent["status"] == "processing"
    return page(
        "invoice.html",
        status,
        invoice=invoice,
        offered=intent["payment_method_types"] if intent else [],
        payable=invoice["status"] in ("open", "uncollectible") and intent is not None and not processing,
        processing=processing and invoice["status"] == "open",
        fixed_email=invoice["customer_email"],
        email=invoice["customer_email"] or (submitted or {}).get("email", ""),
        submitted=submitted or {},
        problem=problem,
    )
