"""Memory of a small installation: each service as one process."""

from __future__ import annotations

from pathlib import Path

from tests.bench.stack import Stack


def resident_megabytes(stack: Stack, package: str) -> float:
    """Of the service with role `all`, after its start."""
    with stack.running(package, "all") as role:
        status = Path(f"/proc/{role.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024
