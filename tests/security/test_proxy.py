"""deploy/caddy/Caddyfile, run by Caddy before stand-ins of the services: what it routes where, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from kit.http import protocol
from kit.http.app import BODY_LIMIT
from portal.main import PAGES
from testkit.caddy_binary import caddy
from testkit.processes import Command, Process, await_port, free_ports

pytestmark = pytest.mark.server  # may download Caddy

ROOT = Path(__file__).parents[2]
CADDYFILE = ROOT / "deploy/caddy/Caddyfile"
MERGED = json.loads((ROOT / "docs/openapi/bursar.json").read_text())
ADMIN = "webhook-gateway-admin"
UPSTREAMS = sorted(set(re.findall(r"reverse_proxy ([\w-]+)-api:8000", CADDYFILE.read_text())))
INTERNAL = ("/metrics", "/docs", "/docs/start.js", "/openapi.json", "/asyncapi.json", "/healthz", "/readyz")


@dataclass
class StandIn:
    """Answers with its name, and keeps the last request."""

    name: str
    requests: int = 0
    path: str = ""
    body: bytes = b""
    client: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.requests += 1
        self.path, self.body, self.client = scope["raw_path"].decode(), body, scope["client"][0]
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-service", self.name.encode())]})
        await send({"type": "http.response.body", "body": b""})


@dataclass
class Proxy:
    http: httpx.AsyncClient
    port: int
    services: dict[str, StandIn]

    @property
    def requests(self) -> int:
        """That any service has received."""
        return sum(service.requests for service in self.services.values())

    async def service_of(self, method: str, path: str) -> str | None:
        """The service that receives it."""
        name: str | None = (await self.http.request(method, path)).headers.get("x-service")
        return name

    async def send(self, *lines: str) -> str:
        """Sends a request as it is, and returns the status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write("\r\n".join([*lines, "Host: 127.0.0.1", "Connection: close", "", ""]).encode())
        async with asyncio.timeout(10):
            status = (await reader.readline()).split()[1].decode()
        writer.close()
        return status


@pytest.fixture(scope="module")
async def proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    folder = tmp_path_factory.mktemp("caddy")
    services = {name: StandIn(name) for name in UPSTREAMS}
    config = CADDYFILE.read_text()
    async with contextlib.AsyncExitStack() as held:
        for name, service in services.items():
            port = await held.enter_async_context(_serving(service))
            config = config.replace(f"reverse_proxy {name}-api:8000", f"reverse_proxy 127.0.0.1:{port}")
        port, *others = free_ports(3)
        for fixed, free in zip(("http_port 8080", "https_port 8443"), others, strict=True):
            config = config.replace(fixed, f"{fixed.split()[0]} {free}")
        (folder / "Caddyfile").write_text(config)
        process = Process(
            Command(
                name="caddy",
                argv=[str(caddy()), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"],
                env={**os.environ, "HOME": str(folder), "SITE_ADDRESS": f"http://:{port}"},
                log=folder / "caddy.log",
            )
        )
        process.start()
        held.callback(process.kill)
        await asyncio.to_thread(await_port, port, 30)
        http = await held.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)
        )
        yield Proxy(http, port, services)


@contextlib.asynccontextmanager
async def _serving(service: StandIn) -> AsyncIterator[int]:
    """With uvicorn's trust in this machine's X-Forwarded-For, as TRUSTED_PROXIES gives it. Returns the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(service, log_config=None, lifespan="off", forwarded_allow_ips=["127.0.0.1"])
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield int(listening.getsockname()[1])
        finally:
            server.should_exit = True
            await running


def operations() -> Iterator[tuple[str, str, list[str]]]:
    """Method, path and public services of every documented route."""
    for template, item in MERGED["paths"].items():
        for method, operation in item.items():
            path = re.sub(r"{[^}]+}", "c9e7a1f0-0b5e-4c5e-8b0a-3f1f0a6c1d2e", template)
            yield method.upper(), path, [service for service in operation["x-services"] if service != ADMIN]


async def test_every_public_route_reaches_its_service(proxy: Proxy) -> None:
    found = {}
    for method, path, services in operations():
        for each in (path, path + "/"):
            if services:
                found[method, each] = (await proxy.service_of(method, each), services[0])
    assert len(found) > 150
    pages = {route: found.pop(route) for route in [*found] if route[1].startswith("/pay/")}
    assert {service for service, _ in pages.values()} == {"portal"}, "which asks checkout"
    assert {route: pair for route, pair in found.items() if pair[0] != pair[1]} == {}


async def test_a_path_of_several_services_has_their_names_before_it(proxy: Proxy) -> None:
    shared = [(method, path, services) for method, path, services in operations() if len(services) > 1]
    assert {"/api/me/export"} <= {path for _, path, _ in shared}
    for method, path, services in shared:
        for service in services[1:]:
            assert await proxy.service_of(method, f"/{service}{path}") == service
            assert proxy.services[service].path == path, "without the name"


async def test_internal_paths_reach_nothing(proxy: Proxy) -> None:
    before = proxy.requests
    for path in INTERNAL:
        for prefix in ("", *(f"/{name}" for name in (*UPSTREAMS, ADMIN))):
            for each in (prefix + path, prefix + path + "/", f"{prefix}/{path}"):
                assert await proxy.send(f"GET {each} HTTP/1.1") == "404", each
    assert proxy.requests == before


async def test_every_page_reaches_the_portal(proxy: Proxy) -> None:
    routes = [route for router in PAGES for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    for route in routes:
        path = re.sub(r"{[^}]+}", "c9e7a1f0-0b5e-4c5e-8b0a-3f1f0a6c1d2e", route.path)
        for method in route.methods or ():
            assert await proxy.service_of(method, path) == "portal", f"{method} {path}"


@pytest.mark.parametrize("path", ["/api/../metrics", "/enrollment/api/../metrics", "/%2e%2e/metrics", "/pay/../docs"])
async def test_a_path_that_leaves_its_folder_reaches_nothing(proxy: Proxy, path: str) -> None:
    before = proxy.requests
    assert await proxy.send(f"GET {path} HTTP/1.1") == "404"
    assert proxy.requests == before


async def test_the_gateways_admin_api_is_not_behind_the_proxy(proxy: Proxy) -> None:
    assert ADMIN not in UPSTREAMS
    for method, path, services in operations():
        if not services:
            assert await proxy.service_of(method, path) in (None, "checkout"), "which does not have it"
            assert await proxy.service_of(method, f"/{ADMIN}{path}") is None


async def test_a_webhook_arrives_as_it_was_signed(proxy: Proxy) -> None:
    body = b'{ "id" : "evt_1",\n "amount":1.0, "name": "\xc3\xa9" }'
    headers = {"Stripe-Signature": "t=1,v1=aa", "Content-Type": "application/json"}
    answer = await proxy.http.post("/api/stripe/webhook", content=body, headers=headers)
    gateway = proxy.services["webhook-gateway"]
    assert answer.headers["x-service"] == "webhook-gateway"
    assert (gateway.body, gateway.headers["stripe-signature"]) == (body, "t=1,v1=aa")


async def test_a_service_sees_the_clients_address_and_not_the_one_it_claims(proxy: Proxy) -> None:
    async with httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(local_address="127.0.0.9"),
        base_url=f"http://127.0.0.1:{proxy.port}",
        headers={"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Forwarded-Proto": "https"},
    ) as client:
        await client.get("/api/programs")
    checkout = proxy.services["checkout"]
    assert checkout.client == "127.0.0.9"
    assert checkout.headers["x-forwarded-for"] == "127.0.0.9"
    assert checkout.headers["x-forwarded-proto"] == "http"
    assert "forwarded" not in checkout.headers


async def test_a_load_balancer_that_is_trusted_names_the_client(proxy: Proxy) -> None:
    await proxy.http.get("/api/programs", headers={"X-Forwarded-For": "203.0.113.7"})  # from 127.0.0.1
    assert proxy.services["checkout"].client == "203.0.113.7"


async def test_a_body_over_the_limit_of_the_services_is_not_forwarded(proxy: Proxy) -> None:
    before = proxy.requests
    over = await proxy.http.post("/api/checkout", content=b" " * (BODY_LIMIT + 1))
    assert over.status_code >= 400
    assert proxy.requests == before
    assert (await proxy.http.post("/api/checkout", content=b" " * BODY_LIMIT)).status_code == 200


async def test_headers_over_the_limit_are_refused(proxy: Proxy) -> None:
    before = proxy.requests
    assert await proxy.send("GET /api/programs HTTP/1.1", f"X-Long: {'x' * 80_000}") == "431"
    assert proxy.requests == before


def test_services_keep_a_connection_longer_than_the_proxy() -> None:
    """Otherwise a request may be sent on a connection that its service is closing, and is answered with 502."""
    kept = re.findall(r"^\s*keepalive (\d+)s$", CADDYFILE.read_text(), re.MULTILINE)
    assert kept
    assert all(int(seconds) < protocol.IDLE_SECONDS for seconds in kept)


def test_every_service_with_a_public_api_is_routed_to() -> None:
    assert sorted({"portal", *(service for *_, services in operations() for service in services)}) == UPSTREAMS
