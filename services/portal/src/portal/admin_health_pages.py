"""Whether every part works: readiness, what was given up, the last comparison of each service, and its database."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from portal.access import Admin
from portal.admin_lists import GATEWAY
from portal.forms import PostedForm
from portal.renderer import render
from portal.service_client import Api, CurrentApi, ServiceError, ServiceUnavailable
from portal.settings import SERVICES

router = APIRouter(prefix="/admin", include_in_schema=False)

VERIFIED = ("checkout", "enrollment", "instructor-assignment", "milady-integration", "notifications")
"""The services that compare their rows with their facts."""
DATABASES = (*VERIFIED, "reporting", GATEWAY)
_NAMES = {"webhook-gateway-admin": "webhook-gateway, for operators"}
_NEVER = "never"


@router.get("/health")
async def show_health(request: Request, _: Admin, api: CurrentApi) -> Response:
    ready, verifications, invariant, queues, differences, databases = await asyncio.gather(
        asyncio.gather(*(_is_ready(api, service) for service in SERVICES)),
        asyncio.gather(*(_last(api, service, "/api/admin/verification") for service in VERIFIED)),
        _last(api, "reporting", "/api/admin/invariant", limit=1),
        api.optional(GATEWAY, "/api/admin/dead-letters/queues"),
        api.optional(GATEWAY, "/api/admin/differences", limit=1),
        asyncio.gather(*(api.optional_answer(service, "/api/admin/database") for service in DATABASES)),
    )
    return render(
        request,
        "admin_health.html",
        parts=[(_NAMES.get(service, service), is_ready) for service, is_ready in zip(SERVICES, ready, strict=True)],
        verifications=list(zip(VERIFIED, verifications, strict=True)),
        invariant=invariant,
        letters=None if queues is None else sum(each["messages"] for each in queues),
        differences=differences,
        databases=[(service.removesuffix("-admin"), each) for service, each in zip(DATABASES, databases, strict=True)],
        never=_NEVER,
        requested="requested" in request.query_params,
    )


@router.post("/health/verify")
async def verify(request: Request, _: Admin, api: CurrentApi, form: PostedForm) -> Response:
    """Each relay does it in the background."""
    runs = [(service, "/api/admin/verification") for service in VERIFIED]
    runs.append(("reporting", "/api/admin/invariant/runs"))
    await asyncio.gather(*(api.post(service, path) for service, path in runs))
    return RedirectResponse("/admin/health?requested=1", 303)


async def _is_ready(api: Api, service: str) -> bool:
    """At its public port: without reasons."""
    try:
        return (await api.send(service, "GET", "/readyz")).status_code == 200
    except ServiceUnavailable:
        return False


async def _last(api: Api, service: str, path: str, **query: object) -> dict[str, Any] | str | None:
    """`never` if there was none; None if the service does not answer, or cannot."""
    try:
        found: dict[str, Any] = await api.get(service, path, **query)
    except ServiceUnavailable:
        return None
    except ServiceError as error:
        if error.is_outage:
            return None
        if error.status != 404:
            raise
        return _NEVER
    return found
