"""Every route with every role: it lets in those that docs/roles.md lists, and refuses the others before it reads."""

from __future__ import annotations

import re
import time
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from devstack.documents import SETTINGS, applications, routes_of
from kit.http.auth import GUEST, ROLES

PUBLIC = {
    ("webhook-gateway", "POST /api/payments/webhook"),  # signed by Stripe
    ("webhook-gateway", "POST /api/stripe/webhook"),
    ("webhook-gateway", "POST /api/webhook/stripe"),
    ("webhook-gateway", "POST /api/webhooks/stripe"),
    ("checkout", "GET /api/catalog"),
    ("checkout", "GET /api/payment-methods"),
    ("checkout", "GET /api/programs"),
    ("checkout", "POST /api/create-checkout-session"),  # a guest's, unless ALLOW_GUEST_CHECKOUT=false
    ("checkout", "GET /pay/{token}"),  # the link cannot be guessed
    ("checkout", "GET /pay/{token}/invoice.pdf"),
}


def token(role: str) -> str:
    now = int(time.time())
    claims = {"sub": str(uuid4()), "role": role, "iss": SETTINGS["JWT_ISSUER"], "aud": SETTINGS["JWT_AUDIENCE"]}
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
