"""Limits per user and per address, in one process and in a Redis that is down."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter
from pydantic import SecretStr, ValidationError
from structlog.testing import capture_logs
from tests.processes import JWT
from tests.tokens import bearer

from kit.http.app import create_app
from kit.http.auth import Authenticator
from kit.http.limits import LIMIT_GUESSES, LIMIT_MONEY, Limits
from kit.runtime.settings import AuthSettings, LimitSettings
from testkit.processes import free_ports

AUTH = AuthSettings(
    jwt_secret=SecretStr(JWT["JWT_SECRET"]), jwt_issuer=JWT["JWT_ISSUER"], jwt_audience=JWT["JWT_AUDIENCE"]
)
# of a day: a test of which a minute's end falls in the middle would be let through more often
SETTINGS = LimitSettings(rate_limit_money="3/day", rate_limit_guesses="5/day")
router = APIRouter()


@router.post("/orders")
@router.get("/orders")
@router.post("/api/admin/orders")
async def order() -> None: ...


@router.get("/codes/{code}", dependencies=[LIMIT_GUESSES])
async def code(code: str) -> None: ...


Client = Callable[..., httpx.AsyncClient]


@pytest.fixture
def from_address() -> Client:
    app = create_app(title="tests", routers=[router], dependencies=[LIMIT_MONEY])
    app.state.authenticator = Authenticator(AUTH)
    app.state.limits = Limits.of(SETTINGS)

    def from_address(address: str, user: UUID | None = None) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=bearer(user) if user else {})

    return from_address


async def statuses(client: httpx.AsyncClient, method: str, path: str, times: int) -> list[int]:
    return [(await client.request(method, path)).status_code for _ in range(times)]


async def test_an_address_and_a_user_have_limits_of_their_own(from_address: Client) -> None:
    guest, other = from_address("192.0.2.1"), from_address("192.0.2.2")
    assert await statuses(guest, "POST", "/orders", 5) == [200, 200, 200, 429, 429]
    assert await statuses(other, "POST", "/orders", 1) == [200]
    student, classmate = from_address("192.0.2.1", uuid4()), from_address("192.0.2.1", uuid4())
    assert await statuses(student, "POST", "/orders", 4) == [200, 200, 200, 429]
    assert await statuses(classmate, "POST", "/orders", 1) == [200], "of the same school"
    refused = await guest.post("/orders")
    assert (refused.json()["code"], int(refused.headers["retry-after"]) >= 1) == ("too_many_requests", True)


async def test_another_address_of_the_same_ipv6_network_is_the_same_client(from_address: Client) -> None:
    found = [await statuses(from_address(f"2001:db8::{n}"), "POST", "/orders", 1) for n in range(1, 6)]
    assert found == [[200], [200], [200], [429], [429]]
    assert await statuses(from_address("2001:db8:0:1::1"), "POST", "/orders", 1) == [200]


async def test_ipv4_addresses_in_ipv6_notation_are_clients_of_their_own(from_address: Client) -> None:
    assert await statuses(from_address("::ffff:192.0.2.1"), "POST", "/orders", 4) == [200, 200, 200, 429]
    assert await statuses(from_address("::ffff:192.0.2.2"), "POST", "/orders", 1) == [200]
    assert await statuses(from_address("192.0.2.1"), "POST", "/orders", 1) == [429], "the same client"


async def test_reads_and_the_routes_of_admins_are_not_limited(from_address: Client) -> None:
    guest = from_address("192.0.2.1")
    assert await statuses(guest, "GET", "/orders", 9) == [200] * 9
    assert await statuses(guest, "POST", "/api/admin/orders", 9) == [200] * 9


async def test_guesses_are_limited_apart(from_address: Client) -> None:
    guest = from_address("192.0.2.1")
    assert [(await guest.get(f"/codes/{n}")).status_code for n in range(7)] == [200] * 5 + [429] * 2
    assert await statuses(guest, "POST", "/orders", 1) == [200]


async def test_without_its_redis_nothing_is_limited_which_is_logged_once() -> None:
    (port,) = free_ports(1)
    limits = Limits({"money": "1/day"}, redis_url=f"redis://127.0.0.1:{port}")
    with capture_logs() as logs:
        for _ in range(4):
            await limits.take("money", "address/192.0.2.1")
    assert [line["event"] for line in logs] == ["rate limits failed"]


async def test_an_empty_limit_is_none() -> None:
    limits = Limits({"money": ""})
    for _ in range(20):
        await limits.take("money", "address/192.0.2.1")


@pytest.mark.parametrize("limit", ["ten", "10/minute;30/hour", "10/minute, 30/hour"])
def test_a_limit_that_cannot_be_read_and_a_second_one_are_refused(limit: str) -> None:
    with pytest.raises(ValidationError):
        LimitSettings(rate_limit_money=limit)
