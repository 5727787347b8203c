"""Child processes that cannot be orphaned: start, wait until ready, stop, kill, read the end of the log.

Every child has its own session, so that Ctrl-C in a terminal reaches only us. A guardian process stops the children
if we end without having done so (see guardian.py).
"""

import atexit
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_GUARDIAN = Path(__file__).with_name("guardian.py")


class ProcessDied(RuntimeError):
    """A child exited unexpectedly; the message contains the end of its log."""


class NotReady(TimeoutError):
    """A child is running but not ready in time; the message contains the end of its log."""


def free_ports(count: int) -> list[int]:
    """That many distinct TCP ports that are free on 127.0.0.1.

    Below the range of outgoing connections (from 32768 on Linux), so that no client takes one before our server
    listens. For the same reason none of the latest is returned again, and pytest-xdist's workers have ranges of
    their own.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(_own_ports())
        if port not in _LATEST and is_free(port):
            found.append(port)
            _LATEST.append(port)
    return found


_PORTS = range(16_000, 32_000)
_LATEST = deque[int](maxlen=100)


def _own_ports() -> range:
    worker, count = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    size = len(_PORTS) // int(count)
    start = int(worker.removeprefix("gw")) * size
    return _PORTS[start : start + size]


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def await_port(port: int, timeout: float = 10) -> None:
    """Returns when something accepts connections on 127.0.0.1:port. Raises NotReady."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise NotReady(f"nothing listens on 127.0.0.1:{port} after {timeout:.0f} s") from error
        time.sleep(0.01)


class Guardian:
    """Starts guardian.py with the first task; restarts it, with all tasks, if it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, dict[str, object]] = {}
        self._process: subprocess.Popen[str] | None = None
        self._owner = os.getpid()

    def watch_group(self, pgid: int, number: int) -> str:
        """Stop this process group (first with signal `number`) after our end; returns the key for `forget`."""
        return self._watch(f"group {pgid}", {"pgid": pgid, "signal": int(number)})

    def watch_folder(self, path: Path) -> str:
        """Remove this folder after our end."""
        return self._watch(f"folder {path}", {"path": str(path)})

    def watch_command(self, key: str, argv: Sequence[str]) -> str:
        """Run this command after our end."""
        return self._watch(key, {"argv": list(argv)})

    def forget(self, key: str) -> None:
        with self._lock:
            if self._tasks.pop(key, None) is not None:
                self._send({"key": key})

    def close(self) -> None:
        """At exit: lets the guardian clean up what is left, and waits for it."""
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:  # not in a fork
            return
        with contextlib.suppress(OSError):
            if process.stdin:
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60 if self._tasks else 5)

    def _watch(self, key: str, task: dict[str, object]) -> str:
        with self._lock:
            self._tasks[key] = task
            if self._process is None:
                self._start()
            else:
                self._send({"key": key, **task})
        return key

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            cwd="/",
        )
        for key, task in self._tasks.items():
            self._send({"key": key, **task})

    def _send(self, message: dict[str, object]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.write(json.dumps(message) + "\n")
            process.stdin.flush()
        except OSError:  # the guardian was killed: start another
            self._process = None
            self._start()


guardian = Guardian()
atexit.register(guardian.close)


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run. It is ready when `ready_url` answers 200 or, without one, as soon as it has started."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    """Appended to. Without it, the output goes to our stderr, each line prefixed with the name."""
    ready_url: str | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    user: int | None = None
    group: int | None = None


class Process:
    """One child, which may be restarted after it ended; `starts` counts the starts."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.starts = 0
        self._popen: subprocess.Popen[bytes] | None = None
        self._key = ""

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def pid(self) -> int:
        """Process id of the current or last child; 0 before the first start."""
        return self._popen.pid if self._popen else 0

    @property
    def returncode(self) -> int | None:
        """None while it runs and before the first start; negative if ended by that signal."""
        return self._popen.poll() if self._popen else None

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> "Process":
        if self.alive:
            return self
        c = self.command
        out: IO[bytes] | int
        if c.log:
            c.log.parent.mkdir(parents=True, exist_ok=True)
            out = c.log.open("ab")
        else:
            out = subprocess.PIPE
        try:
            self._popen = subprocess.Popen(
                list(c.argv),
                env=dict(c.env),
                cwd=c.cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=c.user,
                group=c.group,
                extra_groups=[] if c.user is not None else None,
            )
        finally:
            if not isinstance(out, int):
                out.close()
        self.starts += 1
        self._key = guardian.watch_group(self._popen.pid, c.stop_signal)
        if self._popen.stdout:
            threading.Thread(target=_prefix, args=(c.name, self._popen.stdout), daemon=True).start()
        return self

    def is_ready(self) -> bool:
        """Whether it is running and its ready_url answers 200."""
        return self.alive and (self.command.ready_url is None or answers(self.command.ready_url))

    def wait_ready(self, timeout: float = 60) -> "Process":
        """Raises ProcessDied or NotReady."""
        wait_all_ready([self], timeout=timeout)
        return self

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its exit and returns the code. Raises subprocess.TimeoutExpired."""
        if self._popen is None:
            raise RuntimeError(f"{self.name} was never started")
        code = self._popen.wait(timeout)
        self._sweep()
        return code

    def signal(self, number: int) -> None:
        """Sends a signal to the child itself, not to its group."""
        if self._popen:
            self._popen.send_signal(number)

    def stop(self, timeout: float = 10) -> int:
        """Sends the stop signal, then SIGKILL after `timeout` seconds, to its whole group. Returns its code."""
        if self._popen is None:
            return 0
        self.signal(self.command.stop_signal)
        return self.finish(timeout)

    def finish(self, timeout: float = 10) -> int:
        """The second half of `stop`, after the signal was sent (see `stop_all`)."""
        if self._popen is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """Sends SIGKILL to the child and its whole group. Returns its code."""
        if self._popen is None:
            return 0
        self._sweep()
        return self._popen.wait()

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log file, or '' without one."""
        if self.command.log is None or not self.command.log.exists():
            return ""
        with self.command.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 64_000))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def describe_death(self) -> str:
        """One sentence, and the end of the log."""
        code = self.returncode
        cause = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with code {code}"
        return f"{self.name} ended {cause}; the end of {self.command.log or 'its output'}:\n{self.tail()}"

    def _sweep(self) -> None:
        if self._popen is not None and self._key:
            with contextlib.suppress(OSError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            guardian.forget(self._key)
            self._key = ""


def wait_all_ready(
    processes: Iterable[Process], *, timeout: float = 60, on_ready: Callable[[Process], None] = lambda _: None
) -> None:
    """Returns when all are ready; calls `on_ready` for each. Raises ProcessDied or NotReady."""
    waiting = list(processes)
    deadline = time.monotonic() + timeout
    pause = 0.05
    while waiting:
        for process in list(waiting):
            if process.is_ready():
                waiting.remove(process)
                on_ready(process)
            elif not process.alive:
                raise ProcessDied(process.describe_death())
        if waiting and time.monotonic() > deadline:
            ends = "\n".join(f"--- {p.name} ({p.command.log})\n{p.tail(8)}" for p in waiting)
            raise NotReady(f"not ready after {timeout:.0f} s: {', '.join(p.name for p in waiting)}\n{ends}")
        if waiting:
            time.sleep(pause)
            pause = min(0.25, pause * 1.3)


def stop_all(processes: Iterable[Process], timeout: float = 10) -> None:
    """Stops all at once: the signal to each, then up to `timeout` seconds in total, then SIGKILL."""
    stopping = [p for p in processes if p.pid]
    for process in stopping:
        process.signal(process.command.stop_signal)
    deadline = time.monotonic() + timeout
    for process in stopping:
        process.finish(max(0.0, deadline - time.monotonic()))


def answers(url: str, timeout: float = 2) -> bool:
    """Whether a GET of this local URL answers 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for 127.0.0.1
    try:
        with opener.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _prefix(name: str, stream: IO[bytes]) -> None:
    with stream:
        for line in stream:
            sys.stderr.write(f"{name:>24} | {line.decode(errors='replace').rstrip()}\n")
