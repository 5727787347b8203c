"""A service process that kills itself (SIGKILL, no cleanup) at a chosen point of its third delivery.

python -m tests.faults.dying before-commit|between-commit-and-ack <package> <role>
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aio_pika import IncomingMessage
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import Database

THIRD = 3
_count = 0


def _die_on_the_third() -> None:
    global _count
    _count += 1
    if _count == THIRD:
        os.kill(os.getpid(), signal.SIGKILL)


def die_before_commit() -> None:
    transaction = Database.transaction

    @asynccontextmanager
    async def dying(self: Database) -> AsyncIterator[AsyncConnection]:
        async with transaction(self) as db:
            yield db
            _die_on_the_third()  # written, not committed

    Database.transaction = dying  # type: ignore[method-assign]


def die_before_ack() -> None:
    ack = IncomingMessage.ack

    async def dying(self: IncomingMessage, **options: Any) -> None:
        _die_on_the_third()  # committed, not acknowledged
        await ack(self, **options)

    IncomingMessage.ack = dying  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    _, point, package, role = sys.argv
    {"before-commit": die_before_commit, "between-commit-and-ack": die_before_ack}[point]()
    sys.argv = [package, role]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
