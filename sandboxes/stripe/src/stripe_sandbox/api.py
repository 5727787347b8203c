"""`/v1`: what every API call goes through before and after it is carried out."""

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

from stripe_sandbox import expand, form, params
from stripe_sandbox.errors import StripeError
from stripe_sandbox.events import Cause
from stripe_sandbox.idempotency import Answer
from stripe_sandbox.ids import new_id
from stripe_sandbox.lost_answer import LostAnswer
from stripe_sandbox.operation import Call, Operation
from stripe_sandbox.resources import OPERATIONS
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj

_MAX_BODY = 1_000_000
_log = logging.getLogger(__name__)


def routes(sandbox: Sandbox) -> list[Route]:
    """One route per operation, and Stripe's own 404 for every other path."""
    known = [Route(o.path, _endpoint(sandbox, o), methods=[o.method]) for o in OPERATIONS]
    return [*known, Route("/v1/{rest:path}", _unknown(sandbox), methods=["GET", "POST", "DELETE", "PUT", "PATCH"])]


def _endpoint(sandbox: Sandbox, operation: Operation) -> Any:
    async def endpoint(request: Request) -> Response:
        return await _Exchange(sandbox, request).answer(operation)

    return endpoint


def _unknown(sandbox: Sandbox) -> Any:
    async def endpoint(request: Request) -> Response:
        path = request.url.path
        error = StripeError(f"Unrecognized request URL ({request.method}: {path}).", status=404)
        return _Exchange(sandbox, request).refuse(error)

    return endpoint


class _Exchange:
    """One request and its answer."""

    def __init__(self, sandbox: Sandbox, request: Request) -> None:
        self.sandbox = sandbox
        self.request = request
        self.id = new_id("req", 14)
        self.version = request.headers.get("stripe-version", sandbox.settings.api_version)
        self.key = request.headers.get("idempotency-key") if request.method == "POST" else None

    async def answer(self, operation: Operation) -> Response:
        try:
            self._authenticate()
            self._fail_to_order()
            wire = await self._wire()
            return await self._once(operation, wire)
        except StripeError as error:
            return self.refuse(error)

    def refuse(self, error: StripeError) -> Response:
        return self._response(self._failed(error))

    def _failed(self, error: StripeError) -> Answer:
        body = error.body(self.sandbox.url(f"/sandbox?request={self.id}"))
        return Answer(error.status, json.dumps(body, indent=2, default=str).encode(), self.id)

    async def _once(self, operation: Operation, wire: str) -> Response:
        """Carry the request out, or answer as it was answered under the same idempotency key."""
        if self.key is None:
            return await self._finish(self._carry_out(operation, self._read(operation, wire)))
        saved = self.sandbox.keys.begin(self.key, self.request.method, self.request.url.path, wire)
        if saved is not None:
            return self._response(replace(saved), {"Idempotent-Replayed": "true", "Original-Request": saved.request_id})
        try:
            read = self._read(operation, wire)
        except StripeError:
            self.sandbox.keys.abandon(self.key)
            raise
        answer = self._carry_out(operation, read)
        try:
            return await self._finish(answer)
        finally:
            self.sandbox.keys.finish(self.key, answer)

    @staticmethod
    def _read(operation: Operation, wire: str) -> params.Params:
        return params.read(operation.params, form.decode(wire))

    def _carry_out(self, operation: Operation, read: params.Params) -> Answer:
        """Do it. Synchronous: no other request can come in between."""
        paths = read.pop("expand", [])
        self.sandbox.caused_by(Cause(self.id, self.key))
        try:
            obj = operation.handle(Call(self.sandbox, read, self.request.path_params))
            body: Obj = expand.expand(self.sandbox, obj, paths)
            return Answer(200, json.dumps(body, indent=2, default=str).encode(), self.id)
        except StripeError as error:
            return self._failed(error)
        except Exception:
            _log.exception("%s %s failed (%s)", self.request.method, self.request.url.path, self.id)
            return self._failed(StripeError("The sandbox made a mistake; see its log.", status=500, type="api_error"))
        finally:
            self.sandbox.caused_by(Cause())

    async def _finish(self, answer: Answer) -> Response:
        """Deliver before or after the answer, wait, or lose it: whatever is ordered."""
        left = await self.sandbox.deliver_before_answer()
        after = BackgroundTask(self.sandbox.deliveries.send_after_answer, left)
        try:
            if (wait := self.sandbox.faults.api_delay_seconds) and self.request.method == "POST":
                await asyncio.sleep(wait / self.sandbox.settings.time_factor)
        except asyncio.CancelledError:
            self.sandbox.deliveries.send(left)
            raise
        response = self._response(answer)
        if self.request.method == "POST" and self.sandbox.faults.lose_answers:
            self.sandbox.faults.lose_answers -= 1
            response = LostAnswer()
        response.background = after
        return response

    def _response(self, answer: Answer, extra: dict[str, str] | None = None) -> Response:
        headers = {"Request-Id": self.id, "Stripe-Version": self.version, **(extra or {})}
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if 400 <= answer.status < 500 and answer.status not in (409, 429):
            headers["Stripe-Should-Retry"] = "false"
        return Response(answer.body, answer.status, headers, media_type="application/json")

    def _authenticate(self) -> None:
        scheme, _, given = self.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            given = _basic_user(given)
        if not given or scheme.lower() not in ("basic", "bearer"):
            raise StripeError(
                "You did not provide an API key. You need to provide your API key in the Authorization header, using "
                "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
                status=401,
            )
        if not hmac.compare_digest(given.encode(), self.sandbox.settings.secret_key.get_secret_value().encode()):
            shown = f"{given[:8]}{'*' * 8}{given[-4:]}" if len(given) > 16 else "*" * 8
            raise StripeError(f"Invalid API Key provided: {shown}", status=401)

    def _fail_to_order(self) -> None:
        if self.sandbox.faults.fail_requests:
            self.sandbox.faults.fail_requests -= 1
            raise StripeError("An unknown error occurred", status=500, type="api_error")

    async def _wire(self) -> str:
        """Query and body as one form; both are allowed, as at Stripe."""
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
