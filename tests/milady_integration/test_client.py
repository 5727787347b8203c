"""The client against the sandbox, with each of its faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from tests.milady_integration.harness import KEY, Sandbox

from kit.runtime.failures import Permanent, Transient
from milady_integration.milady_client import (
    MiladyClient,
    NotFound,
    ProviderError,
    RateLimited,
    Refused,
    RemoteEnrollment,
)
from testkit.processes import free_ports


@pytest_asyncio.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[MiladyClient]:
    found = MiladyClient(sandbox.url, KEY, seconds=20)
    yield found
    await found.close()


async def enroll(
    client: MiladyClient, *, key: str = "key-1", student: str = "student-1", **other: Any
) -> RemoteEnrollment:
    arguments = {"program": "barber-apprenticeship", "course_ids": [], "name": None, "email": None, **other}
    return await client.enroll(key=key, student_ref=student, **arguments)


def remote(sandbox: Sandbox) -> int:
    return len(sandbox.items("enrollments"))


async def test_enroll_find_withdraw(client: MiladyClient, sandbox: Sandbox) -> None:
    enrolled = await enroll(client, course_ids=["milady-cosmetology"], name="Sam", email="sam@example.org")
    assert [link.title for link in enrolled.links] == ["Standard Cosmetology"]
    who = {"student_ref": "student-1", "program": "barber-apprenticeship"}
    assert [found.id for found in await client.find(**who)] == [enrolled.id]
    assert await client.find(student_ref="student-1", program="other") == []
    await client.withdraw(enrolled.id, key="key-2")
    await client.withdraw(enrolled.id, key="key-2")
    assert await client.find(**who) == []


async def test_the_check_needs_the_provider_and_the_right_key(client: MiladyClient, sandbox: Sandbox) -> None:
    await client.check()
    wrong = MiladyClient(sandbox.url, "another-key")
    with pytest.raises((Transient, Permanent)):
        await wrong.check()
    await wrong.close()
    away = MiladyClient(f"http://127.0.0.1:{free_ports(1)[0]}", KEY)
    with pytest.raises(Transient):
        await away.check()
    await away.close()


async def test_the_same_key_is_the_same_enrollment(client: MiladyClient, sandbox: Sandbox) -> None:
    assert (await enroll(client)).id == (await enroll(client)).id
    with pytest.raises(Refused, match="idempotency_key_reused"):
        await enroll(client, name="Somebody else")
    assert remote(sandbox) == 1


async def test_a_slow_response_times_out_and_ends_in_one_enrollment(client: MiladyClient, sandbox: Sandbox) -> None:
    sandbox.faults({"kind": "slow", "seconds": 600, "requests": 1})
    impatient = MiladyClient(sandbox.url, KEY, seconds=0.5)
    with pytest.raises(ProviderError):
        await enroll(impatient)
    await impatient.close()
    await enroll(client)
    sandbox.faults()
    await sandbox.wait_for_responses()  # the slow request acts now, and finds its key in use
    assert remote(sandbox) == 1


async def test_a_lost_response_ends_in_exactly_one_enrollment(client: MiladyClient, sandbox: Sandbox) -> None:
    sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 1})
    with pytest.raises(ProviderError):
        await enroll(client)
    assert remote(sandbox) == 1
    await enroll(client)
    assert remote(sandbox) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425])
async def test_a_server_error_is_transient(client: MiladyClient, sandbox: Sandbox, status: int) -> None:
    sandbox.faults({"kind": "status", "status": status, "requests": 1})
    with pytest.raises(ProviderError) as caught:
        await enroll(client)
    assert isinstance(caught.value, Transient)
    assert (await enroll(client)).status == "active"


@pytest.mark.parametrize("status", [400, 401, 403, 409, 410, 422])
async def test_a_refusal_is_final(client: MiladyClient, sandbox: Sandbox, status: int) -> None:
    sandbox.faults({"kind": "status", "status": status, "requests": 1})
    with pytest.raises(Refused) as caught:
        await enroll(client)
    assert isinstance(caught.value, Permanent)
    assert caught.value.code == "ordered_fault"


async def test_a_redirect_is_not_followed(client: MiladyClient, sandbox: Sandbox) -> None:
    sandbox.faults({"kind": "redirect", "requests": 1})
    with pytest.raises(Refused, match="redirected"):
        await enroll(client)
    assert [request["path"] for request in sandbox.requests()] == ["/v1/enrollments"]


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "<html>airport</html>"},
        {"body": ""},
        {"body": "null"},
        {"body": "[]"},
        {"body": '{"id": "x", "student_ref": "somebody-else", "program": "p", "status": "active", "links": []}'},
        {"body": '{"id": "../..", "student_ref": "student-1", "program": "barber-apprenticeship", "status": "active"}'},
        {
            "body": '{"id": "x", "student_ref": "student-1", "program": "barber-apprenticeship", "status": "active", '
            '"links": [{"title": "t", "url": "javascript:alert(1)"}]}'
        },
        {"body": "{", "size": 400_000},
        {"body": "[" * 100_000},
    ],
)
async def test_an_invalid_response_is_transient(client: MiladyClient, sandbox: Sandbox, fault: dict[str, Any]) -> None:
    sandbox.faults({"kind": "garbage", "requests": 1, **fault})
    with pytest.raises(ProviderError):
        await enroll(client)
    assert (await enroll(client)).status == "active"


async def test_an_oversized_response_is_cut_off(sandbox: Sandbox) -> None:
    client = MiladyClient(sandbox.url, KEY, seconds=5)
    sandbox.faults({"kind": "garbage", "size": 50_000_000, "requests": 1})
    with pytest.raises(ProviderError, match="larger than"):
        await enroll(client)
    await client.close()


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honored(sandbox: Sandbox, form: str) -> None:
    now = 0.0
    client = MiladyClient(sandbox.url, KEY, clock=lambda: now)
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    sandbox.faults({"kind": "rate_limit", "retry_after": "60" if form == "seconds" else in_a_minute, "requests": 1})
    with pytest.raises(RateLimited):
        await enroll(client)
    now = 50.0
    with pytest.raises(RateLimited, match="waiting for Retry-After"):
        await enroll(client)
    assert len(sandbox.requests()) == 1, "nothing was sent meanwhile"
    now = 61.0
    assert (await enroll(client)).status == "active"
    await client.close()


async def test_a_connection_error_is_transient() -> None:
    (port,) = free_ports(1)
    client = MiladyClient(f"http://127.0.0.1:{port}", KEY)
    with pytest.raises(ProviderError, match="ConnectError"):
        await enroll(client)
    await client.close()


async def test_a_wrong_key_is_refused_and_is_not_in_the_error(sandbox: Sandbox) -> None:
    client = MiladyClient(sandbox.url, "a-wrong-key")
    with pytest.raises(Refused) as caught:
        await enroll(client, name="Sam Student")
    assert caught.value.code == "unauthorized"
    assert "a-wrong-key" not in repr(caught.value)
    assert "Sam" not in str(caught.value)
    await client.close()


async def test_withdrawing_an_unknown_enrollment_succeeds(client: MiladyClient, sandbox: Sandbox) -> None:
    await client.withdraw(f"men_{uuid4().hex}", key="k")
    sandbox.faults({"kind": "status", "status": 404, "requests": 1})
    with pytest.raises(NotFound):
        await enroll(client)
