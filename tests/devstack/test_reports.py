"""What the stack reports: ports in use and the last error."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from devstack import services
from devstack.last_error import last_error
from devstack.services import PREFERRED_PORTS, Ports
from testkit.processes import free_ports

ROOT = Path(__file__).parents[2]


def prefer(monkeypatch: pytest.MonkeyPatch, **ports: int) -> None:
    """Replaces the preferred ports: the usual ones may be in use on this machine."""
    names = list(PREFERRED_PORTS)
    monkeypatch.setattr(
        services, "PREFERRED_PORTS", dict(zip(names, free_ports(len(names)), strict=True)) | ports, raising=True
    )


def test_ports_in_use_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIPE_SANDBOX_PORT", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        prefer(monkeypatch, checkout=port)
        ports = Ports.choose(stable=True)
        assert ports.taken == {"checkout": port}
        assert ports.public["checkout"] != port
        assert ports.public["enrollment"] == services.PREFERRED_PORTS["enrollment"]
        assert Ports.choose(stable=False).taken == {}, "preferred ports apply to `serve` only"


def test_the_environment_overrides_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SANDBOX_PORT", "23456")
    prefer(monkeypatch, stripe_sandbox=1)
    ports = Ports.choose(stable=True)
    assert (ports.public["stripe_sandbox"], ports.taken) == (23456, {})


def log(file: Path, *lines: dict[str, Any] | str) -> Path:
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def test_the_last_error_of_several_logs_is_reported_with_its_file(tmp_path: Path) -> None:
    stamp = {"service": "enrollment", "role": "consumers"}
    early = {**stamp, "event": "message held", "level": "warning", "timestamp": "2026-11-21T01:00:00Z"}
    failed = {
        **stamp,
        "event": "job failed",
        "level": "warning",
        "timestamp": "2026-11-21T01:00:02Z",
        "attempt": 3,
        "error": "Transient: the provider answered 503",
        "at": "a/one.py:1 outer\na/two.py:7 inner",
    }
    unexpected = {
        **stamp,
        "role": "api",
        "event": "unexpected",
        "level": "error",
        "timestamp": "2026-11-21T01:00:01Z",
        "exception": "KeyError",
        "stack": ["b/three.py:3 read"],
    }
    info = {**stamp, "event": "stopped", "level": "info", "timestamp": "2026-11-21T01:00:09Z"}
    one, two = log(tmp_path / "one.log", early, failed, info), log(tmp_path / "two.log", "INFO: plain text", unexpected)
    report = last_error([one, two, tmp_path / "none.log"])
    assert report == (
        "enrollment.consumers warning: job failed; Transient: the provider answered 503; at a/two.py:7 inner; attempt 3"
    )
    assert last_error([two]) == "enrollment.api error: unexpected; KeyError; at b/three.py:3 read"
    assert last_error([log(tmp_path / "info.log", info)]) is None
