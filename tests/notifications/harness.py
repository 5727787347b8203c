"""The service without a broker: events go straight to its consumers, and mails go out when a test says so."""

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
from tests.deliveries import deliver, deliver_together

from contracts.checkout import ReceiptIssued, StudentUpdated
from contracts.enrollment import EnrollmentEvent
from contracts.envelope import Envelope, Event
from contracts.instructor_assignment import Instructor, InstructorAssigned, InstructorUnavailable
from contracts.milady_integration import CourseLink, MiladyEnrolled
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Contact, Program, enrollment_uuid
from kit.db.database import Database
from kit.jobs.worker import CONCURRENCY, JobWorker
from kit.runtime.backoff import Backoff
from notifications import db
from notifications.consumers import consumers
from notifications.delivery import Delivery
from notifications.domain import Rules
from notifications.mailer import Mailer
from notifications.renderer import Branding
from notifications.settings import RelaySettings
from notifications.webhook import Webhook
from testkit.smtp import MailCatcher

ANN = UUID("00000000-0000-4000-8000-000000000001")
BARBER = Program(slug="barber-apprenticeship", id="prog-1", name="Barber Apprenticeship", provider="milady")
ENROLLMENT_ID = enrollment_uuid(ANN, BARBER.slug)
START = datetime(2026, 3, 3, 14, 5, tzinfo=UTC)
EMAIL = "ann@student.example.com"
ADMIN = "admin@school.example.com"
NO_DELAYS = Rules(
    receipt_settle=timedelta(),
    receipt_document=timedelta(),
    failure_settle=timedelta(),
    refund_grace=timedelta(),
    welcome_grace=timedelta(),
    no_contact=timedelta(),
    alert_channels=("email",),
    link_hosts=frozenset({".example.com"}),
)


_MOST_ROUNDS = 1000
_TABLES = [
    *("topics", "notifications", "contacts", "documents"),
    *("outbox_messages", "outbox_due", "inbox", "facts", "fact_keys", "jobs", "idempotency_keys", "erased_identifiers"),
]
_DELETE_ALL = ", ".join(f"{table}_ AS (DELETE FROM {table})" for table in _TABLES)


def settings_of(mail: MailCatcher, **overrides: Any) -> RelaySettings:
    settings: dict[str, Any] = {
        "database_url": SecretStr("postgresql://nobody"),
        "amqp_url": SecretStr("amqp://nobody"),
        "smtp_host": mail.host,
        "smtp_port": mail.port,
        "mail_from": "Elevate Barber School <enrollment@school.example.com>",
        "support_email": "help@school.example.com",
        "seller_name": "Elevate Barber School",
        "portal_url": "https://portal.example.com/",
        "admin_emails": (ADMIN,),
        "smtp_timeout_seconds": 5,
    }
    return RelaySettings(**(settings | overrides))


@dataclass
class Harness:
    database: Database
    mail: MailCatcher
    rules: Rules = NO_DELAYS
    settings: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = None

    def __post_init__(self) -> None:
        settings = settings_of(self.mail, **self.settings)
        self.delivery = Delivery(
            self.database,
            rules=self.rules,
            mailer=Mailer(settings),
            webhook=Webhook(self.webhook_url) if self.webhook_url else None,
            branding=Branding.of(settings),
            admins=settings.admin_emails,
        )
        self.delivery.backoff = Backoff(
            first=timedelta(milliseconds=50), longest=timedelta(milliseconds=100), attempts=6
        )
        self._router = consumers(self.rules)
        self._received = 0

    async def receive(self, *events: Event | Envelope[Event]) -> None:
        """Each in a transaction of its own, as from the broker. A repeated event id changes nothing."""
        for event in events:
            envelope = event if isinstance(event, Envelope) else self.envelope(event)
            await deliver(self.database, self._router, "notifications", envelope, now=None)

    async def receive_together(self, envelopes: Sequence[Envelope[Event]]) -> None:
        """Those of each queue in one batch."""
        await deliver_together(self.database, self._router, "notifications", envelopes)

    def envelope(self, event: Event) -> Envelope[Event]:
        self._received += 1
        return envelope_of(self._received, event)

    async def deliver_due(self) -> list[EmailMessage]:
        """Delivers until nothing is due. Returns all mails so far."""
        worker = JobWorker(self.database, "notifications", {db.JOB_KIND: self.delivery})
        for _ in range(_MOST_ROUNDS):
            if due := await worker.take(CONCURRENCY):
                await asyncio.gather(*(worker.attempt(job) for job in due))
            elif await self.nothing_due():
                return self.mail.messages()
            else:
                await asyncio.sleep(0.02)  # a retry is due soon
        raise AssertionError("messages are still due")

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

    async def published(self) -> list[str]:
        async with self.database.transaction() as connection:
            return list(await connection.scalars(text("SELECT message_key FROM outbox_messages ORDER BY id")))

    async def reset(self) -> None:
        async with self.database.transaction() as connection:
            await connection.execute(text(f"WITH {_DELETE_ALL} SELECT"))
        for file in self.mail.files():
            file.unlink()


def envelope_of(number: int, event: Event) -> Envelope[Event]:
    """The `number`-th event of a history, in the order in which the facts occurred."""
    return Envelope(
        id=f"evt_{number}/{event.type}",
        source="tests",
        subject="test",
        time=START + timedelta(minutes=number),
        data=event,
    )


def subjects(mails: Iterable[EmailMessage], to: str = EMAIL) -> list[str]:
    return sorted(str(mail["Subject"]).strip() for mail in mails if to in str(mail["X-Envelope-To"]))


def bodies(mail: EmailMessage) -> tuple[str, str]:
    """The text and the HTML."""
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None and html is not None
    return plain.get_content(), html.get_content()


def body_text(mail: EmailMessage) -> str:
    """The text, on one line."""
    return " ".join(bodies(mail)[0].split())


def one(mails: Sequence[EmailMessage], word: str) -> EmailMessage:
    """The only mail with this word in its subject."""
    found = [mail for mail in mails if word in str(mail["Subject"])]
    assert len(found) == 1, [str(mail["Subject"]) for mail in mails]
    return found[0]


# --- events of the other services -------------------------------------------------------------------------------------

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
    """The attachments by file name."""
    return {str(part.get_filename()): part.get_content() for part in mail.iter_attachments()}


def step(kind: type[EnrollmentEvent], revision: int, reason: str | None = None) -> EnrollmentEvent:
    return kind(
        enrollment_id=ENROLLMENT_ID,
        student_id=ANN,
        program=BARBER,
        purchase_id=UUID(int=1),
        revision=revision,
        reason=reason,
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
