"""The stack compares the policies that its services report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.agreement import require_one_policy
from testkit.processes import Command, NotReady, Process, free_ports, stop_all, wait_all_ready

SERVER = """
import http.server, sys
class Readyz(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(sys.argv[2].encode())
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Readyz).serve_forever()
"""


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, Process]]:
    """A process for each given /readyz answer."""
    answers: dict[str, dict[str, str]] = request.param
    processes = {
        name: Process(
            Command(
                name=name,
                argv=[sys.executable, "-c", SERVER, str(port), json.dumps(answer)],
                env={},
                log=tmp_path / f"{name}.log",
                ready_url=f"http://127.0.0.1:{port}/readyz",
            )
        )
        for (name, answer), port in zip(answers.items(), free_ports(len(answers)), strict=True)
    }
    try:
        for process in processes.values():
            process.start()
        wait_all_ready(list(processes.values()))
        yield processes
    finally:
        stop_all(list(processes.values()))


@pytest.mark.parametrize(
    "started", [{"enrollment": {"policy": "a1"}, "checkout": {"policy": "a1"}, "gateway": {}}], indirect=True
)
def test_one_policy_is_ready(started: dict[str, Process]) -> None:
    require_one_policy(started)


@pytest.mark.parametrize("started", [{"enrollment": {"policy": "a1"}, "checkout": {"policy": "b2"}}], indirect=True)
def test_two_policies_are_not_ready(started: dict[str, Process]) -> None:
    with pytest.raises(NotReady, match="checkout b2, enrollment a1"):
        require_one_policy(started)
