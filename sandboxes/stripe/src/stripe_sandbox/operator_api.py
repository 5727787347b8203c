"""/sandbox/api: the operator API."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox import event_feed
from stripe_sandbox.delivery import Delivery
from stripe_sandbox.errors import StripeError
from stripe_sandbox.exchange import is_form, read_as, with_webhooks
from stripe_sandbox.faults import Faults
from stripe_sandbox.operator_action import Action
from stripe_sandbox.operator_actions import ACTIONS
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def routes(sandbox: Sandbox) -> list[Route]:
    actions = [Route(f"/sandbox/api{a.path}", _run(sandbox, a), methods=["POST"]) for a in ACTIONS]
    return [
        *actions,
        Route("/sandbox/api/deliveries", _deliveries(sandbox)),
        Route("/sandbox/api/events", _events(sandbox)),
        Route("/sandbox/api/idle", _idle(sandbox)),
        Route("/sandbox/api/clock", _clock(sandbox)),
        Route("/sandbox/api/faults", _faults(sandbox), methods=["GET", "PUT"]),
    ]


def delivery_json(delivery: Delivery) -> Obj:
    """A delivery without its body."""
    fields = dataclasses.asdict(delivery)
    del fields["body"]
    return fields


def _run(sandbox: Sandbox, action: Action) -> Any:
    async def endpoint(request: Request) -> Response:
        try:
            body = await read_as(request, action.body)
            result = action.run(sandbox, request.path_params.get("id", ""), body)
        except StripeError as error:
            failed = JSONResponse(error.body(sandbox.url("/sandbox")), error.status)
            return await with_webhooks(sandbox, _redirect(request, error.message) or failed)
        status = 402 if result.get("status") == "declined" else 200
        return await with_webhooks(sandbox, _redirect(request, None) or JSONResponse(result, status))

    return endpoint


def _redirect(request: Request, problem: str | None) -> Response | None:
    """Redirects a form submission back to the operator page; None for JSON requests."""
    if not is_form(request):
        return None
    url = request.url_for("operator")
    return RedirectResponse(url.include_query_params(problem=problem) if problem else url, 303)


def _deliveries(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        """Newest first, filtered by `event`, `type` and `status`."""
        wanted = {
            name: request.query_params[name] for name in ("event", "type", "status") if name in request.query_params
        }
        found = [d for d in reversed(sandbox.deliveries.log) if all(getattr(d, k) == v for k, v in wanted.items())]
        return JSONResponse({"deliveries": [delivery_json(delivery) for delivery in found[:1000]]})

    return endpoint


def _events(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        """Events after `after` (an event id), oldest first. Unlike /v1/events, not limited to 30 days."""
        query = request.query_params
        try:
            found = event_feed.since(sandbox, query.get("after"), int(query.get("limit", "1000")))
        except (StripeError, ValueError) as error:
            refused = error if isinstance(error, StripeError) else StripeError("Invalid limit", param="limit")
            return JSONResponse(refused.body(sandbox.url("/sandbox")), refused.status)
        secret = query.get("secret") or event_feed.default_secret(sandbox)
        events = [dataclasses.asdict(event_feed.sign(event, secret)) for event in found.events]
        return JSONResponse({"events": events, "next": found.next, "has_more": found.has_more})

    return endpoint


def _idle(sandbox: Sandbox) -> Any:
    async def endpoint(_: Request) -> Response:
        pending = sandbox.deliveries.pending()
        return JSONResponse({"idle": not any(pending.values()), **pending})

    return endpoint


def _clock(sandbox: Sandbox) -> Any:
    async def endpoint(_: Request) -> Response:
        return JSONResponse({"now": sandbox.clock.now(), "offset": round(sandbox.clock.offset)})

    return endpoint


def _faults(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        """PUT replaces all faults; omitted ones are off."""
        if request.method == "PUT":
            try:
                sandbox.replace_faults(Faults.model_validate_json(await request.body() or b"{}"))
            except ValidationError as error:
                first = error.errors()[0]
                name = ".".join(str(part) for part in first["loc"])
                return JSONResponse(StripeError(f"{name}: {first['msg']}", param=name).body(""), 400)
        return JSONResponse(sandbox.faults.model_dump())

    return endpoint
