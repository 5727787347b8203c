"""What the stack tells people: ports that are taken, and what went wrong. And that its rights are the deployment's."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from devstack import layout
from devstack.layout import PREFERRED_PORTS, SERVICES, Ports
from devstack.trouble import last_trouble
from testkit.processes import free_ports

ROOT = Path(__file__).parents[2]


def wish(monkeypatch: pytest.MonkeyPatch, **ports: int) -> None:
    """Other preferred ports than the usual ones, which somebody may use on this machine."""
    names = list(PREFERRED_PORTS)
    monkeypatch.setattr(
        layout, "PREFERRED_PORTS", dict(zip(names, free_ports(len(names)), strict=True)) | ports, raising=True
    )


def test_ports_that_are_taken_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIPE_SANDBOX_PORT", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        wish(monkeypatch, checkout=port)
        ports = Ports.choose(stable=True)
        assert ports.taken == {"checkout": port}
        assert ports.public["checkout"] != port
        assert ports.public["enrollment"] == layout.PREFERRED_PORTS["enrollment"]
        assert Ports.choose(stable=False).taken == {}, "nobody asked for the usual ones"


def test_a_port_that_was_ordered_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_SANDBOX_PORT", "23456")
    wish(monkeypatch, stripe_sandbox=1)
    ports = Ports.choose(stable=True)
    assert (ports.public["stripe_sandbox"], ports.taken) == (23456, {})


def log(file: Path, *lines: dict[str, Any] | str) -> Path:
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


def test_the_last_trouble_of_several_logs_is_told_with_its_place(tmp_path: Path) -> None:
    stamp = {"service": "enrollment", "role": "consumers"}
    early = {**stamp, "event": "holding", "level": "warning", "timestamp": "2026-11-21T01:00:00Z"}
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
    well = {**stamp, "event": "stopped", "level": "info", "timestamp": "2026-11-21T01:00:09Z"}
    one, two = log(tmp_path / "one.log", early, failed, well), log(tmp_path / "two.log", "INFO: words", unexpected)
    told = last_trouble([one, two, tmp_path / "none.log"])
    assert told == (
        "enrollment.consumers warning: effect failed; "
        "Transient: the provider answered 503; at a/two.py:7 inner; attempt 3"
    )
    assert last_trouble([two]) == "enrollment.api error: unexpected; KeyError; at b/three.py:3 read"
    assert last_trouble([log(tmp_path / "well.log", well)]) is None


def test_services_may_say_here_what_they_may_say_when_deployed() -> None:
    script = (ROOT / "deploy/rabbitmq/start.sh").read_text()
    table = re.search(r"^services='\n(.*?)\n'", script, re.MULTILINE | re.DOTALL)
    assert table
    deployed = {name: set(publishes.split("|")) for name, publishes in (line.split() for line in table[1].splitlines())}
    assert {service.package.replace("_", "-"): set(service.publishes) for service in SERVICES} == deployed
