"""The identity sandbox refuses what an OpenID Connect provider refuses."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx
import jwt
import pytest
from pydantic import SecretStr

from identity_sandbox.app import create_app
from identity_sandbox.settings import Settings

ISSUER = "https://identity.test"
RETURN = "https://school.test/signed-in"
VERIFIER = "a-verifier-of-the-tests-with-43-characters-or-more"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REQUEST = {
    "client_id": "portal",
    "redirect_uri": RETURN,
    "response_type": "code",
    "scope": "openid profile",
    "state": "s",
    "nonce": "n",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}
TOKEN = {"grant_type": "authorization_code", "redirect_uri": RETURN, "code_verifier": VERIFIER}
CLIENT = ("portal", "a-client-secret")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(public_url=ISSUER, client_secret=SecretStr(CLIENT[1]), redirect_uris=(RETURN,))
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as client:
        yield client


async def code(client: httpx.AsyncClient, **choice: str) -> str:
    answer = await client.post("/authorize", data={**REQUEST, "as": "student", **choice})
    sent = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert (sent["state"], sent["iss"]) == ("s", ISSUER)
    return sent["code"]


async def redeem(client: httpx.AsyncClient, code: str, auth: Any = CLIENT, **changes: str) -> httpx.Response:
    return await client.post("/token", data={**TOKEN, "code": code, **changes}, auth=auth)


async def test_the_tokens_are_those_that_the_services_and_the_client_expect(client: httpx.AsyncClient) -> None:
    found = (await redeem(client, await code(client, **{"as": "admin"}))).json()
    metadata = (await client.get("/.well-known/openid-configuration")).json()
    (key,) = (await client.get(urlsplit(metadata["jwks_uri"]).path)).json()["keys"]
    assert not {"d", "p", "q"} & key.keys()
    verifier: Any = jwt.PyJWK(key).key
    access = jwt.decode(found["access_token"], verifier, algorithms=["RS256"], audience="bursar", issuer=ISSUER)
    assert (access["role"], UUID(access["sub"]).version) == ("admin", 5)
    identity = jwt.decode(found["id_token"], verifier, algorithms=["RS256"], audience="portal", issuer=ISSUER)
    assert (identity["nonce"], identity["sub"]) == ("n", access["sub"])
    assert jwt.get_unverified_header(found["access_token"])["kid"] == key["kid"]


async def test_the_same_address_is_the_same_student(client: httpx.AsyncClient) -> None:
    subjects = []
    for email in ("a@example.com", "A@example.com", "b@example.com"):
        found = (await redeem(client, await code(client, email=email))).json()
        subjects.append(jwt.decode(found["id_token"], options={"verify_signature": False})["sub"])
    assert subjects[0] == subjects[1] != subjects[2]


@pytest.mark.parametrize("change", [{"client_id": "other"}, {"redirect_uri": RETURN + "/"}, {"redirect_uri": ""}])
async def test_nobody_is_redirected_to_what_is_not_registered(
    client: httpx.AsyncClient, change: dict[str, str]
) -> None:
    for answer in (
        await client.get("/authorize", params=REQUEST | change),
        await client.post("/authorize", data=REQUEST | change | {"as": "student"}),
    ):
        assert answer.status_code == 400 and "location" not in answer.headers


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
)
async def test_a_wrong_request_is_refused_to_the_client(
    client: httpx.AsyncClient, change: dict[str, str], error: str
) -> None:
    answer = await client.get("/authorize", params=REQUEST | change)
    sent = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert (sent["error"], sent["state"], "code" in sent) == (error, "s", False)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code": "another"}, "invalid_grant"),
        ({"code_verifier": VERIFIER + "x"}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"redirect_uri": "https://school.test/"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_wrong_token_request_is_refused(client: httpx.AsyncClient, change: dict[str, str], error: str) -> None:
    issued = await code(client)
    answer = await redeem(client, **{"code": issued, **change})
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_code_works_once_and_for_its_client(client: httpx.AsyncClient) -> None:
    issued = await code(client)
    for auth in (("portal", "wrong"), ("other", CLIENT[1]), None):
        refused = await redeem(client, issued, auth=auth)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert (await redeem(client, issued)).status_code == 200
    assert (await redeem(client, issued)).json()["error"] == "invalid_grant"


async def test_a_code_expires(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = await code(client)
    monkeypatch.setattr("identity_sandbox.authorization.time.monotonic", lambda: float("inf"))
    assert (await redeem(client, issued)).json()["error"] == "invalid_grant"


async def test_signing_out_returns_to_the_client_only(client: httpx.AsyncClient) -> None:
    back = await client.get("/end-session", params={"post_logout_redirect_uri": "https://school.test/"})
    assert back.headers["location"] == "https://school.test/"
    other = await client.get("/end-session", params={"post_logout_redirect_uri": "https://evil.test/"})
    assert "location" not in other.headers
