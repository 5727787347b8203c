"""What the rungs share: the interface of an engine, the errors, and waiting for an answer."""

import asyncio
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from testkit.processes import guardian

T = TypeVar("T")


class Unavailable(Exception):
    """This rung does not work; the message says why."""


class NoServer(RuntimeError):
    """No rung works; the message says what to install."""


class NotOurs(RuntimeError):
    """The server was given by its URL, so it cannot be stopped or started from here."""


class Engine(Protocol):
    """A server that we run. After stop or kill, start restores the same port and data."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def close(self, *, keep: bool) -> None:
        """Stops it permanently; `keep` if the data will be used again."""


def say(text: str) -> None:
    """Prints one line of progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine from sync code, on its own thread: the caller may be inside an event loop."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(asyncio.run(make()))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def until_answer(
    probe: Callable[[], Coroutine[Any, Any, T]],
    *,
    timeout: float,
    still: Callable[[], bool] = lambda: True,
    what: str,
) -> T:
    """Repeats the probe until it returns. Raises Unavailable after `timeout` seconds or once `still` is false."""

    async def ask() -> T:
        deadline = time.monotonic() + timeout
        while True:
            try:
                return await asyncio.wait_for(probe(), 10)
            except Exception as error:
                if not still():
                    raise Unavailable(f"{what} exited during its start") from error
                if time.monotonic() > deadline:
                    raise Unavailable(f"{what} did not answer within {timeout:.0f} s ({error!r})") from error
            await asyncio.sleep(0.05)

    return blocking(ask)


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A temporary folder that is removed afterward, even if this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    key = guardian.watch_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        guardian.forget(key)
