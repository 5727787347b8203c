"""The generated clients on the whole system. Run by `make test-clients`, which makes them, not by `make test`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.journeys.conftest import school, stack

__all__ = ["school", "stack"]

TOOLS = Path(os.environ.get("CLIENT_TOOLS", ""))
collect_ignore_glob = [] if "CLIENT_TOOLS" in os.environ else ["test_*.py"]
