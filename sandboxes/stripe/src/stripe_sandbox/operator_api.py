"""/sandbox/api: what the operator's page can do, as JSON."""

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
from stripe_sandbox.operator_actions import ACTIONS, Action
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


def routes(sandbox: Sandbox) -> list[Route]:
    actions = [Route(f"/sandbox/api{a.path}", _act(sandbox, a), methods=["POST"]) for a in ACTIONS]
    return [
        *actions,
        Route("/sandbox/api/deliveries", _deliveries(sandbox)),
        Route("/sandbox/api/events", _events(sandbox)),
        Route("/sandbox/api/idle", _idle(sandbox)),
        Route("/sandbox/api/clock", _clock(sandbox)),
        Route("/sandbox/api/faults", _faults(sandbox), methods=["GET", "PUT"]),
    ]


def shown(delivery: Delivery) -> Obj:
    """A delivery as JSON, without its body."""
    plain = dataclasses.asdict(delivery)
    del plain["body"]
    return plain


def _act(sandbox: Sandbox, action: Action) -> Any:
    async def endpoint(request: Request) -> Response:
        try:
            given = await read_as(request, action.takes)
            done = action.do(sandbox, request.path_params.get("id", ""), given)
        except StripeError as error:
            failed = JSONResponse(error.body(sandbox.url("/sandbox")), error.status)
            return await with_webhooks(sandbox, _back(request, error.message) or failed)
        status = 402 if done.get("status") == "declined" else 200
        return await with_webhooks(sandbox, _back(request, None) or JSONResponse(done, status))

    return endpoint


def _back(request: Request, problem: str | None) -> Response | None:
    """A form on the operator's page is answered with that page."""
    if not is_form(request):
        return None
    url = request.url_for("operator")
    return RedirectResponse(url.include_query_params(problem=problem) if problem else url, 303)


def _deliveries(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        """Newest first; `event`, `type` and `status` narrow it down."""
        wanted = {
            name: request.query_params[name] for name in ("event", "type", "status") if name in request.query_params
        }
        found = [d for d in reversed(sandbox.deliveries.log) if all(getattr(d, k) == v for k, v in wanted.items())]
        return JSONResponse({"deliveries": [shown(delivery) for delivery in found[:1000]]})

    return endpoint


def _events(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        """All that was logged, oldest first, from `after` (an event's id) on; nothing is forgotten after 30 days."""
        query = request.query_params
        try:
            found = event_feed.since(sandbox, query.get("after"), int(query.get("limit", "1000")))
        except (StripeError, ValueError) as error:
            refused = error if isinstance(error, StripeError) else StripeError("Invalid limit", param="limit")
            return JSONResponse(refused.body(sandbox.url("/sandbox")), refused.status)
        secret = query.get("secret") or event_feed.own_secret(sandbox)
        shown = [dataclasses.asdict(event_feed.signed(event, secret)) for event in found.events]
        return JSONResponse({"events": shown, "next": found.next, "has_more": found.has_more})

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
        """PUT replaces all of them: what is not named is off."""
        if request.method == "PUT":
            try:
                sandbox.faults = Faults.model_validate_json(await request.body() or b"{}")
            except ValidationError as error:
                problem = error.errors()[0]
                where = ".".join(str(part) for part in problem["loc"])
                return JSONResponse(StripeError(f"{where}: {problem['msg']}", param=where).body(""), 400)
        return JSONResponse(sandbox.faults.model_dump())

    return endpoint
