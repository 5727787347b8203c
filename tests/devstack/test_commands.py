"""`make demo` and `make serve`, as a newcomer runs them."""

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

NAMES = (
    "checkout",
    "webhook_gateway",
    "enrollment",
    "instructor_assignment",
    "milady_integration",
    "notifications",
    "stripe_sandbox",
    "milady_sandbox",
)


def test_demo_prints_the_timeline_and_ends_well(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "devstack", "demo", "--folder", str(tmp_path / "stack")],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    for step in (
        "checkout",
        "payment",
        "webhook",
        "enrollment",
        "instructor",
        "Milady",
        "mail: welcome",
        "mail: receipt",
    ):
        assert re.search(rf"^  {step} +\d+\.\d\d s  \S", told.stdout, re.MULTILINE), f"no {step} in\n{told.stdout}"
    assert left_behind(tmp_path) == []


def test_serve_describes_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    serving = subprocess.Popen(
        [sys.executable, "-m", "devstack", "serve", "--folder", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        description = folder / "stack.json"
        deadline = time.monotonic() + 120
        while not (description.exists() and description.read_text()):
            assert serving.poll() is None, "serve ended by itself"
            assert time.monotonic() < deadline, "serve did not come up"
            time.sleep(0.1)
        stack = json.loads(description.read_text())
        for name in NAMES:
            assert httpx.get(f"{stack[name]}/healthz", timeout=10).status_code == 200, name
        assert {"checkout.api", "checkout.consumers", "webhook_gateway.relay", "milady_sandbox"} < set(stack["health"])
        for name, url in stack["health"].items():
            assert httpx.get(f"{url}/healthz", timeout=10).status_code == 200, name
            if not name.endswith("_sandbox"):
                assert "# HELP" in httpx.get(f"{url}/metrics", timeout=10).text, name
        assert stack["amqp_url"].startswith("amqp://")
        assert set(stack["databases"]) == set(NAMES[:6])
        assert stack["stripe_webhook_secret"].startswith("whsec_")
        assert set(stack["jwt"]) == {"secret", "issuer", "audience"}
        assert set(stack["tokens"]) == {"student", "case_manager", "admin"}
        assert Path(stack["mail_dir"]).is_dir()
        mine = httpx.get(
            f"{stack['enrollment']}/api/enrollments", headers={"Authorization": f"Bearer {stack['tokens']['student']}"}
        )
        assert mine.json() == {"items": [], "next": None}
    finally:
        os.killpg(serving.pid, signal.SIGINT)  # Ctrl-C in a terminal reaches the whole group
        serving.wait(60)
    assert left_behind(tmp_path) == []


def left_behind(folder: Path) -> list[str]:
    """The processes whose command line, folder or environment speaks of this folder (waits a moment for them)."""
    deadline = time.monotonic() + 10
    while True:
        found = [line for process in Path("/proc").glob("[0-9]*") if (line := _speaks_of(process, folder))]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def _speaks_of(process: Path, folder: Path) -> str:
    if process.name == str(os.getpid()):
        return ""
    try:
        said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        if str(folder).encode() in said or str(folder) in str((process / "cwd").readlink()):
            return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # gone meanwhile
        pass
    return ""
