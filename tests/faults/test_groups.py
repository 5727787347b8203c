"""A group of `make faults` with few purchases: the harness works, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import pytest
from tests.faults.groups import GROUPS
from tests.faults.run import inject

from devstack.stack import Stack, running

pytestmark = pytest.mark.server  # starts servers of its own

GROUP = "connections-cut"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("faults")) as stack:
        yield stack


async def test_cut_connections_lose_and_double_nothing(stack: Stack) -> None:
    row = await inject(GROUP, GROUPS[GROUP], stack, purchases=3, number=4)
    assert row.purchases >= 3 and row.faults == 4
    assert row.survived, asdict(row)
