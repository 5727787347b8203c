"""The service in its own processes, with a real broker, a real database and the mail catcher."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from tests.databases import logins
from tests.notifications.harness import (
    ADMIN,
    ANN,
    CONTACT,
    EMAIL,
    LINKS,
    PDF,
    Harness,
    assigned,
    bodies,
    files,
    issued,
    one,
    paid,
    step,
    subjects,
)
from tests.processes import RunningRole, declare_consumer_of
from tests.tokens import bearer
from tests.waiting import until

from contracts.checkout import (
    CollectionStopped,
    InstallmentAnnounced,
    PaymentUnmatched,
    PurchaseCreated,
    ReceiptIssued,
    RefundDecided,
    RefundFailed,
    RefundRequested,
    StudentUpdated,
)
from contracts.enrollment import EnrollmentActivated, EnrollmentEvent, EnrollmentProgressed
from contracts.envelope import Envelope, Event
from contracts.erasure import StudentErasureRequested
from contracts.instructor_assignment import InstructorEvent
from contracts.milady_integration import MiladyEvent
from contracts.money import usd
from contracts.payments import PaymentDisputeOpened, PaymentEvent, PaymentRefs
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from notifications.student_facts import keys_of
from notifications.topology import QUEUES
from testkit import postgres_server as pg
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer
from testkit.smtp import Fault, MailCatcher


@pytest.fixture
def env(notifications_database: pg.Database, rabbit_server: RabbitServer, mail: MailCatcher) -> dict[str, str]:
    return {
        **logins(notifications_database),
        "AMQP_URL": rabbit_server.url,
        "SMTP_HOST": mail.host,
        "SMTP_PORT": str(mail.port),
        "MAIL_FROM": "Elevate Barber School <enrollment@school.example.com>",
        "PORTAL_URL": "https://portal.example.com",
        "LINK_HOSTS": "https://milady.example.com,portal.example.com",
        "ADMIN_EMAILS": ADMIN,
        "RECEIPT_SETTLE_SECONDS": "0.3",
        "RECEIPT_DOCUMENT_SECONDS": "30",
    }


@pytest.fixture
def service(harness: Harness, env: dict[str, str], tmp_path: Path) -> Iterator[RunningRole]:
    """All roles in one process, which also declares the queues."""
    process = RunningRole("notifications", "all", env, log=tmp_path / "service.log")
    process.start()
    try:
        wait_all_ready([process])
        yield process
    finally:
        stop_all([process])


def test_every_event_that_is_consumed_can_be_found_again() -> None:
    """An event without a key would be rejected by the fact store."""
    progress = EnrollmentProgressed(enrollment_id=ANN, student_id=ANN, program_slug="x", percent=1)
    bound = {event for queue in QUEUES for event in queue.events}
    assert type(progress) not in bound and keys_of(progress) == frozenset()
    named = (PaymentEvent, EnrollmentEvent, InstructorEvent, MiladyEvent, PurchaseCreated, InstallmentAnnounced)
    by_id = (ReceiptIssued, RefundRequested, RefundDecided, RefundFailed, CollectionStopped, PaymentUnmatched)
    assert all(issubclass(event, (*named, *by_id, StudentUpdated, StudentErasureRequested)) for event in bound)


@pytest.mark.usefixtures("no_old_messages")
async def test_a_payment_becomes_mails_once(
    harness: Harness, service: RunningRole, rabbit_server: RabbitServer, mail: MailCatcher, tmp_path: Path
) -> None:
    await declare_consumer_of("notifications", rabbit_server.url)
    publisher = Publisher(rabbit_server.url, name="tests")
    dispute = PaymentDisputeOpened(
        refs=PaymentRefs(payment_intent="pi_1"), dispute_id="du_1", status="needs_response", amount=usd(489_000)
    )
    events: list[Event] = [paid(), issued(), CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS, dispute]
    envelopes: list[Envelope[Event]] = [harness.envelope(event) for event in events]
    try:
        for envelope in (*envelopes, *reversed(envelopes)):
            await publisher.publish(to_message(envelope))

        async def three() -> bool:
            return len(mail.files()) >= 3

        await until(three, what="three mails")

        async def all_published() -> bool:
            due = await harness.value("SELECT count(*) FROM outbox_due")
            published: int = await harness.value("SELECT count(*) FROM outbox_messages")
            return due == 0 and published >= 3

        await until(all_published, what="three events published")
    finally:
        await publisher.close()
    mails = mail.messages()
    receipt, welcome = "Receipt: 4,890.00 USD for Barber Apprenticeship", "Welcome to Barber Apprenticeship"
    assert subjects(mails) == [receipt, welcome] and len(subjects(mails, ADMIN)) == 1
    assert "Ada Clipper" in bodies(one(mails, welcome))[0]
    assert files(one(mails, receipt)) == {"receipt-R-2026-0001.pdf": PDF}
    async with httpx.AsyncClient(base_url=service.url) as client:
        mine = (await client.get("/api/notifications", headers=bearer(ANN))).json()["items"]
        assert {row["template"] for row in mine} == {"receipt", "welcome"}
        assert (await client.get("/api/notifications", headers=bearer(uuid4()))).json()["items"] == []
    logs = (tmp_path / "service.log").read_text()
    assert EMAIL not in logs and "Ann Archer" not in logs and ADMIN not in logs
    assert issued().pdf[:40] not in logs and "PDF-1" not in logs
    published = await harness.value("SELECT string_agg(convert_from(body, 'UTF8'), ' ') FROM outbox_messages")
    assert await harness.value("SELECT count(*) FROM outbox_messages") == 3, published
    assert "@" not in published and "Ann" not in published


async def test_a_relay_killed_after_the_hand_over_sends_no_second_mail(
    harness: Harness, env: dict[str, str], mail: MailCatcher
) -> None:
    mail.order(Fault.SLOW, seconds=20)
    await harness.receive(CONTACT, paid())
    relay = RunningRole("notifications", "relay", env).start()
    try:

        async def stored() -> bool:
            return bool(mail.files())

        await until(stored, what="the mail with the server")
    finally:
        relay.kill()
    (row,) = await harness.rows()
    assert row["status"] == "handed_over", "recorded before the server had it"
    async with harness.database.transaction() as connection:
        await connection.execute(text("UPDATE jobs SET available_at = now()"))  # the lease has expired
    mails = await harness.deliver_due()
    assert subjects(mails) == ["Receipt: 4,890.00 USD for Barber Apprenticeship"]
    assert [row["status"] for row in await harness.rows("recipient = 'student'")] == ["unknown"]
    assert subjects(mails, ADMIN) == ["[Admin] A message may or may not have been delivered"]
