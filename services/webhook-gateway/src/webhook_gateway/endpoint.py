"""What is wrong with the webhook endpoint at Stripe, as its API describes it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from webhook_gateway.translate import TRANSLATED

EndpointObject = Mapping[str, Any]  # Any: JSON


class EndpointProblem(StrEnum):
    MISSING = "missing"
    """No endpoint has the gateway's URL."""
    DISABLED = "disabled"
    """Stripe disables an endpoint that has failed for days, and sends a mail about it."""
    EVENT_TYPES = "event_types"
    """Not all types that are translated are sent to it."""
    API_VERSION = "api_version"
    """Its events are rendered in another version than the one that the gateway was tested with."""
    UNREADABLE = "unreadable"
    """The endpoints cannot be listed, for example because the API key may not."""


def problems_of(
    endpoints: Iterable[EndpointObject], *, url: str, paths: Collection[str], api_version: str
) -> Mapping[EndpointProblem, str]:
    """Each problem with what was found. Empty if there is an endpoint without problems.

    `url`: the gateway's; if it is empty, an endpoint with one of `paths` is the gateway's. If several are, the problems
    are those of the best one.
    """
    listed = list(endpoints)
    own = [_problems(each, api_version) for each in listed if _is_own(each, url, paths)]
    if not own:
        found = ", ".join(sorted(str(each.get("url")) for each in listed)) or "none"
        return {EndpointProblem.MISSING: f"endpoints: {found}"}
    return min(own, key=len)


def _is_own(endpoint: EndpointObject, url: str, paths: Collection[str]) -> bool:
    own = str(endpoint.get("url") or "")
    if url:
        return own.rstrip("/") == url.rstrip("/")
    return urlsplit(own).path.rstrip("/") in paths


def _problems(endpoint: EndpointObject, api_version: str) -> Mapping[EndpointProblem, str]:
    found: dict[EndpointProblem, str] = {}
    if endpoint.get("status") != "enabled":
        found[EndpointProblem.DISABLED] = f"status: {endpoint.get('status')}"
    enabled = set(endpoint.get("enabled_events") or ())
    if "*" not in enabled and (missing := sorted(TRANSLATED - enabled)):
        found[EndpointProblem.EVENT_TYPES] = f"not sent: {', '.join(missing)}"
    if endpoint.get("api_version") != api_version:
        found[EndpointProblem.API_VERSION] = f"{endpoint.get('api_version')}, expected {api_version}"
    return found
