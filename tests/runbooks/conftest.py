"""A running system for the runbooks alone: they stop, replace and restore its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.journeys.harness import School

from devstack.stack import Stack, running
from testkit.processes import wait_all_ready


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
async def school(stack: Stack) -> AsyncIterator[School]:
    """With all processes running, whatever the test before has left."""
    stopped = [process.start() for process in stack.processes.values() if not process.alive]
    await asyncio.to_thread(wait_all_ready, stopped, timeout=60)
    school = School(stack)
    yield school
    await school.http.aclose()
