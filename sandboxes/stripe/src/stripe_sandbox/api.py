"""`/v1`: authentication, idempotency, parsing, faults and error responses, shared by all API calls."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
from dataclasses import replace
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stripe_sandbox import browser_view, expansion, form, params
from stripe_sandbox.errors import StripeError
from stripe_sandbox.events import Cause
from stripe_sandbox.idempotency import SavedResponse
from stripe_sandbox.ids import new_id
from stripe_sandbox.lost_response import LostResponse
from stripe_sandbox.operation import Call, Operation
from stripe_sandbox.resources import OPERATIONS
from stripe_sandbox.rules.enforcement import enforce
from stripe_sandbox.rules.publishable_keys import BROWSER_CALLS, SECRET_KEY_REQUIRED
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_MAX_BODY = 1_000_000
_log = logging.getLogger(__name__)


def routes(sandbox: Sandbox) -> list[Route]:
    """One route per operation, and Stripe's 404 for every other path."""
    operations = [Route(o.path, _endpoint(sandbox, o), methods=[o.method]) for o in OPERATIONS]
    return [*operations, Route("/v1/{rest:path}", _unknown(sandbox), methods=["GET", "POST", "DELETE", "PUT", "PATCH"])]


def _endpoint(sandbox: Sandbox, operation: Operation) -> Any:
    async def endpoint(request: Request) -> Response:
        return await _ApiCall(sandbox, request).respond(operation)

    return endpoint


def _unknown(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        path = request.url.path
        error = StripeError(f"Unrecognized request URL ({request.method}: {path}).", status=404)
        return _ApiCall(sandbox, request).refuse(error)

    return endpoint


class _ApiCall:
    """One request and its response."""

    def __init__(self, sandbox: Sandbox, request: Request) -> None:
        self.sandbox = sandbox
        self.request = request
        self.id = new_id("req", 14)
        self.version = request.headers.get("stripe-version", sandbox.settings.api_version)
        self.key = request.headers.get("idempotency-key") if request.method == "POST" else None
        self.publishable = False

    async def respond(self, operation: Operation) -> Response:
        try:
            wire = await self._wire()
            self._authenticate(operation, wire)
            self._inject_failure()
            return await self._execute_once(operation, wire)
        except StripeError as error:
            return self.refuse(error)

    def refuse(self, error: StripeError) -> Response:
        return self._response(self._failed(error))

    def _failed(self, error: StripeError) -> SavedResponse:
        body = error.body(self.sandbox.url(f"/sandbox?request={self.id}"))
        if self.publishable:
            body = browser_view.error(body)
        return SavedResponse(error.status, json.dumps(body, indent=2, default=str).encode(), self.id)

    async def _execute_once(self, operation: Operation, wire: str) -> Response:
        """Executes the request, or replays the response saved under its idempotency key."""
        if self.key is None:
            return await self._finish(self._execute(operation, self._call(operation, wire)))
        saved = self.sandbox.keys.begin(self.key, self.request.method, self.request.url.path, wire)
        if saved is not None:
            return self._response(replace(saved), {"Idempotent-Replayed": "true", "Original-Request": saved.request_id})
        try:
            call = self._call(operation, wire)
        except StripeError:
            self.sandbox.keys.abandon(self.key)
            raise
        result = self._execute(operation, call)
        self.sandbox.keys.execute(self.key, result)
        try:
            return await self._finish(result)
        finally:
            self.sandbox.keys.finish(self.key, result)

    def _call(self, operation: Operation, wire: str) -> Call:
        """With a publishable key, `key` and `client_secret` are parameters of every call."""
        values, secret = form.decode(wire), None
        if self.publishable:
            values.pop("key", None)
            secret = values.pop("client_secret", None)
        read = params.read(operation.params, values)
        return Call(self.sandbox, read, self.request.path_params, self.publishable, secret)

    def _execute(self, operation: Operation, call: Call) -> SavedResponse:
        """Runs the operation. Synchronous, so it is atomic: no other request can interleave."""
        paths = call.params.pop("expand", [])
        self.sandbox.set_cause(Cause(self.id, self.key))
        try:
            enforce(operation, call)
            obj = operation.handle(call)
            body: Obj = expansion.expand(self.sandbox, obj, paths)
            if self.publishable:
                body = browser_view.visible(body)
            return SavedResponse(200, json.dumps(body, indent=2, default=str).encode(), self.id)
        except StripeError as error:
            return self._failed(error)
        except Exception:
            _log.exception("%s %s failed (%s)", self.request.method, self.request.url.path, self.id)
            return self._failed(StripeError("The sandbox failed; see its log.", status=500, type="api_error"))
        finally:
            self.sandbox.set_cause(Cause())

    async def _finish(self, result: SavedResponse) -> Response:
        """Applies the faults in force: delivers webhooks before the response, delays the response, or drops it."""
        deliveries = await self.sandbox.deliver_before_response()
        task = BackgroundTask(self.sandbox.deliveries.send_after_response, deliveries)
        try:
            if self.request.method == "POST":
                await self.sandbox.delay_response()
        except asyncio.CancelledError:
            self.sandbox.deliveries.send(deliveries)
            raise
        response = self._response(result)
        faults = self.sandbox.faults
        if self.request.method == "POST" and faults.lose_answers and not await self.request.is_disconnected():
            faults.lose_answers -= 1
            response = LostResponse()
        response.background = task
        return response

    def _response(self, result: SavedResponse, extra: dict[str, str] | None = None) -> Response:
        headers = {"Request-Id": self.id, "Stripe-Version": self.version, **(extra or {})}
        headers["Access-Control-Allow-Origin"] = "*"  # Stripe.js calls from the pages of others
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if 400 <= result.status < 500 and result.status not in (409, 429):
            headers["Stripe-Should-Retry"] = "false"
        return Response(result.body, result.status, headers, media_type="application/json")

    def _authenticate(self, operation: Operation, wire: str) -> None:
        """By the Authorization header, or as Stripe.js does by the parameter `key`, which is a publishable key."""
        settings = self.sandbox.settings
        scheme, _, given = self.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            given = _basic_user(given)
        if not given or scheme.lower() not in ("basic", "bearer"):
            given, scheme = _key_parameter(wire), "parameter"
        if not given:
            raise StripeError(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
                status=401,
            )
        if given == settings.publishable_key:
            if f"{operation.method} {operation.path}" not in BROWSER_CALLS:
                raise SECRET_KEY_REQUIRED.error()
            self.publishable = True
            return
        secret = settings.secret_key.get_secret_value()
        if scheme == "parameter" or not hmac.compare_digest(given.encode(), secret.encode()):
            masked = f"{given[:8]}{'*' * 8}{given[-4:]}" if len(given) > 16 else "*" * 8
            raise StripeError(f"Invalid API Key provided: {masked}", status=401)

    def _inject_failure(self) -> None:
        if self.sandbox.faults.fail_requests:
            self.sandbox.faults.fail_requests -= 1
            raise StripeError("An unknown error occurred", status=500, type="api_error")
        if self.sandbox.faults.limit_requests:
            self.sandbox.faults.limit_requests -= 1
            raise StripeError("Request rate limit exceeded.", status=429, code="rate_limit")

    async def _wire(self) -> str:
        """Query string and body as one form. Stripe accepts parameters in either."""
        body = await self.request.body()
        if len(body) > _MAX_BODY:
            raise StripeError("The request is too large.", status=413)
        content_type = self.request.headers.get("content-type", "")
        if body and not content_type.startswith("application/x-www-form-urlencoded"):
            raise StripeError(
                "Invalid request (check that your POST content type is application/x-www-form-urlencoded): "
                + content_type
            )
        try:
            text = body.decode("ascii")
        except UnicodeDecodeError as error:
            raise StripeError("Invalid form encoding.") from error
        return "&".join(part for part in (self.request.url.query, text) if part)


def _basic_user(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except ValueError:
        return ""


def _key_parameter(wire: str) -> str:
    given = form.decode(wire).get("key", "")
    return given if isinstance(given, str) else ""
