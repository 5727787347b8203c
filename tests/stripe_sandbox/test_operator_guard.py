"""Who has no token can pay as a customer does, but cannot act as the operator, nor read signed events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from stripe_sandbox.app import create_app
from stripe_sandbox.settings import Settings

TOKEN = "an-operator-token"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(Settings(operator_token=SecretStr(TOKEN))))
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        yield client


@pytest.mark.parametrize("path", ["/sandbox", "/sandbox/api/events", "/sandbox/api/deliveries", "/sandbox/api/idle"])
@pytest.mark.parametrize("token", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
async def test_without_the_token_everything_of_the_operator_is_refused(
    client: httpx.AsyncClient, path: str, token: str
) -> None:
    refused = await client.get(path, headers={"Authorization": token} if token else {})
    assert refused.status_code == 401
    assert TOKEN not in refused.text
    assert (await client.get(f"{path}?token=wrong")).status_code == 401
    assert (
        await client.post("/sandbox/api/clock/advance", json={"seconds": 1}, params={"token": TOKEN})
    ).status_code == 401


async def test_the_token_is_taken_as_a_header_and_by_the_page_as_a_cookie(client: httpx.AsyncClient) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await client.get("/sandbox/api/events", headers=bearer)).status_code == 200
    assert (await client.get("/sandbox")).status_code == 401
    opened = await client.get("/sandbox", params={"token": TOKEN})
    assert (opened.status_code, opened.headers["location"]) == (303, "/sandbox")
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert (await client.get("/sandbox")).status_code == 200
    assert (await client.post("/sandbox/api/clock/advance", json={"seconds": 1})).status_code == 200


async def test_the_pages_of_customers_and_the_api_need_none(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/c/pay/cs_unknown")).status_code == 404
    assert (await client.get("/v1/events")).status_code == 401, "it has a key of its own"
    assert (await client.get("/sandboxes")).status_code == 404


def test_a_short_token_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings(operator_token=SecretStr(""))
