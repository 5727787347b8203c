"""Keys of an identity provider: rolled, revoked, late, broken; and several shared secrets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs

from kit.http.auth import Authenticator
from kit.http.problems import Problem
from kit.http.token_keys import FETCH_LIMIT, RETRY_SECONDS, STALE_SECONDS, KeySet, read_key_set
from kit.runtime.failures import Unavailable
from kit.runtime.settings import AuthSettings

URL = "https://identity.test/keys"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())
MAX_AGE = 3_600.0
SETTINGS = AuthSettings(jwt_jwks_url=URL, jwt_issuer="https://issuer.test", jwt_audience="bursar")


def rsa_jwk(kid: str, key: rsa.RSAPrivateKey = RSA, **more: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


def ec_jwk(kid: str, key: ec.EllipticCurvePrivateKey = P256, **more: Any) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, **more}


def token(kid: str | None, key: Any = RSA, algorithm: str = "RS256") -> str:
    now = int(time.time())
    claims = {"sub": str(uuid4()), "role": "student", "iss": SETTINGS.jwt_issuer, "aud": "bursar"}
    return jwt.encode(
        {**claims, "iat": now, "exp": now + 600}, key, algorithm=algorithm, headers={"kid": kid} if kid else None
    )


class Provider:
    """An identity provider, its clock, and how often its keys were fetched."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.fetches = 0
        self.now = 1_000.0
        self.answer: Callable[[], Any] | None = None
        self.set = KeySet(URL, max_age=MAX_AGE, transport=httpx.MockTransport(self._respond), clock=lambda: self.now)
        self.authenticator = Authenticator(SETTINGS, self.set)

    async def _respond(self, _: httpx.Request) -> httpx.Response:
        self.fetches += 1
        if self.answer is not None:
            found = self.answer()
            return await found if asyncio.iscoroutine(found) else found  # type: ignore[no-any-return]
        return httpx.Response(200, json={"keys": self.keys})

    async def status(self, token: str) -> int:
        try:
            await self.authenticator.verify(token)
        except Problem as problem:
            return problem.status
        return 200


async def hang() -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def test_rsa_and_ec_keys_verify_and_are_fetched_once() -> None:
    provider = Provider(rsa_jwk("r"), ec_jwk("e"))
    tokens = [token("r"), token("e", P256, "ES256"), token("r")]
    assert await asyncio.gather(*map(provider.status, tokens)) == [200, 200, 200]
    assert provider.fetches == 1
    for bad in (token("r", OTHER_RSA), token("e", RSA), token("r", P256, "ES256"), token(None), token("x")):
        assert await provider.status(bad) == 401
    with_public_key = jwt.encode({"sub": "x"}, "x" * 32, algorithm="HS256", headers={"kid": "r"})
    assert await provider.status(with_public_key) == 401
    assert provider.fetches == 1, "an unknown key asks again only after a while"


async def test_a_new_key_is_found_and_a_revoked_one_is_refused_after_the_next_fetch() -> None:
    provider = Provider(rsa_jwk("old"))
    assert await provider.status(token("old")) == 200
    provider.keys = [rsa_jwk("new", OTHER_RSA)]
    provider.now += RETRY_SECONDS
    assert await provider.status(token("new", OTHER_RSA)) == 200
    assert await provider.status(token("old")) == 401

    provider.keys = [rsa_jwk("newest")]
    await provider.authenticator.check()  # every process does so once a minute
    assert await provider.status(token("new", OTHER_RSA)) == 401
    assert provider.fetches == 3


async def test_without_the_check_a_stale_key_set_is_fetched_beside_a_request() -> None:
    provider = Provider(rsa_jwk("old"))
    assert await provider.status(token("old")) == 200
    provider.keys, provider.now = [rsa_jwk("new")], provider.now + STALE_SECONDS
    assert await provider.status(token("old")) == 200
    await provider.set.refresh()
    assert provider.fetches == 2, "the one that was running"
    assert await provider.status(token("old")) == 401


async def test_a_hanging_provider_does_not_delay_tokens_whose_key_it_has_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.http.token_keys.FETCH_SECONDS", 0.3)
    provider = Provider(rsa_jwk("r"))
    assert await provider.status(token("r")) == 200
    provider.answer, provider.now = hang, provider.now + STALE_SECONDS
    unknown = [asyncio.create_task(provider.status(token(f"unknown-{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    known = await asyncio.gather(*(provider.status(token("r")) for _ in range(50)))
    assert known == [200] * 50
    assert not any(task.done() for task in unknown)
    assert await asyncio.gather(*unknown) == [401] * 50
    assert provider.fetches == 2, "one at a time, for all of them"
    with pytest.raises(Unavailable, match="TimeoutError"):
        await provider.authenticator.check()
    assert await provider.status(token("r")) == 200


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx.Response(500),
        lambda: httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
        lambda: httpx.Response(200, text="<html>"),
        lambda: httpx.Response(200, json=[]),
        lambda: httpx.Response(200, content=b" " * (FETCH_LIMIT + 1)),
    ],
)
async def test_a_bad_key_set_changes_nothing(answer: Callable[[], httpx.Response]) -> None:
    provider = Provider(rsa_jwk("r"))
    provider.answer = answer
    assert await provider.status(token("r")) == 503
    assert await provider.status(token("r")) == 503
    assert provider.fetches == 1
    provider.answer, provider.now = None, provider.now + RETRY_SECONDS
    assert await provider.status(token("r")) == 200
    provider.answer = answer
    with pytest.raises(Unavailable):
        await provider.authenticator.check()
    assert await provider.status(token("r")) == 200


@pytest.mark.parametrize("keys", [[], [{"kty": "oct", "k": "c2VjcmV0", "kid": "r"}], [rsa_jwk("r", use="enc")]])
async def test_a_key_set_without_usable_keys_revokes_all(keys: list[dict[str, Any]]) -> None:
    provider = Provider(rsa_jwk("r"))
    assert await provider.status(token("r")) == 200
    provider.keys = keys
    with capture_logs() as logs, pytest.raises(Unavailable, match="no token keys"):
        await provider.authenticator.check()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "the key set has no usable key: all tokens are refused"
    ]
    assert await provider.status(token("r")) == 401
    provider.keys = [rsa_jwk("r")]
    await provider.authenticator.check()
    assert await provider.status(token("r")) == 200


async def test_keys_that_cannot_be_fetched_again_are_believed_for_a_time() -> None:
    provider = Provider(rsa_jwk("r"))
    assert await provider.status(token("r")) == 200
    provider.answer = lambda: httpx.Response(500)
    provider.now += MAX_AGE - 1
    assert await provider.status(token("r")) == 200
    provider.now += 1
    assert await provider.status(token("r")) == 503
    provider.answer, provider.now = None, provider.now + RETRY_SECONDS
    assert await provider.status(token("r")) == 200


def test_only_public_keys_for_signatures_are_read() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # refused
    refused = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        rsa_jwk("encryption", use="enc"),
        rsa_jwk("another-algorithm", alg="PS256"),
        rsa_jwk("weak", small),
        {**RSAAlgorithm.to_jwk(RSA, as_dict=True), "kid": "private"},
        ec_jwk("curve", ec.generate_private_key(ec.SECP384R1())),
        {**ec_jwk("broken"), "x": "AAAA"},
        {**rsa_jwk("x"), "kid": 7},
        {"kty": "RSA", "kid": "empty"},
        "text",
    ]
    body = json.dumps({"keys": [*refused, rsa_jwk("r", alg="RS256", use="sig"), ec_jwk("e", alg="ES256")]})
    assert {kid: key.algorithm for kid, key in read_key_set(body.encode()).items()} == {"r": "RS256", "e": "ES256"}


async def test_several_shared_secrets_by_kid() -> None:
    first, second, third = (letter * 32 for letter in "abc")
    settings = AuthSettings(
        jwt_secret=SecretStr(first),
        jwt_secrets=SecretStr(f"2026-11={second}, 2026-12={third}"),
        jwt_issuer=SETTINGS.jwt_issuer,
        jwt_audience=SETTINGS.jwt_audience,
    )
    authenticator = Authenticator(settings)
    for kid, secret in ((None, first), ("of-the-issuer", first), ("2026-11", second), ("2026-12", third)):
        await authenticator.verify(token(kid, secret, "HS256"))
    for kid, secret in ((None, second), ("2026-11", third), ("2026-11", first)):
        with pytest.raises(Problem):
            await authenticator.verify(token(kid, secret, "HS256"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"jwt_jwks_url": URL, "jwt_secret": "a" * 32},
        {"jwt_jwks_url": URL, "jwt_secrets": "k=" + "a" * 32},
        {"jwt_secret": "short"},
        {"jwt_secrets": "k=short"},
        {"jwt_secrets": "a" * 32},
    ],
)
def test_settings_name_secrets_or_a_key_set_and_secrets_are_long(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AuthSettings(jwt_issuer="i", jwt_audience="a", **given)
