"""These tests need a Docker engine and take minutes, so they run only if this folder is named on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.compose.containers import Containers, running

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named = (Path(argument.split("::")[0]).resolve() for argument in config.args)
    return None if any(path.is_relative_to(HERE) for path in named) else True


@pytest.fixture(scope="session")
def system() -> Iterator[Containers]:
    with running(scale={"enrollment": 3}) as containers:
        yield containers
