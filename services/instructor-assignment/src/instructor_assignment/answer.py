"""An answer while it is written. A task of its own writes and stores it, also when nobody reads it anymore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from instructor_assignment.chat_message import ChatMessage, State
from instructor_assignment.completions import CompletionError, Delta, Failure
from kit.runtime.failures import describe

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What there is of an answer. `tokens`: None if it may have used all that were reserved."""

    text: str
    state: State
    tokens: int | None


Store = Callable[[Written], Awaitable[ChatMessage]]


class Answer:
    """`texts`: its parts so far. `failure`: why there are no more; without any, it is known when `started` returns."""

    def __init__(self, deltas: AsyncGenerator[Delta], *, seconds: float, store: Store) -> None:
        """`seconds`: for the whole answer. `store`: stores what there is of it in the end."""
        self._deltas = deltas
        self._seconds = seconds
        self._store = store
        self._parts: asyncio.Queue[str | None] = asyncio.Queue()
        self.texts: list[str] = []
        self._tokens: int | None = None
        self._complete = False
        self._storing = False
        self._started = asyncio.Event()
        self.failure: Failure | None = None
        self._task = asyncio.create_task(self._write())
        self._task.add_done_callback(_report)

    async def started(self) -> None:
        """Returns when there is a first part, or when there will be none."""
        await self._started.wait()

    async def parts(self) -> AsyncGenerator[str]:
        while (part := await self._parts.get()) is not None:
            yield part

    async def stored(self) -> ChatMessage:
        """The answer in the end."""
        return await asyncio.shield(self._task)

    def stop(self) -> None:
        """Nobody reads it anymore: it is stored as far as it goes."""
        if not self._storing:
            self._task.cancel()

    async def _write(self) -> ChatMessage:
        charged = True
        try:
            async with asyncio.timeout(self._seconds), aclosing(self._deltas) as deltas:
                async for delta in deltas:
                    self._take(delta)
        except asyncio.CancelledError:
            log.info("answer stopped", cut_off=bool(self.texts))
        except CompletionError as error:
            charged, self.failure = error.charged, error.failure
            log.warning("instructor does not answer", error=str(error), cut_off=bool(self.texts))
        except Exception as error:
            self.failure = Failure.UNAVAILABLE
            log.warning("instructor does not answer", error=describe(error), cut_off=bool(self.texts))
        self._storing = True
        text = "".join(self.texts).strip()
        state = State.FAILED if not text else State.COMPLETE if self._complete else State.INCOMPLETE
        if state == State.FAILED:
            self.failure = self.failure or Failure.UNAVAILABLE
        try:
            return await self._store(Written(text=text, state=state, tokens=self._tokens if charged else 0))
        finally:
            self._started.set()
            self._parts.put_nowait(None)

    def _take(self, delta: Delta) -> None:
        if delta.tokens is not None:
            self._tokens = delta.tokens
        if delta.complete is not None:
            self._complete = delta.complete
        if text := delta.text if self.texts else delta.text.lstrip():
            self.texts.append(text)
            self._parts.put_nowait(text)
            self._started.set()


def _report(task: asyncio.Task[ChatMessage]) -> None:
    """What could not be stored is incomplete as soon as it counts as abandoned."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("answer not stored", error=describe(error))
