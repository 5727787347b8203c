"""Calls to the services' APIs, as docs/openapi describes them, with the token of the person who is signed in."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Annotated, Any

import httpx
from fastapi import Depends, Request
from starlette.responses import Response

from kit.runtime.failures import Transient
from kit.runtime.trace import current_traceparent
from portal.sessions import Session

IDLE_SECONDS = 60.0
"""How long a connection is kept for the next request: shorter than the services keep it."""
TIMEOUT_SECONDS = 20.0
"""Opening a page at Stripe takes checkout up to ten."""
EVENT_STREAM = "text/event-stream"
SLOW_CONNECTIONS = 100
"""For answers that take longer than TIMEOUT_SECONDS: an instructor's."""
SLOW_POOL_SECONDS = 1.0
"""How long such a request waits for one of them."""
_PAGES = 20


class ServiceError(Exception):
    """A problem document. `detail` is written for people."""

    def __init__(self, status: int, code: str, detail: str, body: Mapping[str, Any]) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.body = status, code, detail, body

    @property
    def is_outage(self) -> bool:
        return self.status >= 500


class ServiceUnavailable(Transient):
    """A service does not answer, or not as documented."""


class Services:
    """The connections to all services, in three pools: no page waits for a connection that something else holds.

    http:      of the pages
    forwarded: of requests that are passed on (`forwarder`)
    slow:      of answers that may take minutes
    """

    def __init__(self, urls: Mapping[str, str], transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport`: for tests."""
        self.urls = urls
        self.http = _client(transport, connections=200)
        self.forwarded = _client(transport, connections=200)
        self.slow = _client(transport, connections=SLOW_CONNECTIONS)

    async def close(self) -> None:
        for client in (self.http, self.forwarded, self.slow):
            await client.aclose()


def _client(transport: httpx.AsyncBaseTransport | None, *, connections: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        timeout=TIMEOUT_SECONDS,
        follow_redirects=False,
        trust_env=False,
        transport=transport,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=50, keepalive_expiry=IDLE_SECONDS),
    )


class Api:
    """The services, for one request of a browser."""

    def __init__(self, services: Services, *, token: str | None, address: str | None) -> None:
        self._services = services
        self._headers = {"Traceparent": current_traceparent(), "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        if address:  # rate limits count the browser, not the portal
            self._headers["X-Forwarded-For"] = address

    async def get(self, service: str, path: str, **query: object) -> Any:
        """The JSON of the answer. Raises ServiceError, ServiceUnavailable."""
        sent = {name: str(value) for name, value in query.items() if value is not None}
        return _json_of(await self.send(service, "GET", path, params=sent))

    async def all(self, service: str, path: str, **query: object) -> list[Any]:
        """The items of every page of a list, at most 20 pages."""
        items: list[Any] = []
        cursor: str | None = None
        for _ in range(_PAGES):
            page = await self.get(service, path, cursor=cursor, **query)
            items += page["items"]
            if (cursor := page["next"]) is None:
                break
        return items

    async def optional(self, service: str, path: str, **query: object) -> list[dict[str, Any]] | None:
        """The items of a list's first page; None as for `optional_answer`: the rest of a page is displayed.

        Raises ServiceError.
        """
        answer = await self.optional_answer(service, path, **query)
        return None if answer is None else answer["items"]

    async def optional_answer(self, service: str, path: str, **query: object) -> dict[str, Any] | None:
        """The JSON of the answer. None if the service does not answer, cannot, or is of a version without this path.

        Raises ServiceError.
        """
        try:
            answer: dict[str, Any] = await self.get(service, path, **query)
        except ServiceUnavailable:
            return None
        except ServiceError as error:
            if error.status != 404 and not error.is_outage:
                raise
            return None
        return answer

    async def post(
        self,
        service: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """`key`: the Idempotency-Key. `seconds`: to wait. Raises ServiceError, ServiceUnavailable."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = await self.send(service, "POST", path, json=dict(body or {}), headers=headers, seconds=seconds)
        return _json_of(answer)

    async def stream(
        self, service: str, path: str, body: Mapping[str, object], *, key: str, seconds: float
    ) -> httpx.Response:
        """The event stream that a POST is answered with. The caller reads it, and closes it. `seconds`: to wait.

        Raises ServiceError, ServiceUnavailable; nothing is left open then.
        """
        http = self._services.slow
        headers = {**self._headers, "Accept": EVENT_STREAM, "Idempotency-Key": key}
        url = self._services.urls[service] + path
        timeout = httpx.Timeout(seconds, pool=SLOW_POOL_SECONDS)
        request = http.build_request("POST", url, json=dict(body), headers=headers, timeout=timeout)
        try:
            answer = await http.send(request, stream=True)
            if answer.is_success and answer.headers.get("content-type", "").startswith(EVENT_STREAM):
                return answer
            async with aclosing(answer):
                await answer.aread()
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"{service}: {type(error).__name__}") from error
        if answer.is_success:
            raise ServiceUnavailable(f"{service}: an answer that is no event stream")
        raise problem_of(answer)

    async def put(self, service: str, path: str, body: Mapping[str, object]) -> Any:
        """Raises ServiceError, ServiceUnavailable."""
        return _json_of(await self.send(service, "PUT", path, json=dict(body)))

    async def patch(self, service: str, path: str, body: Mapping[str, object]) -> Any:
        """Raises ServiceError, ServiceUnavailable."""
        return _json_of(await self.send(service, "PATCH", path, json=body))

    async def delete(self, service: str, path: str) -> None:
        """Raises ServiceError, ServiceUnavailable."""
        _json_of(await self.send(service, "DELETE", path))

    async def send(
        self,
        service: str,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> httpx.Response:
        """`seconds`: to wait. Raises ServiceUnavailable."""
        is_slow = seconds > TIMEOUT_SECONDS
        http = self._services.slow if is_slow else self._services.http
        try:
            return await http.request(
                method,
                self._services.urls[service] + path,
                json=json,
                params=params or None,
                headers={**self._headers, **(headers or {})},
                timeout=httpx.Timeout(seconds, pool=SLOW_POOL_SECONDS if is_slow else seconds),
            )
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"{service}: {type(error).__name__}") from error


def problem_of(answer: httpx.Response) -> ServiceError:
    """Raises ServiceUnavailable if it is no problem document."""
    try:
        body = answer.json()
        return ServiceError(answer.status_code, str(body["code"]), str(body["detail"]), body)
    except (ValueError, KeyError, TypeError):
        raise ServiceUnavailable(f"status {answer.status_code} without a problem document") from None


def csv_of(answer: httpx.Response) -> Response:
    """The CSV that a service has made, for the browser. Raises ServiceError, ServiceUnavailable."""
    if not answer.is_success:
        raise problem_of(answer)
    headers = {"Cache-Control": "no-store", "Content-Disposition": answer.headers["content-disposition"]}
    return Response(answer.content, media_type="text/csv", headers=headers)


def _json_of(answer: httpx.Response) -> Any:
    if not answer.is_success:
        raise problem_of(answer)
    try:
        return answer.json() if answer.content else None
    except ValueError:
        raise ServiceUnavailable("an answer that is no JSON") from None


def _api(request: Request) -> Api:
    session: Session = request.state.session
    return Api(
        request.app.state.services,
        token=session.user.token if session.user else None,
        address=request.client.host if request.client else None,
    )


CurrentApi = Annotated[Api, Depends(_api)]
