"""Delivers a notification: validates it again, sends it at most once, and records the outcome.

docs/decisions/0006-mail-at-most-once.md explains why a message with an unknown outcome is not sent again automatically.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.notifications import NotificationFailed, NotificationSent
from contracts.people import Contact
from kit.db.database import Database, is_down
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.personal_data import erased
from kit.runtime.backoff import Backoff
from notifications import alerts, db, documents, domain, renderer
from notifications.db import NotificationRow, Planned
from notifications.delivery_errors import HandOver, OutcomeUnknown, Rejected, Unreachable
from notifications.documents import Document
from notifications.domain import Rules
from notifications.mailer import Mailer
from notifications.message import Message
from notifications.planner import plan
from notifications.renderer import Branding
from notifications.webhook import Webhook

NOTIFICATIONS = Counter(
    "bursar_notifications_total", "Notifications by outcome of a delivery", ["template", "channel", "outcome"]
)

ERASED = "student_erased"
"""The code of a message that was skipped because its student was erased."""
_IN_PROGRESS = ("waiting", "handed_over")
_ACCEPTED_RETRIES = (0.1, 0.5, 2.0, 5.0)
"""Seconds between attempts to record that a message was accepted; if all fail, its outcome counts as unknown."""


@dataclass(frozen=True, kw_only=True)
class DeliveryResult:
    """`noop`: the round was over before it began."""

    status: Literal["sent", "skipped", "no_contact", "unknown", "noop"]
    code: str | None = None


class _Skipped(Exception):
    """The message must not go out; the argument is the code."""


class _RoundOver(Exception):
    """Another worker has handed the message over."""


class Delivery:
    """Handles the jobs of kind `notification`."""

    # enough for three days without a mail server: 300 attempts, most of them a quarter of an hour apart
    backoff = Backoff(first=timedelta(seconds=1), longest=timedelta(minutes=15), attempts=300)

    def __init__(
        self,
        database: Database,
        *,
        rules: Rules,
        mailer: Mailer,
        webhook: Webhook | None,
        branding: Branding,
        admins: Sequence[str],
    ) -> None:
        self._database = database
        self._rules = rules
        self._mailer = mailer
        self._webhook = webhook
        self._branding = branding
        self._admins = [renderer.address_of(Contact(email=admin)) for admin in admins]

    # --- sending ------------------------------------------------------------------------------------------------------

    async def perform(self, job: Job) -> DeliveryResult:
        notification_id, round = _ids(job)
        async with self._database.transaction() as connection:
            row = await db.read(connection, notification_id)
            if row is None or row.round != round:
                return DeliveryResult(status="noop")
            if row.status == "handed_over":  # an earlier attempt ended before it recorded the outcome
                return _result_of_lost_attempt(row)
            if row.status != "waiting":
                return DeliveryResult(status="noop")
            message = await self._message(connection, row)
            if message is None:
                return DeliveryResult(status="skipped", code=db.SUPERSEDED)
            contact = await self._contact(connection, message)
            if message.recipient == "sponsor":
                message = await self._with_student_name(connection, message)
            attachments = await documents.read(connection, message.document_ids) if message.document_ids else []
            unreachable = message.recipient != "admin" and contact is None
            if unreachable and message.student_id and await erased.is_erased(connection, message.student_id):
                return DeliveryResult(status="skipped", code=ERASED)  # nobody is asked to add an address
        if unreachable:
            return DeliveryResult(status="no_contact", code="no_contact")
        try:
            await self._send(message, contact, attachments, round)
        except _RoundOver:
            return DeliveryResult(status="noop")
        except _Skipped as reason:
            return DeliveryResult(status="skipped", code=str(reason))
        except OutcomeUnknown:
            return DeliveryResult(status="unknown", code="outcome_unknown")
        except (Unreachable, Rejected):
            async with self._database.transaction() as connection:
                await db.release(connection, message.id, now=utc_now())
            raise
        await self._mark_accepted(message.id)
        return DeliveryResult(status="sent")

    async def _message(self, connection: AsyncConnection, row: NotificationRow) -> Message | None:
        """What the message says now. None: it is out of date."""
        if row.facts_key is None:
            return await self._stored_message(connection, row)
        facts = await db.load(connection, row.facts_key, self._rules.policy)
        found = domain.candidates(facts, self._rules)
        messages = domain.sendable(found, await db.covered_topics(connection, domain.relevant_topics(found)))
        return next((message for message in messages if message.key == row.key), None)

    async def _stored_message(self, connection: AsyncConnection, row: NotificationRow) -> Message | None:
        """An alert about another notification: it has its context in its own row."""
        context = row.context or {}
        if context["code"] == "no_contact":
            subject = await db.read(connection, UUID(context["notification_id"]))
            if subject is None or subject.status != "no_contact":
                return None
        return Message(
            key=row.key,
            template=row.template,
            recipient=row.recipient,
            channel=row.channel,
            facts_key=None,
            student_id=None,
            context=context,
        )

    async def _contact(self, connection: AsyncConnection, message: Message) -> Contact | None:
        if message.recipient == "student" and message.student_id:
            return await db.contact_of(connection, message.student_id) or message.contact
        return message.contact

    async def _with_student_name(self, connection: AsyncConnection, message: Message) -> Message:
        """A sponsor has many students. The student's current name replaces the one typed at checkout."""
        contact = await db.contact_of(connection, message.student_id) if message.student_id else None
        if contact is None or contact.name is None:
            return message
        return replace(message, context={**message.context, "student": contact.name})

    async def _send(
        self, message: Message, contact: Contact | None, attachments: Sequence[Document], round: int
    ) -> None:
        attachment = ", ".join(document.filename for document in attachments) or None

        async def hand_over() -> None:
            async with self._database.transaction() as connection:
                now = utc_now()
                if not await db.mark_handed_over(connection, message.id, round=round, now=now, attachment=attachment):
                    raise _RoundOver
                if not await db.claim_topics(connection, message):
                    raise _Skipped(db.SUPERSEDED)

        if message.channel == "webhook":
            if self._webhook is None:
                raise _Skipped("not_configured")
            await self._webhook.send(renderer.chat_text(message.context), key=str(message.id), hand_over=hand_over)
        else:
            await self._mail(message, contact, attachments, hand_over)

    async def _mail(
        self, message: Message, contact: Contact | None, attachments: Sequence[Document], hand_over: HandOver
    ) -> None:
        to = [renderer.address_of(contact)] if contact else self._admins
        if not to:
            raise _Skipped("not_configured")
        # a sponsor contact's name is often that of a program or an office, so only students are greeted by name
        name = contact.name if contact and message.recipient == "student" else None
        rendered = renderer.render(message.template, message.context, name=name, branding=self._branding)
        sender = self._branding.sender
        mail = renderer.compose(
            rendered,
            to=to,
            branding=self._branding,
            message_id=f"<{message.id}@{sender.rpartition('@')[2]}>",
            at=utc_now(),
            attachments=attachments,
        )
        recipients = [address.addr_spec for address in to]
        await self._mailer.send(mail, sender=sender, recipients=recipients, hand_over=hand_over)

    async def _mark_accepted(self, notification_id: UUID) -> None:
        for pause in (*_ACCEPTED_RETRIES, None):
            try:
                async with self._database.transaction() as connection:
                    await db.mark_accepted(connection, notification_id, now=utc_now())
                return
            except Exception as error:
                if pause is None or not is_down(error):
                    raise
                await asyncio.sleep(pause)

    # --- recording ----------------------------------------------------------------------------------------------------

    async def record(self, job: Job, result: DeliveryResult, uow: UnitOfWork) -> None:
        notification_id, _ = _ids(job)
        if result.status == "noop":
            return
        row = await self._lock(notification_id, uow)
        if row is None or row.status not in _IN_PROGRESS:
            return
        NOTIFICATIONS.labels(row.template, row.channel, result.status).inc()
        attempts = row.attempts + job.attempt
        await db.set_status(uow.db, row.id, status=result.status, code=result.code, attempts=attempts, now=uow.now)
        match result.status:
            case "sent":
                await uow.publish(
                    NotificationSent(**_event_fields(row)), id=f"{row.id}/notification.sent.v1", subject=_subject(row)
                )
                await self._plan_next(row, uow)
            case "unknown":
                await self._publish_failure(row, "outcome_unknown", attempts, uow)
            case "no_contact":
                await self._wait_for_contact(row, uow)
            case _:
                pass

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        notification_id, round = _ids(job)
        row = await self._lock(notification_id, uow)
        if row is None or row.round != round or row.status not in _IN_PROGRESS:
            return
        if row.status == "handed_over":  # recording failed, not sending
            await self.record(job, _result_of_lost_attempt(row), uow)
            return
        code = error.code if isinstance(error, Rejected) else "gave_up"
        NOTIFICATIONS.labels(row.template, row.channel, "failed").inc()
        attempts = row.attempts + job.attempt
        await db.set_status(uow.db, row.id, status="failed", code=code, attempts=attempts, now=uow.now)
        message = await self._message(uow.db, row)
        if message is not None:
            await db.claim_topics(uow.db, message)
        await self._publish_failure(row, code, attempts, uow)

    async def _lock(self, notification_id: UUID, uow: UnitOfWork) -> NotificationRow | None:
        """Always in the same order: facts, contact, notification."""
        row = await db.read(uow.db, notification_id)
        if row is None:
            return None
        if row.facts_key is not None:
            await db.lock_facts(uow.db, row.facts_key)
        if row.about_student_id is not None:
            await db.lock_contacts(uow.db, [row.about_student_id])
        return await db.read(uow.db, notification_id, lock=True)

    async def _publish_failure(self, row: NotificationRow, code: str, attempts: int, uow: UnitOfWork) -> None:
        await uow.publish(
            NotificationFailed(**_event_fields(row), code=code, attempts=max(attempts, 1)),
            id=f"{row.id}/{row.round}/notification.failed.v1",
            subject=_subject(row),
        )
        await self._alert(row, f"undelivered/{row.round}/{row.id}", code, uow)

    async def _plan_next(self, row: NotificationRow, uow: UnitOfWork) -> None:
        """Messages that had to wait for this one, or whose facts arrived while it was sent."""
        if row.facts_key is not None:
            facts = await db.load(uow.db, row.facts_key, self._rules.policy)
            await plan([(facts, uow.cause)], self._rules, uow)

    async def _wait_for_contact(self, row: NotificationRow, uow: UnitOfWork) -> None:
        message = await self._message(uow.db, row)
        if message is None or await self._contact(uow.db, message):  # an address has arrived in the meantime
            await db.requeue(uow.db, row.id, from_statuses=["no_contact"], now=uow.now)
        else:
            found = alerts.without_contact(
                notification_id=row.id,
                template=row.template,
                recipient=row.recipient,
                student_id=row.about_student_id,
                channels=self._rules.alert_channels,
            )
            await self._schedule(found, uow)

    async def _alert(self, row: NotificationRow, key: str, code: str, uow: UnitOfWork) -> None:
        """Not through the channel that failed, and not about an alert of this kind."""
        if row.template == alerts.UNDELIVERED:
            return
        channels = [c for c in self._rules.alert_channels if row.recipient != "admin" or c != row.channel]
        found = alerts.undelivered(key=key, notification_id=row.id, template=row.template, code=code, channels=channels)
        await self._schedule(found, uow)

    async def _schedule(self, found: Sequence[Message], uow: UnitOfWork) -> None:
        due = [uow.now + self._rules.duration(message.delay) for message in found]
        await db.schedule(uow, [Planned(message=m, due=at, cause=uow.cause) for m, at in zip(found, due, strict=True)])


def _ids(job: Job) -> tuple[UUID, int]:
    return UUID(job.payload["notification_id"]), job.payload["round"]


def _result_of_lost_attempt(row: NotificationRow) -> DeliveryResult:
    if row.sent_at:
        return DeliveryResult(status="sent")
    return DeliveryResult(status="unknown", code="outcome_unknown")


def _event_fields(row: NotificationRow) -> dict[str, Any]:
    return {
        "notification_id": row.id,
        "template": row.template,
        "channel": row.channel,
        "recipient": row.recipient,
        "student_id": row.about_student_id,
        "purchase_id": row.purchase_id,
    }


def _subject(row: NotificationRow) -> str:
    return str(row.purchase_id or row.about_student_id or row.id)
