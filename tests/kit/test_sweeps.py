"""A sweep in the background."""

from __future__ import annotations

import asyncio

from kit.runtime.sweeps import repeat


async def test_a_sweep_is_repeated_after_an_error_and_at_once_while_there_is_more() -> None:
    stop = asyncio.Event()
    outcomes: list[bool | Exception] = [True, True, RuntimeError("away"), False, True]
    done = 0

    async def sweep() -> bool:
        nonlocal done
        outcome = outcomes[done]
        done += 1
        if done == len(outcomes):
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async with asyncio.timeout(5):
        await repeat(sweep, stop, name="tests", seconds=0.01)
    assert done == len(outcomes)
    await repeat(sweep, stop, name="tests", seconds=60)
    assert done == len(outcomes), "a stopped process starts nothing new"
