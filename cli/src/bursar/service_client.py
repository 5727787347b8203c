"""The admin APIs of the services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from bursar.environment import Environment, NotConfigured

SECONDS = 30.0
LONG_SECONDS = 900.0
"""For what reads everything."""


class Refused(Exception):
    """The service has answered with a problem; the message is its `code` and `detail`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unreachable(Exception):
    """The service did not answer."""


def path_of(template: str, value: str) -> str:
    """`template` with its `{}` replaced by the quoted value."""
    return template.replace("{}", quote(value, safe=""))


class ServiceClient:
    def __init__(self, environment: Environment, service: str) -> None:
        """Raises NotConfigured without an address or a token."""
        if environment.token is None:
            raise NotConfigured(
                "set BURSAR_TOKEN to an admin's token, or BURSAR_STACK to the stack.json of `make serve`"
            )
        self._service = service
        self._http = httpx.Client(
            base_url=environment.url_of(service),
            headers={"Authorization": f"Bearer {environment.token.get_secret_value()}"},
        )

    def get(
        self, path: str, parameters: Mapping[str, str] | None = None, *, seconds: float = SECONDS
    ) -> dict[str, Any]:
        """Raises Refused or Unreachable."""
        return self._answer("GET", path, seconds, params=dict(parameters or {}))

    def post(self, path: str, body: Mapping[str, Any], *, seconds: float = SECONDS) -> dict[str, Any]:
        """Raises Refused or Unreachable."""
        return self._answer("POST", path, seconds, json=dict(body))

    def _answer(self, method: str, path: str, seconds: float, **more: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, timeout=seconds, **more)
            found = response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unreachable(f"{self._service} did not answer: {type(error).__name__}") from None
        if not response.is_success:
            code = str(found.get("code", response.status_code))
            raise Refused(code, f"{self._service}: {code}: {found.get('detail', '')}")
        return dict(found)

    def content(self, path: str) -> bytes:
        """A file. Raises Refused or Unreachable."""
        try:
            response = self._http.get(path, timeout=SECONDS)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self._service} did not answer: {type(error).__name__}") from None
        if not response.is_success:
            raise Refused(str(response.status_code), f"{self._service}: {response.status_code} for {path}")
        return response.content

    def pages(self, path: str, parameters: Mapping[str, str], *, limit: int) -> Iterator[dict[str, Any]]:
        """The first `limit` items of a list."""
        cursor: dict[str, str] = {}
        while limit > 0:
            page = self.get(path, {**parameters, **cursor, "limit": str(min(limit, 200))})
            yield from page["items"]
            limit -= len(page["items"])
            if not page["next"]:
                return
            cursor = {"cursor": page["next"]}
