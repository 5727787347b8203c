"""One account for all cases."""

from __future__ import annotations

import pytest
from tests.conformance.account import Account


@pytest.fixture(scope="package")
def account() -> Account:
    return Account.of_environment()
