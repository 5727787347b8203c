"""Every route with every role: it lets in those that docs/roles.md lists, and refuses the others before it reads."""

from __future__ import annotations

import re
import time
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from devstack.documents import SETTINGS, applications
from devstack.role_table import routes_of, scopes_by_route
from kit.http.auth import GUEST, ROLES

PUBLIC = {
    ("webhook-gateway", "POST /api/payments/webhook"),  # signed by Stripe
    ("webhook-gateway", "POST /api/stripe/webhook"),
    ("webhook-gateway", "POST /api/webhook/stripe"),
    ("webhook-gateway", "POST /api/webhooks/stripe"),
    ("checkout", "GET /api/catalog"),
    ("checkout", "GET /api/checkout-sessions/{session_id}"),  # the id cannot be guessed
    ("checkout", "GET /api/payment-methods"),
    ("checkout", "GET /api/prices/{item}"),
    ("checkout", "GET /api/programs"),
    ("checkout", "POST /api/create-checkout-session"),  # a guest's, unless ALLOW_GUEST_CHECKOUT=false
    ("checkout", "GET /api/sponsor-statements/{token}"),
    ("checkout", "GET /pay/{token}"),  # the link cannot be guessed
    ("checkout", "GET /pay/{token}/invoice.pdf"),
}

UNREAD = PUBLIC - {("checkout", "POST /api/create-checkout-session"), ("checkout", "GET /api/prices/{item}")}
"""Routes that do not read a token."""
SCOPES = {
    ("checkout", "GET /api/admin/payments"): "payments:read",
    ("enrollment", "GET /api/enrollments"): "enrollments:read",
    ("reporting", "GET /api/admin/audit"): "audit:read",
    ("reporting", "GET /api/admin/figures"): "figures:read",
    ("reporting", "GET /api/admin/invariant"): "invariant:read",
}


def token(role: str, subject: UUID | None = None, **more: str) -> str:
    now = int(time.time())
    claims = {
        **more,
        "sub": str(subject or uuid4()),
        "role": role,
        "iss": SETTINGS["JWT_ISSUER"],
        "aud": SETTINGS["JWT_AUDIENCE"],
    }
    return jwt.encode({**claims, "iat": now, "exp": now + 600}, SETTINGS["JWT_SECRET"], algorithm="HS256")


@pytest.mark.parametrize("service", applications())
async def test_every_route_lets_in_its_roles_only(service: str) -> None:
    """Nothing answers at the database's address: a role that is let in gets no further than that."""
    transport = httpx.ASGITransport(applications()[service], raise_app_exceptions=False)
    wrong = []
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for route, allowed in routes_of(applications()[service]).items():
            method, path = route.split()
            path = re.sub(r"\{[^}]+\}", str(UUID(int=0)), path)
            for role in (GUEST, *ROLES):
                headers = {} if role == GUEST else {"Authorization": f"Bearer {token(role)}"}
                status = (await client.request(method, path, headers=headers)).status_code
                refusal = None if role in allowed else 401 if role == GUEST else 403
                if (status if status in (401, 403) else None) != refusal:
                    wrong.append(f"{route} answers a {role} with {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("service", applications())
async def test_another_system_passes_where_a_scope_admits_it(service: str) -> None:
    """With all scopes that there are: everywhere else, a person is needed."""
    app = applications()[service]
    every = " ".join(sorted({*SCOPES.values(), "admin", "*"}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    wrong = []
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for route in routes_of(app):
            method, path = route.split()
            path = re.sub(r"\{[^}]+\}", str(UUID(int=0)), path)
            wanted = SCOPES.get((service, route))
            for scope in (every, ""):
                sent = {"Authorization": f"Bearer {token('machine', scope=scope)}"}
                answer = await client.request(method, path, headers=sent)
                refusal = "insufficient_scope" if wanted else "person_required"
                if (service, route) in UNREAD or (wanted and wanted in scope.split()):
                    refusal = ""
                found = answer.json()["code"] if answer.status_code in (401, 403) else ""
                if found != refusal:
                    wrong.append(f"{route} answers a machine with {scope!r}: {answer.status_code} {found}")
    assert not wrong, "\n".join(wrong)


def test_scopes_admit_to_these_routes_only_and_only_to_read() -> None:
    found = {
        (service, route): scopes
        for service, app in applications().items()
        for route, scopes in scopes_by_route(app).items()
    }
    assert found == {key: {scope} for key, scope in SCOPES.items()}
    assert all(route.startswith("GET ") for _, route in found)


def test_only_these_routes_need_no_token() -> None:
    found = {
        (service, route)
        for service, app in applications().items()
        for route, allowed in routes_of(app).items()
        if GUEST in allowed
    }
    assert found == PUBLIC


def test_a_student_may_call_nothing_of_the_administration() -> None:
    found = [
        route
        for app in applications().values()
        for route, allowed in routes_of(app).items()
        if "/api/admin/" in route and allowed & {GUEST, "student", "specialist"}
    ]
    assert found == []
