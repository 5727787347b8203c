"""The internal port of a process: health with reasons, metrics and documents. The public one has none of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import ValidationError
from tests.waiting import until

from kit.http.app import create_app
from kit.http.internal import create_internal_app
from kit.runtime.failures import Transient
from kit.runtime.process import Process, run
from kit.runtime.settings import Settings
from testkit.processes import free_ports

INTERNAL_ONLY = ("/metrics", "/docs", "/docs/start.js", "/docs/swagger-ui-bundle.js", "/openapi.json", "/asyncapi.json")
router = APIRouter()


@router.get("/things")
async def things() -> list[str]:
    return []


async def works() -> None:
    pass


async def broken() -> None:
    raise Transient("unavailable")


def app() -> FastAPI:
    return create_app(
        title="tests <1>",
        routers=[router],
        checks={"database": works, "broker": broken},
        asyncapi=lambda: {"channels": {}},
    )


def client_of(served: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://test")


async def test_the_public_port_has_neither_metrics_nor_documents() -> None:
    async with client_of(app()) as public:
        for path in (*INTERNAL_ONLY, "/redoc", "/docs/oauth2-redirect"):
            assert (await public.get(path)).status_code == 404, path


async def test_readiness_names_the_failed_check_at_the_internal_port_only() -> None:
    both = app()
    both.state.reported["policy"] = "a hash"
    async with client_of(both) as public, client_of(create_internal_app(both, has_api=True)) as internal:
        assert (await public.get("/healthz")).status_code == (await internal.get("/healthz")).status_code == 200
        outside, inside = await public.get("/readyz"), await internal.get("/readyz")
        assert outside.status_code == inside.status_code == 503
        assert outside.json() == {"status": "not ready"}
        assert inside.json() == {
            "status": "not ready",
            "checks": {"database": "ok", "broker": "Transient: unavailable"},
            "policy": "a hash",
        }


async def test_the_internal_port_has_metrics_and_documents_and_no_route_of_the_api() -> None:
    async with client_of(create_internal_app(app(), has_api=True)) as internal:
        assert b"bursar_http_request_seconds" in (await internal.get("/metrics")).content
        assert "/things" in (await internal.get("/openapi.json")).json()["paths"]
        assert (await internal.get("/asyncapi.json")).json() == {"channels": {}}
        assert (await internal.get("/things")).status_code == 404


async def test_the_page_loads_only_files_that_are_served_beside_it() -> None:
    async with client_of(create_internal_app(app(), has_api=True)) as internal:
        page = await internal.get("/docs")
        assert "<title>tests &lt;1&gt;</title>" in page.text
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert not re.search(r"<script>|<style|style=|\son\w+=", page.text), "nothing inline"
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 3
        for path in loaded:
            assert path.startswith("/docs/")
            answer = await internal.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["content-type"].split(";")[0] in ("text/css", "text/javascript")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_a_process_without_an_api_listens_at_the_internal_port_alone() -> None:
    async with serving(Process(settings=Settings())) as (public, internal):
        assert (await internal.get("/readyz")).status_code == 200
        assert b"bursar_" in (await internal.get("/metrics")).content
        assert (await internal.get("/docs")).status_code == 404
        with pytest.raises(httpx.ConnectError):
            await public.get("/healthz")


async def test_a_process_with_an_api_listens_at_both() -> None:
    async with serving(Process(settings=Settings(), app=app())) as (public, internal):
        assert (await public.get("/things")).json() == []
        assert (await public.get("/metrics")).status_code == 404
        assert (await internal.get("/metrics")).status_code == 200
        assert (await internal.get("/things")).status_code == 404


def test_the_two_ports_differ() -> None:
    with pytest.raises(ValidationError, match="INTERNAL_PORT must differ from HTTP_PORT"):
        Settings(http_port=8000, internal_port=8000)


@asynccontextmanager
async def serving(process: Process) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Runs it. Returns clients of its public and of its internal port."""
    port, internal_port = free_ports(2)
    settings = Settings(http_port=port, internal_port=internal_port)
    running = asyncio.create_task(
        run(Process(settings=settings, app=process.app, background=process.background), name="tests")
    )
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as public,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{internal_port}", trust_env=False) as internal,
    ):

        async def alive() -> bool:
            try:
                answers = [await each.get("/healthz") for each in ((public, internal) if process.app else (internal,))]
            except httpx.TransportError:
                return False
            return all(answer.status_code == 200 for answer in answers)

        try:
            await until(alive)
            yield public, internal
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
