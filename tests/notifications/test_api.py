"""GET /api/notifications: own rows, or all for admins, enforced by the database. Resending is for admins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from tests.notifications.harness import ANN, CONTACT, UNAVAILABLE, Harness, issued, paid, subjects
from tests.processes import JWT
from tests.tokens import bearer

from contracts.checkout import StudentUpdated
from contracts.people import Contact
from kit.db.database import Database
from notifications import main
from notifications.settings import ApiSettings
from testkit import postgres_server as pg
from testkit.smtp import Fault

BOB, STAFF = uuid4(), uuid4()
RECEIPT = "Receipt: 4,890.00 USD for Barber Apprenticeship"


@pytest.fixture
async def client(harness: Harness, notifications_database: pg.Database) -> AsyncIterator[httpx.AsyncClient]:
    settings = ApiSettings(
        database_url=SecretStr(notifications_database.api_url),
        staff_database_url=SecretStr(notifications_database.staff_url),
        jwt_secret=SecretStr(JWT["JWT_SECRET"]),
        jwt_issuer=JWT["JWT_ISSUER"],
        jwt_audience=JWT["JWT_AUDIENCE"],
    )
    app = main.app(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notifications") as client:
        yield client
    await app.state.database.close()


async def items(client: httpx.AsyncClient, who: UUID, role: str = "student", **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/api/notifications", headers=bearer(who, role), params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def two_students(harness: Harness) -> None:
    bobs = paid(n=2).model_copy(update={"student_id": BOB})
    await harness.receive(CONTACT, StudentUpdated(student_id=BOB, contact=Contact(email="bob@x.example.com")))
    await harness.receive(paid(), bobs, UNAVAILABLE)
    await harness.deliver_due()


async def test_a_student_sees_only_their_own_and_no_alert(harness: Harness, client: httpx.AsyncClient) -> None:
    await two_students(harness)
    (mine,) = await items(client, ANN)
    assert (mine["template"], mine["channel"], mine["status"], mine["recipient"]) == (
        "receipt",
        "email",
        "sent",
        "student",
    )
    assert mine["sent_at"] and "@" not in str(mine), "no address and no text"
    assert [row["student_id"] for row in await items(client, BOB)] == [str(BOB)]
    assert await items(client, BOB, student_id=str(ANN)) == [] == await items(client, uuid4())
    for role in ("case_manager", "specialist"):
        assert await items(client, STAFF, role) == []


async def test_a_receipt_is_listed_with_its_file_name_and_without_its_content(
    harness: Harness, client: httpx.AsyncClient
) -> None:
    await harness.receive(CONTACT, paid(), issued())
    await harness.deliver_due()
    (mine,) = await items(client, ANN)
    assert mine["attachment"] == "receipt-R-2026-0001.pdf" and "JVBER" not in str(mine)


async def test_admins_see_all_and_filter(harness: Harness, client: httpx.AsyncClient) -> None:
    await two_students(harness)
    assert len(await items(client, STAFF, "admin")) == 3
    assert len(await items(client, STAFF, "admin", recipient="admin")) == 1
    assert len(await items(client, STAFF, "admin", student_id=str(BOB), template="receipt", status="sent")) == 1
    assert len(await items(client, STAFF, "admin", limit="2")) == 2
    assert (await client.get("/api/notifications")).status_code == 401
    assert (await client.get("/api/notifications/", headers=bearer(ANN))).status_code == 200


async def test_row_level_security_hides_all_rows_without_a_caller(harness: Harness, api_database: Database) -> None:
    await two_students(harness)
    count = text("SELECT count(*) FROM notifications")
    async with api_database.transaction() as db:
        assert await db.scalar(count) == 0
    async with api_database.transaction_of(student_id=ANN, role="student") as db:
        assert await db.scalar(count) == 1
    for table in ("contacts", "topics", "facts"):
        with pytest.raises(Exception, match="permission denied"):
            async with api_database.transaction_of(student_id=ANN, role="student") as db:
                await db.execute(text(f"SELECT * FROM {table}"))
    for table in ("contacts", "facts"):
        async with api_database.transaction_of(student_id=STAFF, role="case_manager") as db:
            assert await db.scalar(text(f"SELECT count(*) FROM {table}")) == 0, "only admins export"


@pytest.mark.parametrize(("fault", "status"), [(Fault.DROP_BEFORE_STORE, "unknown"), (Fault.REJECT, "failed")])
async def test_an_admin_resends_failed_and_unknown_notifications(
    harness: Harness, client: httpx.AsyncClient, fault: Fault, status: str
) -> None:
    harness.mail.order(fault)
    await harness.receive(CONTACT, paid())
    assert subjects(await harness.deliver_due()) == []
    (row,) = await items(client, STAFF, "admin", status=status)
    url = f"/api/admin/notifications/{row['id']}/resend"
    assert (await client.post(url, headers=bearer(ANN))).status_code == 403
    answer = await client.post(url, headers=bearer(STAFF, "admin"))
    assert (answer.status_code, answer.json()["status"]) == (202, "waiting"), answer.text
    again = await client.post(url, headers=bearer(STAFF, "admin"))
    assert (again.status_code, again.json()["code"]) == (409, "not_resendable")
    mails = await harness.deliver_due()
    assert subjects(mails) == [RECEIPT]
    (sent,) = await items(client, ANN)
    assert (sent["status"], sent["attempts"]) == ("sent", 2)
    correlated = "SELECT headers ->> 'cloudEvents:correlationid' FROM outbox_messages WHERE message_key LIKE :key"
    assert await harness.value(correlated, key=f"{row['id']}/notification.sent.v1") == "evt_2/payment.succeeded.v1"


async def test_resending_checks_the_facts_again(harness: Harness, client: httpx.AsyncClient) -> None:
    from tests.notifications.test_receipts_and_failures import failed

    harness.mail.order(Fault.DROP_BEFORE_STORE)
    await harness.receive(CONTACT, failed("card_declined"))
    await harness.deliver_due()
    await harness.receive(paid())
    await harness.deliver_due()
    (row,) = await items(client, STAFF, "admin", status="unknown")
    await client.post(f"/api/admin/notifications/{row['id']}/resend", headers=bearer(STAFF, "admin"))
    assert subjects(await harness.deliver_due()) == [RECEIPT], "the payment was received in the meantime"
    assert (await items(client, STAFF, "admin", status="skipped"))[0]["id"] == row["id"]


async def test_sent_and_missing_notifications_cannot_be_resent(harness: Harness, client: httpx.AsyncClient) -> None:
    await harness.receive(CONTACT, paid())
    await harness.deliver_due()
    (row,) = await items(client, ANN)
    sent = await client.post(f"/api/admin/notifications/{row['id']}/resend", headers=bearer(STAFF, "admin"))
    never = await client.post(f"/api/admin/notifications/{uuid4()}/resend", headers=bearer(STAFF, "admin"))
    assert (sent.status_code, never.status_code) == (409, 404)
    assert never.json()["code"] == "unknown_notification"


async def test_the_same_idempotency_key_is_the_same_answer(harness: Harness, client: httpx.AsyncClient) -> None:
    harness.mail.order(Fault.REJECT)
    await harness.receive(CONTACT, paid())
    await harness.deliver_due()
    (row,) = await items(client, ANN)
    headers = bearer(STAFF, "admin") | {"Idempotency-Key": "again-1"}
    answers = [await client.post(f"/api/admin/notifications/{row['id']}/resend", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert subjects(await harness.deliver_due()) == [RECEIPT]
