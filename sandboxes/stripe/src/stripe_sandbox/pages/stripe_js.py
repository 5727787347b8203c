"""The stand-in for Stripe.js, at `/v3/`."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_SCRIPT = resources.files("stripe_sandbox.pages").joinpath("static", "stripe.js").read_bytes()


def routes() -> list[Route]:
    async def script(_: Request) -> Response:
        return Response(_SCRIPT, media_type="text/javascript", headers={"Cache-Control": "no-store"})

    return [Route("/v3/", script)]
