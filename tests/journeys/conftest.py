"""One running system for all journey tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.journeys.harness import School

from devstack.stack import Stack, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    with running(folder) as stack:
        yield stack


@pytest.fixture
async def school(stack: Stack) -> AsyncIterator[School]:
    school = School(stack)
    yield school
    await school.stripe("/faults", {}, method="PUT")
    await school.http.aclose()
