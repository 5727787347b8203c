"""A service process that kills itself (SIGKILL, no cleanup): before its first commit, or before its third ack.

python -m tests.faults.dying before-commit|between-commit-and-ack <package> <role>
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aio_pika import IncomingMessage
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database
from kit.messaging.acknowledgments import Acknowledgments

_count = 0


def _die_on(number: int) -> None:
    global _count
    _count += 1
    if _count == number:
        os.kill(os.getpid(), signal.SIGKILL)


def die_before_commit() -> None:
    transaction = Database.transaction

    @asynccontextmanager
    async def dying(self: Database) -> AsyncIterator[AsyncConnection]:
        async with transaction(self) as db:
            yield db
            _die_on(1)  # written, not committed: all messages of a batch

    Database.transaction = dying  # type: ignore[method-assign]


def die_before_ack() -> None:
    ack = Acknowledgments.ack

    async def dying(self: Acknowledgments, message: IncomingMessage) -> None:
        _die_on(3)  # committed, not acknowledged
        await ack(self, message)

    Acknowledgments.ack = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    _, point, package, role = sys.argv
    {"before-commit": die_before_commit, "between-commit-and-ack": die_before_ack}[point]()
    sys.argv = [package, role]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
