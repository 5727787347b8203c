"""`make demo` and `make serve` from the command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.server  # starts servers of its own

NAMES = (
    "checkout",
    "webhook_gateway",
    "webhook_gateway_admin",
    "enrollment",
    "instructor_assignment",
    "milady_integration",
    "notifications",
    "reporting",
    "portal",
    "stripe_sandbox",
    "milady_sandbox",
    "identity_sandbox",
)


def test_demo_prints_the_timeline_and_succeeds(tmp_path: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "devstack", "demo", "--folder", str(tmp_path / "stack")],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for step in (
        "checkout",
        "payment",
        "webhook",
        "enrollment",
        "instructor",
        "Milady",
        "mail: welcome",
        "mail: receipt",
        "plan",
        *(f"installment {number}" for number in range(1, 5)),
        "plan ended",
    ):
        assert re.search(rf"^  {step} +\d+\.\d\d s  \S", demo.stdout, re.MULTILINE), f"no {step} in\n{demo.stdout}"
    assert left_behind(tmp_path) == []


def test_serve_describes_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    output = tmp_path / "serve.log"
    with output.open("wb") as file:
        serving = subprocess.Popen(
            [sys.executable, "-m", "devstack", "serve", "--folder", str(folder)],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        description = folder / "stack.json"
        deadline = time.monotonic() + 120
        while not (description.exists() and description.read_text()):
            assert serving.poll() is None, f"serve exited with {serving.returncode}:\n{output.read_text()}"
            assert time.monotonic() < deadline, f"serve is not ready after 120 s:\n{output.read_text()}"
            time.sleep(0.1)
        stack = json.loads(description.read_text())
        for name in NAMES:
            assert httpx.get(f"{stack[name]}/healthz", timeout=10).status_code == 200, name
        assert set(stack["health"]) == set(NAMES)
        databases = {name for name in NAMES if not name.endswith(("_sandbox", "_admin")) and name != "portal"}
        for name, url in stack["health"].items():
            assert httpx.get(f"{url}/healthz", timeout=10).status_code == 200, name
            if not name.endswith("_sandbox"):
                assert url != stack[name], "the internal address"
                pages = {"/metrics": "# HELP", "/docs": "/docs/swagger-ui", "/openapi.json": "paths"}
                for path, content in pages.items():
                    assert content in httpx.get(url + path, timeout=10).text, name
                    assert httpx.get(stack[name] + path, timeout=10).status_code == 404, name
            if name in databases:
                checks = httpx.get(f"{url}/readyz", timeout=10).json()["checks"]
                assert "relay.broker" in checks, f"{name} runs in one process: {checks}"
        assert stack["amqp_url"].startswith("amqp://")
        assert set(stack["databases"]) == databases
        assert stack["stripe_webhook_secret"].startswith("whsec_")
        assert set(stack["jwt"]) == {"jwks_url", "issuer", "audience"}
        assert set(stack["tokens"]) == {"student", "case_manager", "admin"}
        assert Path(stack["mail_dir"]).is_dir()
        enrollments = httpx.get(
            f"{stack['enrollment']}/api/enrollments", headers={"Authorization": f"Bearer {stack['tokens']['student']}"}
        )
        assert enrollments.json() == {"items": [], "next": None}
    finally:
        if serving.poll() is None:
            os.killpg(serving.pid, signal.SIGINT)  # Ctrl-C in a terminal reaches the whole group
            serving.wait(60)
    assert left_behind(tmp_path) == []


def left_behind(folder: Path) -> list[str]:
    """The processes whose command line, working directory or environment names this folder (after up to 10 s)."""
    deadline = time.monotonic() + 10
    while True:
        found = [line for process in Path("/proc").glob("[0-9]*") if (line := _mentions(process, folder))]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _mentions(process: Path, folder: Path) -> str:
    if process.name == str(os.getpid()):
        return ""
    try:
        content = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        if str(folder).encode() in content or str(folder) in str((process / "cwd").readlink()):
            return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # exited meanwhile
        pass
    return ""
