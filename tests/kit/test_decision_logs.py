"""Each decision is one log line with ids, once it is committed; the trace of a request reaches its events."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs
from tests.kit.events import PURCHASE, paid
from tests.processes import JWT
from tests.tokens import bearer

from kit.db.database import Database
from kit.db.unit_of_work import Collected, UnitOfWork, utc_now
from kit.http.app import create_app
from kit.http.auth import Admin, Authenticator
from kit.http.errors import REFUSAL_SECONDS, RefusalLog, handle_errors
from kit.http.problems import ProblemType
from kit.runtime.settings import AuthSettings
from kit.runtime.trace import cause_of, trace_id

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CAUSE = paid("evt_cause")
AUTH = AuthSettings(
    jwt_secret=SecretStr(JWT["JWT_SECRET"]), jwt_issuer=JWT["JWT_ISSUER"], jwt_audience=JWT["JWT_AUDIENCE"]
)


class Refused(Exception):
    pass


@pytest.mark.parametrize("in_batch", [False, True])
async def test_an_event_is_logged_when_it_is_committed(database: Database, in_batch: bool) -> None:
    with capture_logs() as logs:
        async with database.transaction() as db:
            collected = Collected() if in_batch else None
            cause = cause_of(CAUSE)
            uow = UnitOfWork(db=db, source="tests", now=utc_now(), cause=cause, collected=collected)
            await uow.publish(CAUSE.data, id="evt_1")
            assert logs == []
        assert logs == [
            {
                "event": "payment.succeeded.v1",
                "id": "evt_1",
                "subject": str(PURCHASE),
                "correlation": "evt_cause",
                "trace": trace_id(cause.traceparent),
                "log_level": "info",
            }
        ]


async def test_what_is_rolled_back_is_not_logged_later_either(database: Database) -> None:
    with capture_logs() as logs:
        with pytest.raises(Refused):
            async with database.transaction() as db:
                await UnitOfWork(db=db, source="tests", now=utc_now()).publish(CAUSE.data, id="evt_1", subject="s")
                raise Refused
        async with database.transaction():
            pass
    assert logs == []


async def test_requests_without_a_valid_token_are_logged_together() -> None:
    router = APIRouter()

    @router.get("/orders")
    async def orders() -> None:
        raise ProblemType(401, "unauthorized", "A token is required.", "Try again.")()

    @router.get("/codes")
    async def codes() -> None:
        raise ProblemType(429, "too_many_requests", "Wait.", "Try again.")()

    times = iter((0.0, 1.0, 30.0, 59.0, REFUSAL_SECONDS, REFUSAL_SECONDS, REFUSAL_SECONDS + 1))
    app = FastAPI()
    app.include_router(router)
    handle_errors(app, RefusalLog(lambda: next(times)))
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            for _ in range(5):
                assert (await client.get("/orders")).status_code == 401
            for _ in range(2):
                assert (await client.get("/codes")).status_code == 429
    assert {line["event"] for line in logs} == {"requests without a valid token refused"}
    assert [(line["requests"], line["route"], line["code"]) for line in logs] == [
        (1, "/orders", "unauthorized"),
        (4, "/orders", "unauthorized"),
        (1, "/codes", "too_many_requests"),
    ]


async def test_a_refusal_names_the_caller() -> None:
    router = APIRouter()

    @router.get("/admin")
    async def admin(caller: Admin) -> None: ...

    app = create_app(title="tests", routers=[router])
    app.state.authenticator = Authenticator(AUTH)
    student = uuid4()
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/admin", headers=bearer(student, email="ann@example.com"))).status_code == 403
    (line,) = logs
    assert (line["actor"], line["role"], line["code"]) == (str(student), "student", "forbidden")
    assert "example.com" not in str(line)


async def test_the_trace_of_a_request_reaches_its_events_and_the_refusal_is_logged(database: Database) -> None:
    router = APIRouter()

    @router.post("/orders/{id}")
    async def order(id: str) -> None:
        async with database.transaction() as db:
            await UnitOfWork(db=db, source="tests", now=utc_now()).publish(CAUSE.data, id=id, subject="s")
        raise ProblemType(409, f"sold_out_{id}", "No more places.", "Try again.")()

    transport = httpx.ASGITransport(create_app(title="tests", routers=[router]))
    with capture_logs() as logs:
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for header in ({"traceparent": TRACE}, {"traceparent": "00-none"}, {}):
                await client.post(f"/orders/evt_{len(logs)}", headers=header)
    assert [line["event"] for line in logs] == ["payment.succeeded.v1", "requests without a valid token refused"] * 3
    assert [line["code"] for line in logs if "code" in line] == ["sold_out_evt_0", "sold_out_evt_2", "sold_out_evt_4"]
    assert {line["route"] for line in logs if "route" in line} == {"/orders/{id}"}, "the path itself may be personal"
    traces = [line["trace"] for line in logs if "trace" in line]
    assert traces[0] == TRACE.split("-")[1]
    assert len(set(traces)) == 3
    async with database.transaction() as db:
        stored = list(await db.scalars(text("SELECT headers->>'cloudEvents:traceparent' FROM outbox_messages")))
    assert TRACE in stored
    assert {trace_id(each) for each in stored} == set(traces)
