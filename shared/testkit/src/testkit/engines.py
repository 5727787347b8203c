"""What the rungs share: an engine that can be stopped and started, the errors, and waiting for an answer."""

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
    """This rung cannot serve; the message says why, in a few words."""


class NoServer(RuntimeError):
    """No rung serves; the message says what to install."""


class NotOurs(RuntimeError):
    """The server was given by its URL: we can use it, not stop it."""


class Engine(Protocol):
    """A server that we run ourselves. After stop or kill, start brings back the same port and the same data."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def close(self, *, keep: bool) -> None:
        """For good; `keep` when the data is to be used again."""


def say(text: str) -> None:
    """One line of progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end from sync code, on a thread of its own: the caller may be inside an event loop."""
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
    """Repeat the probe until it returns; Unavailable after `timeout` seconds or when `still` turns false."""

    async def ask() -> T:
        deadline = time.monotonic() + timeout
        while True:
            try:
                return await asyncio.wait_for(probe(), 10)
            except Exception as error:
                if not still():
                    raise Unavailable(f"{what} ended while starting") from error
                if time.monotonic() > deadline:
                    raise Unavailable(f"{what} gives no answer within {timeout:.0f} s ({error!r})") from error
            await asyncio.sleep(0.05)

    return blocking(ask)


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A temporary folder that is gone afterward, also when we are killed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    key = guardian.watch_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        guardian.forget(key)
