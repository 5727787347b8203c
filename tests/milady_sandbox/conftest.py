from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from pydantic import SecretStr

from milady_sandbox.app import create_app
from milady_sandbox.settings import Settings


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[httpx.AsyncClient]:
    """A client with the bearer key."""
    app = create_app(Settings(api_key=SecretStr("key"), public_url="https://milady.test"))
    headers = {"Authorization": "Bearer key"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://sandbox", headers=headers
    ) as client:
        yield client
