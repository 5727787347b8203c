"""HTTP: errors, tokens, trailing slashes, limits and Idempotency-Key, with real requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel, SecretStr
from sqlalchemy import Text, func, literal, select
from starlette.responses import Response

from kit.db.database import Database
from kit.http.app import BODY_LIMIT, create_app
from kit.http.auth import Admin, Authenticator, CurrentCaller, MaybeCaller
from kit.http.idempotency import once
from kit.http.problems import ProblemType
from kit.runtime.failures import Transient
from kit.runtime.settings import AuthSettings

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
STUDENT = UUID("3f0c8a62-64f5-4d3f-8f6a-0f0f5a3b1c11")
SETTINGS = AuthSettings(jwt_secret=SecretStr(SECRET), jwt_issuer="https://issuer.test", jwt_audience="bursar")


class Order(BaseModel):
    what: str
    count: int


router = APIRouter()
calls: list[str] = []


@router.get("/who")
async def who(caller: MaybeCaller) -> dict[str, Any]:
    return {"role": caller.role, "id": str(caller.id)} if caller else {"role": None}


@router.get("/mine/{item}")
async def mine(item: str, caller: CurrentCaller) -> dict[str, str]:
    return {"item": item, "id": str(caller.id)}


@router.get("/admin")
async def admin(caller: Admin) -> dict[str, str]:
    return {"role": caller.role}


@router.post("/orders")
async def order(request: Request, body: Order, caller: CurrentCaller) -> Response:
    async def act() -> dict[str, Any]:
        calls.append(body.what)
        await asyncio.sleep(0.2 if body.what == "slow" else 0)
        if body.what == "refused":
            raise ProblemType(409, "refused", "No.", "Try again.")()
        return {"order": str(uuid4()), "what": body.what}

    return await once(request, request.app.state.database, caller=str(caller.id), act=act, status=201)


@router.get("/fails")
async def fails(kind: str) -> None:
    if kind == "outage":
        raise Transient("the dependency is unavailable")
    raise RuntimeError("secret@example.com is in this message")


@router.post("/echo")
async def echo(request: Request) -> int:
    return len(await request.body())


@router.get("/find")
async def find(request: Request, text: str) -> int:
    async with request.app.state.database.transaction() as db:
        return int(await db.scalar(select(func.count()).where(literal(text, Text) == "x")) or 0)


both = asyncio.Barrier(2)


@router.get("/lock-both")
async def lock_both(request: Request, first: int, second: int) -> None:
    async with request.app.state.database.transaction() as db:
        await db.execute(select(func.pg_advisory_xact_lock(first)))
        await both.wait()
        await db.execute(select(func.pg_advisory_xact_lock(second)))


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(title="tests", routers=[router], cors_origins=["https://front.test"])
    app.state.database = database
    app.state.authenticator = Authenticator(SETTINGS)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    calls.clear()
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def token(*, key: str = SECRET, algorithm: str = "HS256", drop: str | None = None, **claims: Any) -> str:
    now = int(time.time())
    payload: dict[str, Any] = {
        "sub": str(STUDENT),
        "role": "student",
        "iss": "https://issuer.test",
        "aud": "bursar",
        "iat": now,
        "exp": now + 600,
        **claims,
    }
    if drop:
        del payload[drop]
    return jwt.encode(payload, key, algorithm=algorithm)


def bearer(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


async def test_a_valid_token_identifies_the_caller(client: httpx.AsyncClient) -> None:
    answer = await client.get("/mine/1", headers=bearer(token()))
    assert answer.json() == {"item": "1", "id": str(STUDENT)}
    assert (await client.get("/who")).json() == {"role": None}


BAD = {
    "another key": token(key="another-secret-of-the-tests-with-32-bytes"),
    "no signature": jwt.encode({"sub": str(STUDENT)}, "", algorithm="none"),
    "another algorithm": token(algorithm="HS512", key=SECRET * 2),
    "expired": token(exp=int(time.time()) - 600),
    "no expiry": token(drop="exp"),
    "valid for years, and issued two days ago": token(iat=int(time.time()) - 172_800, exp=int(time.time()) + 10**9),
    "issued in the future": token(iat=int(time.time()) + 600),
    "no time of issue": token(drop="iat"),
    "no role": token(drop="role"),
    "another issuer": token(iss="https://evil.test"),
    "another audience": token(aud="somebody-else"),
    "no subject": token(drop="sub"),
    "a subject that is not a UUID": token(sub="1; DROP TABLE"),
    "an unknown role": token(role="root"),
    "garbage": "a.b.c",
    "not a token": "x",
}


@pytest.mark.parametrize("name", BAD)
async def test_an_invalid_token_is_401_even_if_none_is_required(client: httpx.AsyncClient, name: str) -> None:
    for path in ("/mine/1", "/who"):
        answer = await client.get(path, headers=bearer(BAD[name]))
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_no_token_is_401_and_the_wrong_role_is_403(client: httpx.AsyncClient) -> None:
    assert (await client.get("/mine/1")).status_code == 401
    assert (await client.get("/mine/1", headers={"Authorization": "Basic abc"})).status_code == 401
    refused = await client.get("/admin", headers=bearer(token()))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await client.get("/admin", headers=bearer(token(role="admin")))).status_code == 200


async def test_a_trailing_slash_makes_no_difference(client: httpx.AsyncClient) -> None:
    assert (await client.get("/who/")).status_code == 200
    assert (await client.post("/orders/", json={"what": "a", "count": 1}, headers=bearer(token()))).status_code == 201


async def test_validation_errors_do_not_contain_values(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", json={"what": "ann@example.com", "count": "x"}, headers=bearer(token()))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "body.count"
    assert "ann@example.com" not in answer.text


async def test_an_outage_is_503_and_a_bug_is_500_without_its_message(client: httpx.AsyncClient) -> None:
    outage = await client.get("/fails", params={"kind": "outage"})
    assert (outage.status_code, outage.json()["code"], outage.headers["retry-after"]) == (503, "unavailable", "2")
    fault = await client.get("/fails", params={"kind": "bug"})
    assert (fault.status_code, fault.json()["code"]) == (500, "internal_error")
    assert "secret@example.com" not in fault.text


async def test_every_answer_has_safe_headers(client: httpx.AsyncClient) -> None:
    for path in ("/who", "/admin", "/nowhere", "/fails?kind=bug", "/readyz"):
        headers = (await client.get(path)).headers
        assert headers["cache-control"] == "no-store", path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "strict-transport-security" not in headers
    over_tls = await client.get("https://test/who")
    assert over_tls.headers["strict-transport-security"] == "max-age=31536000"


async def test_a_body_over_the_limit_is_413(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", content=b" " * (BODY_LIMIT + 1), headers=bearer(token()))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_the_same_key_and_body_return_the_first_response(client: httpx.AsyncClient) -> None:
    headers = {**bearer(token()), "Idempotency-Key": str(uuid4())}
    first = await client.post("/orders", json={"what": "a", "count": 1}, headers=headers)
    as_json = {**headers, "Content-Type": "application/json"}
    again = await client.post("/orders", content=b'{ "count": 1, "what": "a" }', headers=as_json)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert calls == ["a"]


async def test_the_same_key_with_another_body_is_rejected(client: httpx.AsyncClient) -> None:
    headers = {**bearer(token()), "Idempotency-Key": str(uuid4())}
    await client.post("/orders", json={"what": "a", "count": 1}, headers=headers)
    answer = await client.post("/orders", json={"what": "b", "count": 1}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


async def test_keys_belong_to_their_caller(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "1"}
    await client.post("/orders", json={"what": "a", "count": 1}, headers={**bearer(token()), **key})
    other = {**bearer(token(sub=str(uuid4()))), **key}
    assert (await client.post("/orders", json={"what": "b", "count": 1}, headers=other)).status_code == 201


@pytest.mark.parametrize(
    "body", [b"[" * 956 + b"]" * 956, b'{"what": "\\u0000", "count": 1}', b'{"what": "\\ud800", "count": 1}']
)
async def test_hostile_bodies_are_client_errors(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {**bearer(token()), "Idempotency-Key": str(uuid4()), "Content-Type": "application/json"}
    answer = await client.post("/orders", content=body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text


async def test_a_value_that_cannot_be_stored_is_a_client_error(client: httpx.AsyncClient) -> None:
    answer = await client.get("/find", params={"text": "\x00"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_of_two_requests_that_block_each_other_one_can_be_retried(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.get("/lock-both", params={"first": n, "second": 3 - n}) for n in (1, 2)))
    aborted, done = sorted(answers, key=lambda each: -each.status_code)
    assert (done.status_code, aborted.status_code, aborted.json()["code"]) == (200, 503, "unavailable")


async def test_concurrent_requests_with_one_key_act_once(client: httpx.AsyncClient) -> None:
    headers = {**bearer(token()), "Idempotency-Key": str(uuid4())}
    answers = await asyncio.gather(
        *(client.post("/orders", json={"what": "slow", "count": 1}, headers=headers) for _ in range(5))
    )
    assert calls == ["slow"]
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


async def test_a_rejected_request_can_be_repeated_with_its_key(client: httpx.AsyncClient) -> None:
    headers = {**bearer(token()), "Idempotency-Key": str(uuid4())}
    for _ in range(2):
        assert (await client.post("/orders", json={"what": "refused", "count": 1}, headers=headers)).status_code == 409
    assert calls == ["refused", "refused"]


async def test_only_configured_origins_are_allowed(client: httpx.AsyncClient) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    good = await client.options("/orders", headers={**preflight, "Origin": "https://front.test"})
    bad = await client.options("/orders", headers={**preflight, "Origin": "https://evil.test"})
    assert good.headers["access-control-allow-origin"] == "https://front.test"
    assert "access-control-allow-origin" not in bad.headers


async def test_a_front_end_can_read_every_answer(client: httpx.AsyncClient) -> None:
    """A browser hides answers without the header of its origin, and with them what to do about the error."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b"x" * 2**16

    origin = {"Origin": "https://front.test"}
    answers = [
        await client.get("/fails", params={"kind": "outage"}, headers=origin),
        await client.get("/fails", params={"kind": "bug"}, headers=origin),
        await client.post("/echo", content=b"x" * (2**20 + 1), headers=origin),
        await client.post("/echo", content=chunks(), headers=origin),
        await client.get("/no-such-path", headers=origin),
        await client.put("/echo", headers=origin),
        await client.get("/fails", headers=origin),
        await client.post("/echo", content=b"x", headers=origin),
    ]
    assert [answer.status_code for answer in answers] == [503, 500, 413, 413, 404, 405, 422, 200]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "https://front.test"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
