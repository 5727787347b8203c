"""Query parameters of admin routes: one that a route does not have is refused. A filter with a typo would select
everything, and nobody would notice."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from kit.http.problems import UNKNOWN_PARAMETER

_ADMIN = "/api/admin/"


class _RefuseUnknown:
    def applies(self, request: Request) -> bool:
        route = request.scope["route"]
        return bool(route.path.startswith(_ADMIN) or "admin" in route.tags)

    async def __call__(self, request: Request) -> None:
        if not request.query_params or not self.applies(request):
            return
        allowed = sorted(set(_names(request.scope["route"].dependant)))
        unknown = sorted(set(request.query_params) - set(allowed))
        if unknown:
            raise UNKNOWN_PARAMETER(unknown=unknown[:20], allowed=allowed)


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names(each)


REFUSE_UNKNOWN_PARAMETERS = Depends(_RefuseUnknown())
"""For every router of an app."""
