"""The whole system and Chromium. Run by `make test-browser`, which finds or installs Chromium; `make test` has no need
of it, and does not run this folder."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright
from tests.browser.visitor import Visitor

from devstack.stack import Stack, running

CHROMIUM = os.environ.get("CHROMIUM", "")
collect_ignore_glob = [] if CHROMIUM else ["test_*.py"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    os.environ.setdefault("UNMATCHED_MINUTES", "0")  # nobody waits for a match that may still arrive
    folder: Path = tmp_path_factory.mktemp("stack")
    with running(folder) as stack:
        yield stack


@pytest_asyncio.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """--no-sandbox: Chromium's own sandbox needs rights that root in a container does not have."""
    async with async_playwright() as playwright:
        arguments = ["--no-proxy-server", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def visitor(stack: Stack, chromium: Browser) -> AsyncIterator[Visitor]:
    async with Visitor.open(stack, chromium) as visitor:
        yield visitor
