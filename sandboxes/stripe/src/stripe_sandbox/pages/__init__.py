"""HTML pages: server-rendered, plain forms, no JavaScript; and the stand-in for Stripe.js."""

from __future__ import annotations

from starlette.routing import Route

from stripe_sandbox.pages import authenticate, checkout, invoice, operator, portal, stripe_js
from stripe_sandbox.state import Sandbox


def routes(sandbox: Sandbox) -> list[Route]:
    return [
        *checkout.routes(sandbox),
        *authenticate.routes(sandbox),
        *invoice.routes(sandbox),
        *portal.routes(sandbox),
        *operator.routes(sandbox),
        *stripe_js.routes(),
    ]
