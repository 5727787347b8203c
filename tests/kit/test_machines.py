"""Other systems: role `machine`, and scopes. What a route does not name, only people may call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import uuid4

import httpx
import jwt
import pytest
from fastapi import APIRouter, Depends
from pydantic import SecretStr

from kit.http.app import create_app
from kit.http.auth import Admin, Authenticator, Caller, CurrentCaller, MaybeCaller, requires
from kit.runtime.settings import AuthSettings

SETTINGS = AuthSettings(jwt_secret=SecretStr("s" * 40), jwt_issuer="https://issuer.test", jwt_audience="bursar")
router = APIRouter()


@router.get("/public")
async def public() -> dict[str, str]:
    return {}


@router.get("/maybe")
async def maybe(caller: MaybeCaller) -> dict[str, str]:
    return {}


@router.get("/anyone")
async def anyone(caller: CurrentCaller) -> dict[str, str]:
    return {}


@router.get("/admin")
async def admin(caller: Admin) -> dict[str, str]:
    return {}


@router.get("/reports/{name}")
async def report(
    name: str, also: CurrentCaller, caller: Annotated[Caller, Depends(requires("admin", scope="reports:read"))]
) -> dict[str, str]:
    assert also == caller
    return {"role": caller.role}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(title="tests", routers=[router])
    app.state.authenticator = Authenticator(SETTINGS)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def bearer(role: str, **claims: Any) -> dict[str, str]:
    now = int(time.time())
    claims = {"sub": str(uuid4()), "role": role, "iat": now, "exp": now + 600, **claims}
    token = jwt.encode({"iss": "https://issuer.test", "aud": "bursar", **claims}, "s" * 40, algorithm="HS256")
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("scope", ["reports:read", "payments:read reports:read"])
async def test_a_scope_admits_another_system(client: httpx.AsyncClient, scope: str) -> None:
    for path in ("/reports/1", "/reports/1/"):
        answer = await client.get(path, headers=bearer("machine", scope=scope))
        assert (answer.status_code, answer.json()) == (200, {"role": "machine"})


@pytest.mark.parametrize("scope", ["", "reports", "reports:read2", "reports:write", "REPORTS:READ", "reports:read,x"])
async def test_without_the_scope_it_is_refused_by_name(client: httpx.AsyncClient, scope: str) -> None:
    answer = await client.get("/reports/1", headers=bearer("machine", scope=scope))
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="reports:read"'
    no_claim = await client.get("/reports/1", headers=bearer("machine"))
    assert (no_claim.status_code, no_claim.json()["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("path", ["/maybe", "/anyone", "/admin"])
async def test_no_scope_replaces_a_person(client: httpx.AsyncClient, path: str) -> None:
    scopes = "reports:read admin * student openid"
    answer = await client.get(path, headers=bearer("machine", scope=scopes))
    assert (answer.status_code, answer.json()["code"]) == (403, "person_required")
    assert (await client.get("/public", headers=bearer("machine", scope=scopes))).status_code == 200


@pytest.mark.parametrize("role", ["student", "case_manager", "specialist"])
async def test_a_scope_gives_a_person_nothing(client: httpx.AsyncClient, role: str) -> None:
    answer = await client.get("/reports/1", headers=bearer(role, scope="reports:read"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await client.get("/reports/1", headers=bearer("admin"))).status_code == 200


@pytest.mark.parametrize("claims", [{"scope": ["reports:read"]}, {"scope": None}, {"scope": 1}, {"sub": "accounting"}])
async def test_a_malformed_token_of_a_system_is_invalid(client: httpx.AsyncClient, claims: dict[str, Any]) -> None:
    answer = await client.get("/reports/1", headers=bearer("machine", **{"scope": "reports:read", **claims}))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
