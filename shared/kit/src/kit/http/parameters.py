"""Query parameters of admin routes: one that a route does not have is refused. A filter with a typo would select
everything, and nobody would notice."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from kit.http.errors import Problem

_ADMIN = "/api/admin/"


async def _refuse_unknown_parameters(request: Request) -> None:
    route = request.scope["route"]
    if not request.query_params or not (route.path.startswith(_ADMIN) or "admin" in route.tags):
        return
    allowed = sorted(set(_names(route.dependant)))
    unknown = sorted(set(request.query_params) - set(allowed))
    if unknown:
        detail = "There is no such query parameter (`unknown`); use those in `allowed`."
        raise Problem(422, "unknown_parameter", detail, unknown=unknown[:20], allowed=allowed)


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names(each)


REFUSE_UNKNOWN_PARAMETERS = Depends(_refuse_unknown_parameters)
"""For every router of an app."""
