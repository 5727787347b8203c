"""What a process depends on: shown at /readyz and as a gauge, without making the process unready."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from tests.waiting import until

from kit.db import database as database_module
from kit.db.database import Database
from kit.runtime.dependencies import UNCHECKED, Dependencies
from kit.runtime.failures import Misconfigured, Unavailable
from kit.runtime.process import Process, run
from kit.runtime.settings import Settings
from testkit.processes import free_ports


async def answers() -> None:
    pass


async def is_down() -> None:
    raise Unavailable("no answer")


async def quotes_data() -> None:
    raise ValueError("ada@example.com")


def gauge(dependency: str) -> float | None:
    return REGISTRY.get_sample_value("bursar_dependency_up", {"dependency": dependency})


async def test_each_dependency_has_its_own_outcome_and_gauge() -> None:
    dependencies = Dependencies({"mail": answers, "provider": is_down, "stripe": quotes_data})
    assert set(dependencies.outcomes.values()) == {UNCHECKED}
    with capture_logs() as logs:
        await dependencies.check()
        await dependencies.check()
    assert dependencies.outcomes == {"mail": "ok", "provider": "Unavailable: no answer", "stripe": "ValueError"}
    assert [gauge(name) for name in ("mail", "provider", "stripe")] == [1, 0, 0]
    assert [line["event"] for line in logs] == ["dependency provider failed", "dependency stripe failed"], "once each"


async def test_a_process_is_ready_without_its_dependencies_and_lists_them() -> None:
    (port,) = free_ports(1)
    process = Process(settings=Settings(internal_port=port), dependencies={"provider": is_down})
    running = asyncio.create_task(run(process, name="tests"))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

        async def asked() -> bool:
            try:
                found: dict[str, str] = (await http.get("/readyz")).json()["dependencies"]
            except httpx.TransportError:
                return False
            return found == {"provider": "Unavailable: no answer"}

        await until(asked)
        assert (await http.get("/readyz")).status_code == 200
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(("limit", "fails"), [(30.0, False), (-1.0, True)])
async def test_the_clocks_of_database_and_process_are_compared(
    database: Database, monkeypatch: pytest.MonkeyPatch, limit: float, fails: bool
) -> None:
    monkeypatch.setattr(database_module, "CLOCKS_APART_SECONDS", limit)
    dependencies = Dependencies({"clock": database.check_clock})
    await dependencies.check()
    assert (dependencies.outcomes["clock"] != "ok") is fails
    if fails:
        with pytest.raises(Misconfigured, match="away from this machine's"):
            await database.check_clock()
