"""The operator page, /sandbox. Its forms submit to /sandbox/api, which redirects back."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.flows import invoices, settlement
from stripe_sandbox.flows.disputes import OPEN
from stripe_sandbox.flows.subscriptions import LIVE
from stripe_sandbox.pages.renderer import page
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_LISTED = 50


@dataclass(frozen=True)
class PaymentSummary:
    """Identifies a payment for the operator. `session` and `charge` are ids."""

    email: str | None
    items: str | None
    session: str | None = None
    invoice: Obj | None = None
    charge: str | None = None


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        store = sandbox.store
        sessions = _newest(store.all("checkout.session"))
        charges = _newest(list(store.where("charge", status="succeeded")))
        finalized = [invoice for invoice in store.all("invoice") if invoice["status"] != "draft"]
        finalized = _newest(sorted(finalized, key=lambda invoice: invoice["status"] == "open"))
        summaries = {session["id"]: _session_summary(sandbox, session) for session in sessions}
        summaries |= {charge["id"]: _charge_summary(sandbox, charge) for charge in charges}
        summaries |= {
            invoice["id"]: PaymentSummary(invoice["customer_email"], _item_names(invoice)) for invoice in finalized
        }
        return page(
            "operator.html",
            now=sandbox.clock.now(),
            offset=round(sandbox.clock.offset),
            problem=request.query_params.get("problem"),
            sessions=sessions,
            processing=list(store.where("payment_intent", status="processing"))[::-1],
            charges=charges,
            refunds=_newest(store.all("refund")),
            disputes=_newest(store.all("dispute")),
            open_statuses=OPEN,
            subscriptions=_newest([s for s in store.all("subscription") if s["status"] in LIVE]),
            invoices=finalized,
            summaries=summaries,
            failing={customer: forced.remaining for customer, forced in sandbox.internal.failing_charges.items()},
            deliveries=list(sandbox.deliveries.log)[: -2 * _LISTED - 1 : -1],
            pending=sandbox.deliveries.pending(),
            faults=sandbox.faults,
        )

    async def home(_: Request) -> Response:
        return RedirectResponse("/sandbox", 303)

    return [Route("/sandbox", show, name="operator"), Route("/", home)]


def _newest(found: list[Obj]) -> list[Obj]:
    return found[: -_LISTED - 1 : -1]


def _session_summary(sandbox: Sandbox, session: Obj) -> PaymentSummary:
    plan = sandbox.internal.checkouts[session["id"]]
    intent = sandbox.store.find(plan.intent) if plan.intent else None
    paid = intent is not None and intent["status"] == "succeeded"
    return PaymentSummary(
        email=plan.email or session["customer_email"] or _email_of(sandbox, session["customer"]),
        items=", ".join(str(line.item["description"]) for line in plan.lines) or None,
        charge=intent["latest_charge"] if intent is not None and paid else None,
    )


def _charge_summary(sandbox: Sandbox, charge: Obj) -> PaymentSummary:
    intent = sandbox.store.get("payment_intent", charge["payment_intent"])
    session = settlement.session_of(sandbox, intent)
    invoice = invoices.invoice_of(sandbox, intent)
    items = _session_summary(sandbox, session).items if session else _item_names(invoice) if invoice else None
    return PaymentSummary(
        email=charge["billing_details"]["email"] or charge["receipt_email"] or _email_of(sandbox, charge["customer"]),
        items=items or charge["description"],
        session=session["id"] if session else None,
        invoice=invoice,
    )


def _item_names(invoice: Obj) -> str | None:
    return ", ".join(line["description"] for line in invoice["lines"]["data"] if line["description"]) or None


def _email_of(sandbox: Sandbox, customer: str | None) -> str | None:
    holder = sandbox.store.find(customer) if customer else None
    return holder.get("email") if holder else None
