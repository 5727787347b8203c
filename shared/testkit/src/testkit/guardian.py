"""Cleans up after its parent, however the parent ended.

Run as a script by `processes.Guardian`, standard library only. It reads one JSON object per line from stdin:

    {"key": "...", "pgid": 123, "signal": 15}     stop this process group (SIGKILL five seconds later)
    {"key": "...", "path": "/tmp/..."}            remove this folder
    {"key": "...", "argv": ["docker", ...]}       run this
    {"key": "..."}                                forget it: the parent has done it

Nothing happens until stdin is closed, which is when the parent has ended, even by SIGKILL. A signal on the parent's
death (PR_SET_PDEATHSIG) would be simpler, but it follows the thread that started the child, is cleared when
the child changes its user, and never reaches a grandchild (RabbitMQ's virtual machine below its start script).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

GRACE = 5.0


def alive(pgid: int) -> bool:
    try:
        os.killpg(pgid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def send(pgid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pgid, number)


def end(tasks: list[dict[str, object]]) -> None:
    groups = [(int(str(w["pgid"])), int(str(w["signal"]))) for w in tasks if "pgid" in w]
    for pgid, number in groups:
        send(pgid, number)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and any(alive(pgid) for pgid, _ in groups):
        time.sleep(0.05)
    for pgid, _ in groups:
        send(pgid, signal.SIGKILL)
    for task in tasks:
        argv, path = task.get("argv"), task.get("path")
        if isinstance(argv, list):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([str(a) for a in argv], check=False, timeout=30, capture_output=True)
        if isinstance(path, str):
            shutil.rmtree(path, ignore_errors=True)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for the parent; we notice its end on stdin
    tasks: dict[str, dict[str, object]] = {}
    for line in sys.stdin:
        task = json.loads(line)
        key = task.pop("key")
        if task:
            tasks[key] = task
        else:
            tasks.pop(key, None)
    end(list(reversed(tasks.values())))


if __name__ == "__main__":
    main()
