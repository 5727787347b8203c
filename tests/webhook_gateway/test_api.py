"""The gateway's app without stores, which the OpenAPI document is made from."""

from __future__ import annotations

import httpx
import pytest

from webhook_gateway.main import app
from webhook_gateway.webhook import PATHS


@pytest.mark.parametrize("path", PATHS)
async def test_an_app_without_stores_asks_stripe_to_deliver_again(path: str) -> None:
    transport = httpx.ASGITransport(app())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        response = await http.post(path, content=b"{}", headers={"Stripe-Signature": "t=1,v1=0"})
    assert (response.status_code, response.json()["code"]) == (503, "no_store")
