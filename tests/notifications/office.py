"""A post office without a broker: events are handed to the consumers, messages go out when a test says so."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text
from tests.waiting import until

from contracts.checkout import ReceiptIssued, StudentUpdated
from contracts.enrollment import EnrollmentEvent
from contracts.envelope import Envelope, Event
from contracts.instructor_assignment import Instructor, InstructorAssigned, InstructorUnavailable
from contracts.milady_integration import CourseLink, MiladyEnrolled
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Contact, Program, enrollment_uuid
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.worker import JobWorker
from kit.messaging import inbox
from kit.runtime.backoff import Backoff
from kit.runtime.trace import cause_of
from notifications import db
from notifications.consumers import consumers
from notifications.domain import Rules
from notifications.mailer import Mailer
from notifications.rendering import Letterhead
from notifications.sending import Sending
from notifications.settings import RelaySettings
from notifications.webhook import Webhook
from testkit.smtp import MailCatcher

ANN = UUID("00000000-0000-4000-8000-000000000001")
BARBER = Program(slug="barber-apprenticeship", id="prog-1", name="Barber Apprenticeship", provider="milady")
SEAT = enrollment_uuid(ANN, BARBER.slug)
BEGAN = datetime(2026, 3, 3, 14, 5, tzinfo=UTC)
EMAIL = "ann@student.example.com"
ADMIN = "admin@school.example.com"
AT_ONCE = Rules(
    receipt_settle=timedelta(),
    receipt_document=timedelta(),
    failure_settle=timedelta(),
    welcome_grace=timedelta(),
    no_contact=timedelta(),
    alert_channels=("email",),
)


_TABLES = [
    *("marks", "notifications", "contacts", "documents"),
    *("outbox", "inbox", "facts", "fact_keys", "jobs", "idempotency_keys"),
]


def settings_of(mail: MailCatcher, **more: Any) -> RelaySettings:
    told: dict[str, Any] = {
        "database_url": SecretStr("postgresql://nobody"),
        "amqp_url": SecretStr("amqp://nobody"),
        "smtp_host": mail.host,
        "smtp_port": mail.port,
        "mail_from": "Elevate Barber School <enrollment@school.example.com>",
        "support_email": "help@school.example.com",
        "portal_url": "https://portal.example.com/",
        "admin_emails": (ADMIN,),
        "smtp_timeout_seconds": 5,
    }
    return RelaySettings(**(told | more))


@dataclass
class Office:
    database: Database
    mail: MailCatcher
    rules: Rules = AT_ONCE
    settings: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = None

    def __post_init__(self) -> None:
        settings = settings_of(self.mail, **self.settings)
        self.sending = Sending(
            self.database,
            rules=self.rules,
            mailer=Mailer(settings),
            webhook=Webhook(self.webhook_url) if self.webhook_url else None,
            letterhead=Letterhead.of(settings),
            admins=settings.admin_emails,
        )
        self.sending.backoff = Backoff(
            first=timedelta(milliseconds=50), longest=timedelta(milliseconds=100), attempts=6
        )
        self._consumers = {event.type: each for each in consumers(self.rules) for event in each.queue.events}
        self._heard = 0

    async def hear(self, *events: Event | Envelope[Event]) -> None:
        """Each in a transaction of its own, as the broker would deliver it; what is known already changes nothing."""
        for event in events:
            envelope = event if isinstance(event, Envelope) else self.envelope(event)
            consumer = self._consumers[envelope.type]
            async with self.database.transaction() as connection:
                if await inbox.claim(connection, queue=consumer.queue.name, event_id=envelope.id):
                    uow = UnitOfWork(db=connection, source="notifications", now=utc_now(), cause=cause_of(envelope))
                    await consumer.handlers()[envelope.type](envelope, uow)

    def envelope(self, event: Event) -> Envelope[Event]:
        self._heard += 1
        return said(self._heard, event)

    async def post(self) -> list[EmailMessage]:
        """Sends what is due until nothing is left; the mails that have come out of it so far."""
        stop = asyncio.Event()
        running = asyncio.create_task(JobWorker(self.database, "notifications", {db.KIND: self.sending}).run(stop))
        try:
            await until(self.nothing_due, seconds=20, what="nothing left to send")
        finally:
            stop.set()
            await running
        return self.mail.messages()

    async def nothing_due(self) -> bool:
        due = """
            SELECT count(*) FROM jobs WHERE done_at IS NULL AND failed_at IS NULL
            AND (attempts > 0 OR available_at < now() + interval '9 s')
        """
        return not await self.value(due)

    async def value(self, sql: str, **bound: Any) -> Any:
        async with self.database.transaction() as connection:
            return await connection.scalar(text(sql), bound)

    async def rows(self, where: str = "true") -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            found = await connection.execute(text(f"SELECT * FROM notifications WHERE {where} ORDER BY key"))
            return [dict(row._mapping) for row in found]

    async def sent(self) -> list[str]:
        return [row["key"] for row in await self.rows("status = 'sent'")]

    async def said(self) -> list[str]:
        async with self.database.transaction() as connection:
            return list(await connection.scalars(text("SELECT message_key FROM outbox ORDER BY id")))

    async def empty(self) -> None:
        async with self.database.transaction() as connection:
            for table in _TABLES:
                await connection.execute(text(f"DELETE FROM {table}"))
        for file in self.mail.files():
            file.unlink()


def said(number: int, event: Event) -> Envelope[Event]:
    """The `number`-th event of a history, in the order in which the facts happened."""
    return Envelope(
        id=f"evt_{number}/{event.type}",
        source="tests",
        subject="test",
        time=BEGAN + timedelta(minutes=number),
        data=event,
    )


def subjects(mails: Iterable[EmailMessage], to: str = EMAIL) -> list[str]:
    return sorted(str(mail["Subject"]) for mail in mails if to in str(mail["X-Envelope-To"]))


def bodies(mail: EmailMessage) -> tuple[str, str]:
    """The text and the HTML."""
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None and html is not None
    return plain.get_content(), html.get_content()


def one(mails: Sequence[EmailMessage], word: str) -> EmailMessage:
    found = [mail for mail in mails if word in str(mail["Subject"])]
    assert len(found) == 1, [str(mail["Subject"]) for mail in mails]
    return found[0]


# --- what others say --------------------------------------------------------------------------------------------------

CONTACT = StudentUpdated(student_id=ANN, contact=Contact(email=EMAIL, name="Ann Archer"))


def paid(amount: int = 489_000, contact: Contact | None = None, n: int = 1, **refs: str) -> PaymentSucceeded:
    return PaymentSucceeded(
        refs=PaymentRefs(**(refs or {"payment_intent": f"pi_{n}"})),
        purchase_id=UUID(int=n),
        student_id=ANN,
        program=BARBER,
        payer="student",
        contact=contact,
        amount=usd(amount),
    )


PDF = b"%PDF-1.7\n" + bytes(range(256)) * 20 + b"%%EOF"


def issued(amount: int = 489_000, n: int = 1, number: str = "R-2026-0001", **refs: str) -> ReceiptIssued:
    return ReceiptIssued(
        document_id=UUID(int=300 + n),
        kind="receipt",
        number=number,
        purchase_id=UUID(int=n),
        student_id=ANN,
        refs=PaymentRefs(**(refs or {"payment_intent": f"pi_{n}"})),
        amount=usd(amount),
        filename=f"receipt-{number}.pdf",
        pdf=base64.b64encode(PDF).decode(),
    )


def files(mail: EmailMessage) -> dict[str, bytes]:
    """What is attached, by name."""
    return {str(part.get_filename()): part.get_content() for part in mail.iter_attachments()}


def step(kind: type[EnrollmentEvent], revision: int, reason: str | None = None) -> EnrollmentEvent:
    return kind(
        enrollment_id=SEAT, student_id=ANN, program=BARBER, purchase_id=UUID(int=1), revision=revision, reason=reason
    )


def assigned(name: str = "Ada Clipper", n: int = 1) -> InstructorAssigned:
    instructor = Instructor(id=UUID(int=100 + n), name=name, specialty="fades and shaves")
    return InstructorAssigned(student_id=ANN, program=BARBER, assignment_id=UUID(int=200 + n), instructor=instructor)


UNAVAILABLE = InstructorUnavailable(student_id=ANN, program=BARBER)
LINKS = MiladyEnrolled(
    student_id=ANN,
    program=BARBER,
    milady_enrollment_id="mil_1",
    links=[CourseLink(title="Theory 1", url="https://milady.example.com/theory-1?a=1&b=2")],
)
