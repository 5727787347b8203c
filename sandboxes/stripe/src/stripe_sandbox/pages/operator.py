"""The operator's page, /sandbox. Its forms go to /sandbox/api and come back here."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.flows import invoicing, settlement
from stripe_sandbox.flows.disputing import OPEN
from stripe_sandbox.flows.subscribing import LIVE
from stripe_sandbox.pages.rendering import page
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_SHOWN = 50


@dataclass(frozen=True)
class About:
    """What an operator knows a payment by. `session` and `charge` are ids, of the one that belongs to it."""

    email: str | None
    what: str | None
    session: str | None = None
    invoice: Obj | None = None
    charge: str | None = None


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        store = sandbox.store
        sessions = _newest(store.all("checkout.session"))
        charges = _newest(list(store.where("charge", status="succeeded")))
        finalized = [invoice for invoice in store.all("invoice") if invoice["status"] != "draft"]
        invoices = _newest(sorted(finalized, key=lambda invoice: invoice["status"] == "open"))
        of = {session["id"]: _about_session(sandbox, session) for session in sessions}
        of |= {charge["id"]: _about_charge(sandbox, charge) for charge in charges}
        of |= {invoice["id"]: About(invoice["customer_email"], _bought(invoice)) for invoice in invoices}
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
            invoices=invoices,
            of=of,
            failing={customer: ordered.left for customer, ordered in sandbox.hidden.failing_charges.items()},
            deliveries=list(sandbox.deliveries.log)[: -2 * _SHOWN - 1 : -1],
            pending=sandbox.deliveries.pending(),
            faults=sandbox.faults,
        )

    async def home(_: Request) -> Response:
        return RedirectResponse("/sandbox", 303)

    return [Route("/sandbox", show, name="operator"), Route("/", home)]


def _newest(found: list[Obj]) -> list[Obj]:
    return found[: -_SHOWN - 1 : -1]


def _about_session(sandbox: Sandbox, session: Obj) -> About:
    plan = sandbox.hidden.checkouts[session["id"]]
    intent = sandbox.store.find(plan.intent) if plan.intent else None
    paid = intent is not None and intent["status"] == "succeeded"
    return About(
        email=plan.email or session["customer_email"] or _email_of(sandbox, session["customer"]),
        what=", ".join(str(line.item["description"]) for line in plan.lines) or None,
        charge=intent["latest_charge"] if intent is not None and paid else None,
    )


def _about_charge(sandbox: Sandbox, charge: Obj) -> About:
    intent = sandbox.store.get("payment_intent", charge["payment_intent"])
    session = settlement.session_of(sandbox, intent)
    invoice = invoicing.invoice_of(sandbox, intent)
    bought = _about_session(sandbox, session).what if session else _bought(invoice) if invoice else None
    return About(
        email=charge["billing_details"]["email"] or charge["receipt_email"] or _email_of(sandbox, charge["customer"]),
        what=bought or charge["description"],
        session=session["id"] if session else None,
        invoice=invoice,
    )


def _bought(invoice: Obj) -> str | None:
    return ", ".join(line["description"] for line in invoice["lines"]["data"] if line["description"]) or None


def _email_of(sandbox: Sandbox, customer: str | None) -> str | None:
    holder = sandbox.store.find(customer) if customer else None
    return holder.get("email") if holder else None
