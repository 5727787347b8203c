"""The operator's page, /sandbox. Its forms go to /sandbox/api and come back here."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.flows.disputing import OPEN
from stripe_sandbox.flows.subscribing import LIVE
from stripe_sandbox.pages.rendering import page
from stripe_sandbox.state import Sandbox

_SHOWN = 50


def routes(sandbox: Sandbox) -> list[Route]:
    async def show(request: Request) -> Response:
        store = sandbox.store
        return page(
            "operator.html",
            now=sandbox.clock.now(),
            offset=round(sandbox.clock.offset),
            problem=request.query_params.get("problem"),
            sessions=store.all("checkout.session")[: -_SHOWN - 1 : -1],
            processing=list(store.where("payment_intent", status="processing"))[::-1],
            charges=list(store.where("charge", status="succeeded"))[: -_SHOWN - 1 : -1],
            refunds=store.all("refund")[: -_SHOWN - 1 : -1],
            disputes=store.all("dispute")[: -_SHOWN - 1 : -1],
            open_statuses=OPEN,
            subscriptions=[s for s in store.all("subscription") if s["status"] in LIVE][: -_SHOWN - 1 : -1],
            invoices=list(store.where("invoice", status="open"))[: -_SHOWN - 1 : -1],
            failing=sandbox.hidden.failing_renewals,
            deliveries=list(sandbox.deliveries.log)[: -2 * _SHOWN - 1 : -1],
            pending=sandbox.deliveries.pending(),
            faults=sandbox.faults,
        )

    async def home(_: Request) -> Response:
        return RedirectResponse("/sandbox", 303)

    return [Route("/sandbox", show, name="operator"), Route("/", home)]
