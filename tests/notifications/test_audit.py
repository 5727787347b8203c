"""Every change by an admin leaves an audit record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from tests.audit import AuditedRoutes, mutating_admin_routes
from tests.notifications.harness import ANN, CONTACT, Harness, paid
from tests.processes import JWT
from tests.tokens import bearer

from notifications import main
from notifications.settings import ApiSettings
from testkit import postgres_server as pg
from testkit.smtp import Fault


@pytest.fixture
async def app(notifications_database: pg.Database) -> AsyncIterator[FastAPI]:
    app = main.app(
        ApiSettings(
            database_url=SecretStr(notifications_database.api_url),
            staff_database_url=SecretStr(notifications_database.staff_url),
            jwt_secret=SecretStr(JWT["JWT_SECRET"]),
            jwt_issuer=JWT["JWT_ISSUER"],
            jwt_audience=JWT["JWT_AUDIENCE"],
        )
    )
    yield app
    await app.state.database.close()


async def test_every_admin_route_leaves_an_audit_record(
    harness: Harness, app: FastAPI, notifications_database: pg.Database
) -> None:
    harness.mail.order(Fault.REJECT)
    await harness.receive(CONTACT, paid())
    await harness.deliver_due()
    id = await harness.value("SELECT id FROM notifications WHERE status = 'failed'")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers=bearer(uuid4(), "admin")
    ) as client:
        routes = AuditedRoutes(notifications_database.owner_url, client.request)
        path = "/api/admin/notifications/{notification_id}/resend"
        record = await routes.call("POST", path, "notification.resent", id)
    assert record.act.student_id == ANN
    assert record.act.before == {"status": "failed"} and record.act.after == {"status": "waiting"}
    assert routes.called == mutating_admin_routes(app)
