"""Every route that is not for admins alone, for the caller's own rows and for those of others.

Each route gets a student of its own, whose rows all have the student's id. Who is refused, or is shown nothing, changes
nothing. Nothing answers at Stripe's address: a request that gets there was let in.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from tests.security.databases import connected
from tests.security.student_rows import inserts_of
from tests.security.test_roles import token

from checkout.catalog import loader
from devstack.documents import applications, applications_of
from devstack.role_table import ROWS, routes_of
from kit.db.database import Database as ServiceDatabase
from testkit.postgres_server import Database

PACKAGES = ("checkout", "enrollment", "instructor_assignment", "milady_integration", "notifications")
REFUSED = (401, 403, 404)
BY_LINK = frozenset(route for (_, route), access in ROWS.items() if access == "by link")
# Whoever calls them can name nobody: others are shown nothing of the student's.
UNTARGETED = frozenset(
    {
        # sums; tests/checkout/test_caseload.py compares those of two caseloads
        "GET /api/admin/caseload/funding",
        "GET /api/memberships/current",
        "GET /api/payments/methods",
        "GET /api/payments/specialist/statistics",
        "GET /api/referral-code",
        "POST /api/checkout",
        "POST /api/create-checkout-session",
        "POST /api/memberships",
        "POST /api/payments/billing-portal",
        "POST /api/payments/create-checkout-session",
        "POST /api/payments/create-intent",
        "POST /api/payments/create-payment",
        "POST /api/referral-code",
        # Stripe's ids of a customer's own methods; the customer is the caller's
        "DELETE /api/payments/methods/{method_id}",
        "POST /api/payments/methods/{method_id}/default",
    }
)
BODIES: Mapping[str, Callable[[UUID], dict[str, Any]]] = {
    "POST /api/enrollments": lambda student: {"product_id": "hvac", "user_id": str(student)},
    "POST /api/funding/create-checkout": lambda student: {
        "studentId": str(student),
        "programId": "hvac",
        "programSlug": "hvac",
    },
    "POST /api/instructors/mine/{assignment_id}/messages": lambda _: {"text": "What is a fade?"},
    "POST /api/memberships/{id}/change": lambda _: {"membership": "career"},
    "POST /api/payments/confirm-payment": lambda student: {"paymentIntentId": f"pi_{student.hex}"},
    "POST /api/payments/request-refund": lambda student: {"payment_intent_id": f"pi_{student.hex}", "reason": "r"},
    "POST /api/payments/{payment_id:uuid}/refund": lambda _: {"reason": "r"},
    "PUT /api/admin/students/{id}/contact": lambda _: {"email": "thief@example.org"},
    "POST /api/milady/auto-enroll": lambda student: {"studentId": str(student), "programId": "barber-apprenticeship"},
}
# what the caller has to do with the student, and what is enough for which access
OWN, CASELOAD, ALL = "own", "caseload", "all"
LETS_IN: Mapping[str, frozenset[str]] = {
    "own": frozenset({OWN}),
    "visible": frozenset({OWN, CASELOAD, ALL}),
    "managed": frozenset({CASELOAD, ALL}),
    "own or admin": frozenset({OWN, ALL}),
    "revenue": frozenset({ALL}),
}


@pytest.fixture(scope="module")
def services(databases: dict[str, Database]) -> dict[str, FastAPI]:
    found: dict[str, FastAPI] = {}
    for package in PACKAGES:
        logins = {"DATABASE_URL": databases[package].api_url, "STAFF_DATABASE_URL": databases[package].staff_url}
        settings = {
            "STRIPE_API_BASE": "http://127.0.0.1:9",
            "STRIPE_RETRIES": "0",
            "RATE_LIMIT_MONEY": "",
            "RATE_LIMIT_GUESSES": "",
        }
        found |= applications_of(package, **logins, **settings)
    return found


@pytest.fixture(autouse=True, scope="module")
async def catalog(databases: dict[str, Database]) -> AsyncIterator[None]:
    database = ServiceDatabase(databases["checkout"].url)
    await loader.load(database, loader.checked_in())
    await database.close()
    yield


async def student_of(database: Database, package: str, case_manager: UUID) -> UUID:
    student = uuid4()
    async with connected(database, "worker") as worker:
        for sql in inserts_of(package, student):
            await worker.execute(sql)
        if package != "notifications":
            row = "INSERT INTO caseload (student_id, case_manager_id, revision) VALUES ($1, $2, 1)"
            await worker.execute(row, student, case_manager)
    return student


async def rows_of(database: Database, student: UUID) -> list[str]:
    """All rows with the student's id, and how many messages and jobs there are."""
    async with connected(database, "worker") as worker:
        tables = await worker.fetch(
            "SELECT table_name::text AS name FROM information_schema.columns WHERE column_name = 'student_id' "
            "AND table_schema = 'public' ORDER BY 1"
        )
        found = [
            row["json"]
            for table in tables
            for row in await worker.fetch(
                f"SELECT to_jsonb(t)::text AS json FROM {table['name']} t WHERE student_id = $1 ORDER BY 1", student
            )
        ]
        for name in ("jobs", "outbox_messages"):
            found.append(str(await worker.fetchval(f"SELECT count(*) FROM {name}")))
    return found


def request_for(route: str, student: UUID) -> tuple[str, str]:
    """The caseload is listed by id, so that a page may end before the student."""
    method, path = route.split()
    path = (
        path.replace("caseload", "caseload?limit=200")
        .replace("{payment_intent_id}", f"pi_{student.hex}")
        .replace("{method_id}", f"pm_{student.hex}")
    )
    return method, re.sub(r"\{[^}]+\}", str(student), path)


async def call(app: FastAPI, route: str, student: UUID, role: str, who: UUID) -> httpx.Response:
    method, path = request_for(route, student)
    body = BODIES[route](student) if route in BODIES else {} if method == "POST" else None
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, json=body, headers={"Authorization": f"Bearer {token(role, who)}"})


def is_let_in(route: str, student: UUID, answer: httpx.Response) -> bool:
    """A list has to show the student's row."""
    if route.startswith("GET ") and "{" not in route:
        return answer.status_code == 200 and str(student) in answer.text
    return answer.status_code not in REFUSED


TARGETED = sorted(
    (service, route)
    for (service, route), access in ROWS.items()
    if access not in ("none", "by link") and route not in UNTARGETED
)


@pytest.mark.parametrize(("service", "route"), TARGETED, ids=lambda value: value.replace(" ", "_"))
async def test_a_route_reaches_the_rows_of_the_table(
    databases: dict[str, Database], services: dict[str, FastAPI], service: str, route: str
) -> None:
    package, app = service.replace("-", "_"), services[service]
    case_manager, admin = uuid4(), uuid4()
    student = await student_of(databases[package], package, case_manager)
    allowed = routes_of(app)[route]
    callers = [
        ("student", uuid4(), "none"),
        ("specialist", uuid4(), "none"),
        ("case_manager", uuid4(), "none"),
        ("case_manager", case_manager, CASELOAD),
        ("student", student, OWN),
        ("admin", admin, ALL),
    ]
    lets_in = LETS_IN[ROWS[service, route]]
    # who is let in changes the rows: last
    for role, who, relation in sorted(callers, key=lambda each: each[2] in lets_in):
        before = await rows_of(databases[package], student)
        answer = await call(app, route, student, role, who)
        expected = relation in lets_in and role in allowed
        assert is_let_in(route, student, answer) is expected, (role, relation, answer.status_code, answer.text)
        if expected:
            assert answer.status_code != 422 and answer.status_code != 500, (role, relation, answer.text)
        else:
            after = await rows_of(databases[package], student)
            counts = 2 if answer.is_success else 0  # who reads rows of their own may leave a record of it
            assert after[: len(after) - counts] == before[: len(before) - counts], (role, relation)


@pytest.mark.parametrize("route", sorted(UNTARGETED))
async def test_where_nobody_can_be_named_nothing_of_others_is_returned(
    databases: dict[str, Database], services: dict[str, FastAPI], route: str
) -> None:
    case_manager = uuid4()
    student = await student_of(databases["checkout"], "checkout", case_manager)
    before = await rows_of(databases["checkout"], student)
    private = (str(student), student.hex, f"R{student.hex[:8].upper()}", "ada@example.org")
    for role, who in (
        ("student", uuid4()),
        ("specialist", uuid4()),
        ("case_manager", case_manager),
        ("admin", uuid4()),
    ):
        answer = await call(services["checkout"], route, student, role, who)
        assert answer.status_code != 500, (role, answer.text)
        assert not any(each in answer.text for each in private), (role, answer.text)
        assert (await rows_of(databases["checkout"], student))[:-2] == before[:-2], role


def test_every_route_has_an_entry() -> None:
    """A new route that is not for admins alone needs an entry, and if it can name a student, a body that does."""
    routes = {
        (service, route)
        for service, app in applications().items()
        for route, allowed in routes_of(app).items()
        if allowed != {"admin"}
    }
    assert ROWS.keys() == routes
    names = {route for _, route in routes}
    assert UNTARGETED | BODIES.keys() | BY_LINK <= names
    assert not UNTARGETED & BODIES.keys()
