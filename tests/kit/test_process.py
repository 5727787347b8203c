"""A process of a service: it ends, so that a supervisor restarts it, when part of its work has ended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from tests.waiting import until

from kit.http.app import create_app
from kit.runtime.process import Process, Role, main, run
from kit.runtime.settings import DatabaseSettings, Settings
from testkit.processes import free_ports


async def drains(stop: asyncio.Event) -> None:
    await stop.wait()


async def fails(stop: asyncio.Event) -> None:
    raise RuntimeError("a bug")


async def returns(stop: asyncio.Event) -> None:
    pass


async def is_canceled(stop: asyncio.Event) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("in_file", [False, True])
def test_each_part_of_the_role_all_has_its_own_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, in_file: bool
) -> None:
    """Also if the settings are read from files."""
    seen = tmp_path / "seen"

    def role(name: str) -> Role:
        def build() -> Process | None:
            with seen.open("a") as file:
                file.write(f"{name} {DatabaseSettings().database_url.get_secret_value()}\n")
            if name == "migrate":
                sys.exit(3)
            return Process(settings=Settings(), app=FastAPI())

        return build

    monkeypatch.setenv("BURSAR_ENV", "development")
    for name in ("DATABASE_URL", "API_DATABASE_URL", "MIGRATE_DATABASE_URL"):
        for variable in (name, f"{name}_FILE"):
            monkeypatch.delenv(variable, raising=False)
        file = tmp_path / name
        file.write_text(f"the one of {name}\n")
        monkeypatch.setenv(*((f"{name}_FILE", str(file)) if in_file else (name, f"the one of {name}")))
    with pytest.raises(SystemExit, match="3"):
        main("tests", {name: role(name) for name in ("api", "relay", "migrate")}, ["all"])
    assert seen.read_text().splitlines() == [
        "api the one of API_DATABASE_URL",
        "relay the one of DATABASE_URL",
        "migrate the one of MIGRATE_DATABASE_URL",
    ]


@pytest.mark.parametrize("ends", [fails, returns, is_canceled])
@pytest.mark.parametrize("has_app", [True, False])
async def test_a_process_whose_background_work_ends_stops_and_reports_it(ends: object, has_app: bool) -> None:
    port, public_port = free_ports(2)
    later = asyncio.Event()
    drained = asyncio.Event()

    async def working(stop: asyncio.Event) -> None:
        await drains(stop)
        drained.set()

    async def ending(stop: asyncio.Event) -> None:
        await later.wait()
        await ends(stop)  # type: ignore[operator]

    process = Process(
        settings=Settings(http_port=public_port, internal_port=port),
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
