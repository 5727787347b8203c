"""A process of a service: it ends, so that a supervisor restarts it, when part of its work has ended."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from tests.waiting import until

from kit.http.app import create_app
from kit.runtime.process import Process, run
from kit.runtime.settings import Settings
from testkit.processes import free_ports


async def drains(stop: asyncio.Event) -> None:
    await stop.wait()


async def fails(stop: asyncio.Event) -> None:
    raise RuntimeError("a bug")


async def returns(stop: asyncio.Event) -> None:
    pass


async def is_canceled(stop: asyncio.Event) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("ends", [fails, returns, is_canceled])
@pytest.mark.parametrize("has_app", [True, False])
async def test_a_process_whose_background_work_ends_stops_and_reports_it(ends: object, has_app: bool) -> None:
    (port,) = free_ports(1)
    later = asyncio.Event()
    drained = asyncio.Event()

    async def working(stop: asyncio.Event) -> None:
        await drains(stop)
        drained.set()

    async def ending(stop: asyncio.Event) -> None:
        await later.wait()
        await ends(stop)  # type: ignore[operator]

    process = Process(
        settings=Settings(http_port=port),
        app=create_app(title="tests") if has_app else None,
        background=[working, ending],
    )
    running = asyncio.create_task(run(process, name="tests"))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

        async def alive() -> bool:
            try:
                return (await http.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(alive)
        later.set()
        async with asyncio.timeout(20):
            assert await running is False
        assert drained.is_set()
        assert not await alive()
