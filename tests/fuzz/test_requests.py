"""Generated requests to every API with its real database: none is answered with a server's error, or with a status that
the document does not have (`make schemathesis`).

CASES: how many in all. SEED: other ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import replace
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.stripe_ids import SECRET_KEY
from tests.databases import migrated
from tests.fuzz.requests import FuzzRequest, requests_of
from tests.security.databases import PACKAGES, connected
from tests.security.student_rows import inserts_of
from tests.security.test_roles import token
from tests.webhook_gateway.stripe_events import body_of, event, sign

from checkout.catalog import loader
from devstack.documents import SETTINGS, applications, applications_of
from devstack.role_table import routes_of
from kit.db.database import Database as ServiceDatabase
from kit.http.auth import ROLES
from kit.http.limits import Limits
from kit.http.openapi import each_operation
from kit.http.problems import METHOD_NOT_ALLOWED, NOT_FOUND
from kit.messaging.topology import Queue, declare_at
from testkit.postgres_server import Database, PostgresServer
from testkit.rabbit_server import RabbitServer

CASES = int(os.environ.get("CASES", "600"))
SEED = int(os.environ.get("SEED", "1"))
STUDENT, CASE_MANAGER, OTHER = (UUID(int=number, version=4) for number in (1, 2, 3))
CALLERS = (
    ("admin", OTHER),
    ("student", STUDENT),
    ("student", OTHER),
    ("case_manager", CASE_MANAGER),
    ("specialist", OTHER),
    ("guest", OTHER),
)
IDS = (
    str(STUDENT),
    str(STUDENT),
    str(OTHER),
    f"pi_{STUDENT.hex}",
    "barber-apprenticeship",
    "hvac",
    "0",
    "-1",
    "\u00e9",
)
SHARE = {name: len(routes_of(app)) for name, app in applications().items()}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[StripeSandbox]:
    with StripeSandbox() as running:
        yield running


@pytest.fixture(scope="module")
def databases(postgres_server: PostgresServer) -> dict[str, Database]:
    """By package."""
    return {
        package: migrated(postgres_server, f"fuzz_{package}", str(importlib.import_module(package).__file__))
        for package in PACKAGES
    }


@pytest.fixture(scope="module")
async def filled(databases: dict[str, Database], sandbox: StripeSandbox) -> dict[str, Database]:
    """With the catalog, and the rows of one student in each, who is a customer at Stripe."""
    catalog = ServiceDatabase(databases["checkout"].url)
    await loader.load(catalog, loader.checked_in())
    await catalog.close()
    for package in ("checkout", "enrollment", "instructor_assignment", "milady_integration", "notifications"):
        async with connected(databases[package], "worker") as worker:
            for sql in inserts_of(package, STUDENT):
                await worker.execute(sql)
            if package != "notifications":
                row = "INSERT INTO caseload (student_id, case_manager_id, revision) VALUES ($1, $2, 1)"
                await worker.execute(row, STUDENT, CASE_MANAGER)
    customer = await asyncio.to_thread(sandbox.api.customers.create)
    async with connected(databases["checkout"], "worker") as worker:
        await worker.execute("UPDATE customers SET stripe_customer_id = $1", customer.id)
        await worker.execute("DELETE FROM memberships")  # Stripe has no subscription for it
    return databases


@pytest.fixture(scope="module")
async def apis(
    filled: Mapping[str, Database], rabbit_server: RabbitServer, sandbox: StripeSandbox
) -> AsyncIterator[dict[str, FastAPI]]:
    """Every API in this process, with the logins of production, and Stripe's sandbox."""
    queues: list[Queue] = [
        queue for package in PACKAGES for queue in importlib.import_module(f"{package}.topology").QUEUES
    ]
    await declare_at(rabbit_server.url, queues)
    found: dict[str, FastAPI] = {}
    for package in PACKAGES:
        database = filled[package]
        for role, url in {"api": database.api_url, "admin": database.url}.items():
            settings = {
                "DATABASE_URL": url,
                "STAFF_DATABASE_URL": database.staff_url,
                "AMQP_URL": rabbit_server.url,
                "STRIPE_API_BASE": sandbox.url,
                "STRIPE_API_KEY": SECRET_KEY,
                "TEST_CLOCK": "true",
            }
            found |= {
                name: app
                for name, app in applications_of(package, **settings).items()
                if name.endswith("-admin") is (role == "admin")
            }
    for each in found.values():
        each.state.limits = Limits({})  # most requests would be refused by them, and get no further
    yield found


@pytest.mark.parametrize("service", SHARE)
async def test_every_answer_is_declared_and_no_servers_error(
    service: str, apis: dict[str, FastAPI], capsys: pytest.CaptureFixture[str]
) -> None:
    app = apis[service]
    declared = {
        f"{method.upper()} {path}": operation["responses"].keys()
        for path, method, operation in each_operation(app.openapi())
    }
    count = max(10, CASES * SHARE[service] // sum(SHARE.values()))
    requests = requests_of(app, count=count, seed=SEED, ids=IDS)
    assert len(requests) > count // 2
    chosen = random.Random(SEED)
    is_gateway = service == "webhook-gateway"
    roles = {_documented(route): allowed for route, allowed in routes_of(app).items()}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    failed: dict[str, str] = {}
    statuses: Counter[int] = Counter()
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
        for request in requests:
            role, caller = _caller(roles.get(request.route, ROLES), chosen)
            async with asyncio.timeout(60):
                answer = await client.send(_as_sent(_signed(request) if is_gateway else request, role, caller))
            statuses[answer.status_code] += 1
            if answer.status_code >= 500 or _is_undeclared(answer, declared[request.route]):
                failed.setdefault(f"{request.route} {answer.status_code}", f"{role}: {request}\n  {answer.text[:500]}")
    with capsys.disabled():
        sys.stdout.write(f"\n{service}: {len(requests)} requests, answered with {dict(sorted(statuses.items()))}\n")
    assert not failed, "\n".join(f"{what}\n  {how}" for what, how in failed.items())
    assert {200, 201, 204} & statuses.keys(), f"no request was accepted: {statuses}"


def _is_undeclared(answer: httpx.Response, statuses: Collection[str]) -> bool:
    """Not those of no route: a generated part of a path can have a slash or be empty, and so name another one."""
    if answer.status_code in (404, 405) and answer.json()["code"] in (NOT_FOUND.code, METHOD_NOT_ALLOWED.code):
        return False
    return str(answer.status_code) not in statuses


def _documented(route: str) -> str:
    """Without the converters of its parameters: as the document names it."""
    return re.sub(r"{(\w+):\w+}", r"{\1}", route)


def _caller(allowed: Collection[str], chosen: random.Random) -> tuple[str, UUID]:
    """Mostly one whom the route lets in."""
    callers = [each for each in CALLERS if each[0] in allowed]
    return chosen.choice(callers if callers and chosen.random() < 0.9 else CALLERS)


def _signed(request: FuzzRequest) -> FuzzRequest:
    """A body that is JSON becomes the object of an event; every body has Stripe's signature."""
    body = request.body
    with contextlib.suppress(ValueError):
        body = body_of(event("payment_intent.succeeded", json.loads(body or b"{}")))
    headers = [each for each in request.headers if each[0] not in ("Stripe-Signature", "Content-Length")]
    signature = ("Stripe-Signature", sign(body, secret=SETTINGS["STRIPE_WEBHOOK_SECRETS"]))
    return replace(request, body=body, headers=(*headers, signature))


def _as_sent(request: FuzzRequest, role: str, caller: UUID) -> httpx.Request:
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in request.headers]
    if role != "guest":
        headers.append((b"Authorization", f"Bearer {token(role, caller)}".encode()))
    return httpx.Request(request.method, request.url, headers=headers, content=request.body)
