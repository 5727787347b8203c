from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.portal.harness import Browser, Portal


@pytest.fixture
async def portal() -> AsyncIterator[Portal]:
    running = Portal()
    yield running
    await running.close()


@pytest.fixture
async def browser(portal: Portal) -> AsyncIterator[Browser]:
    async with portal.browser() as browser:
        yield browser
