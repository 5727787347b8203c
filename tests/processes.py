"""A service's processes as they really run, for tests: started with the environment that they would have anywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from testkit.processes import Command, Process, free_ports

JWT = {
    "JWT_SECRET": "a-secret-of-the-tests-with-32-bytes-or-more",
    "JWT_ISSUER": "https://issuer.test",
    "JWT_AUDIENCE": "bursar",
}


class RunningRole(Process):
    """One role of one service. `url` is where its HTTP side listens."""

    def __init__(self, package: str, role: str, env: Mapping[str, str], *, log: Path | None = None) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(
            Command(
                name=f"{package}.{role}",
                argv=[sys.executable, "-m", package, role],
                env={**os.environ, **JWT, **env, "HTTP_PORT": str(port), "HTTP_HOST": "127.0.0.1"},
                log=log,
                ready_url=None if role == "migrate" else f"{self.url}/readyz",
            )
        )


def migrate(package: str, env: Mapping[str, str], *, log: Path | None = None) -> None:
    """Brings the service's database up to date and declares its queues."""
    process = RunningRole(package, "migrate", env, log=log).start()
    if process.wait(60) != 0:
        raise RuntimeError(process.describe_death())
