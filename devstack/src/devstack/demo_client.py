"""What both parts of the demo use: outcomes, and responses as JSON."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx


class DemoFailed(RuntimeError):
    """A request failed, or a step did not happen."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step, and its Unix time: from the record itself or, failing that, when it was first observed."""

    what: str
    at: float = field(default_factory=time.time)


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """Raises DemoFailed with the response body unless the response is a success."""
    if not answer.is_success:
        raise DemoFailed(f"{answer.request.method} {answer.request.url} -> {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def session_in(url: str) -> str:
    """The id of the checkout session of a page. Raises DemoFailed if the URL names none."""
    if session := re.search(r"cs_\w+", url):
        return session.group()
    raise DemoFailed(f"no checkout session in {url!r}")
