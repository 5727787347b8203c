"""One round of one message: look again whether it is wanted, hand it over once, write down what became of it.

docs/decisions/0006-mail-once.md says why a message whose outcome nobody knows is not sent again by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from prometheus_client import Counter
from sqlalchemy import Row

from contracts.notifications import NotificationFailed, NotificationSent
from contracts.people import Contact
from kit.db.database import Database, is_down
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.jobs.jobs import Job
from kit.runtime.backoff import Backoff
from notifications import alerts, db, documents, domain, rendering
from notifications.considering import consider
from notifications.documents import Document
from notifications.domain import Rules
from notifications.mailer import Mailer
from notifications.message import Hold, Message
from notifications.outcome import HandOver, Refused, Unknown, Unreachable
from notifications.rendering import Letterhead
from notifications.webhook import Webhook

NOTIFICATIONS = Counter(
    "bursar_notifications_total", "Messages by what became of them", ["template", "channel", "outcome"]
)

_UNDER_WAY = ("waiting", "handed_over")
_WRITE_DOWN = (0.1, 0.5, 2.0, 5.0)
"""Seconds between the tries to write down that a message was taken: better late than `unknown`."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a round. `nothing`: it was over before it began."""

    status: Literal["sent", "skipped", "no_contact", "unknown", "nothing"]
    code: str | None = None


class _Superfluous(Exception):
    """It must not go after all."""


class _Elsewhere(Exception):
    """Another round has it."""


class Sending:
    """Performs the jobs of kind `notification`."""

    # three days of a mail server that is away: 300 attempts, most of them a quarter of an hour apart
    backoff = Backoff(first=timedelta(seconds=1), longest=timedelta(minutes=15), attempts=300)

    def __init__(
        self,
        database: Database,
        *,
        rules: Rules,
        mailer: Mailer,
        webhook: Webhook | None,
        letterhead: Letterhead,
        admins: Sequence[str],
    ) -> None:
        self._database = database
        self._rules = rules
        self._mailer = mailer
        self._webhook = webhook
        self._letterhead = letterhead
        self._admins = [rendering.address_of(Contact(email=admin)) for admin in admins]

    # --- acting -------------------------------------------------------------------------------------------------------

    async def perform(self, job: Job) -> Outcome:
        notification_id, round = _ids(job)
        async with self._database.transaction() as connection:
            row = await db.read(connection, notification_id)
            if row is None or row.round != round:
                return Outcome(status="nothing")
            if row.status == "handed_over":
                # an attempt before this one died on the way: what it had not written down, nobody knows
                return Outcome(status="sent") if row.sent_at else Outcome(status="unknown", code="outcome_unknown")
            if row.status != "waiting":
                return Outcome(status="nothing")
            message = await self._message(connection, row)
            if message is None:
                return Outcome(status="skipped", code=db.SUPERSEDED)
            contact = await self._contact(connection, message)
            if message.recipient == "sponsor":
                message = await self._naming_the_student(connection, message)
            attached = await documents.read(connection, message.attached) if message.attached else []
        if message.recipient != "admin" and contact is None:
            return Outcome(status="no_contact", code="no_contact")
        try:
            await self._send(message, contact, attached, round)
        except _Elsewhere:
            return Outcome(status="nothing")
        except _Superfluous as why:
            return Outcome(status="skipped", code=str(why))
        except Unknown:
            return Outcome(status="unknown", code="outcome_unknown")
        except (Unreachable, Refused):
            await self._take_back(message.id)
            raise
        await self._write_down(message.id)
        return Outcome(status="sent")

    async def _message(self, connection: Any, row: Row[Any]) -> Message | None:
        """What the message says now. None: it is not true any more."""
        if row.about is None:
            return await self._from_row(connection, row)
        known = await db.load(connection, row.about)
        found = domain.messages(known, self._rules)
        wanted = domain.wanted(found, await db.told(connection, domain.marks(found)))
        return next((message for message in wanted if message.key == row.key), None)

    async def _from_row(self, connection: Any, row: Row[Any]) -> Message | None:
        if row.told["code"] == "no_contact":
            waiting = await db.read(connection, UUID(row.told["notification_id"]))
            if waiting is None or waiting.status != "no_contact":
                return None
        return Message(
            key=row.key,
            template=row.template,
            recipient=row.recipient,
            channel=row.channel,
            about=None,
            student_id=None,
            told=row.told,
        )

    async def _contact(self, connection: Any, message: Message) -> Contact | None:
        if message.recipient == "student" and message.student_id:
            return await db.contact_of(connection, message.student_id) or message.contact
        return message.contact

    async def _naming_the_student(self, connection: Any, message: Message) -> Message:
        """A sponsor has many students. What they told us last comes before what was typed at a checkout."""
        contact = await db.contact_of(connection, message.student_id) if message.student_id else None
        if contact is None or contact.name is None:
            return message
        return replace(message, told={**message.told, "student": contact.name})

    async def _send(self, message: Message, contact: Contact | None, attached: Sequence[Document], round: int) -> None:
        attachment = ", ".join(document.filename for document in attached) or None

        async def hand_over() -> None:
            async with self._database.transaction() as connection:
                now = utc_now()
                if not await db.hand_over(connection, message.id, round=round, now=now, attachment=attachment):
                    raise _Elsewhere
                if not await db.carry(connection, message):
                    raise _Superfluous(db.SUPERSEDED)

        if message.channel == "webhook":
            if self._webhook is None:
                raise _Superfluous("not_configured")
            await self._webhook.send(rendering.chat_text(message.told), key=str(message.id), hand_over=hand_over)
        else:
            await self._mail(message, contact, attached, hand_over)

    async def _mail(
        self, message: Message, contact: Contact | None, attached: Sequence[Document], hand_over: HandOver
    ) -> None:
        to = [rendering.address_of(contact)] if contact else self._admins
        if not to:
            raise _Superfluous("not_configured")
        # a sponsor's name is that of a program or an office, and nobody says hello to those
        name = contact.name if contact and message.recipient == "student" else None
        rendered = rendering.render(message.template, message.told, name=name, letterhead=self._letterhead)
        sender = self._letterhead.sender
        mail = rendering.compose(
            rendered,
            to=to,
            letterhead=self._letterhead,
            message_id=f"<{message.id}@{sender.rpartition('@')[2]}>",
            at=utc_now(),
            attached=attached,
        )
        recipients = [address.addr_spec for address in to]
        await self._mailer.send(mail, sender=sender, recipients=recipients, hand_over=hand_over)

    async def _take_back(self, notification_id: UUID) -> None:
        async with self._database.transaction() as connection:
            await db.take_back(connection, notification_id, now=utc_now())

    async def _write_down(self, notification_id: UUID) -> None:
        for pause in (*_WRITE_DOWN, None):
            try:
                async with self._database.transaction() as connection:
                    await db.accepted(connection, notification_id, now=utc_now())
                return
            except Exception as error:
                if pause is None or not is_down(error):
                    raise
                await asyncio.sleep(pause)

    # --- writing down -------------------------------------------------------------------------------------------------

    async def record(self, job: Job, result: Outcome, uow: UnitOfWork) -> None:
        notification_id, _ = _ids(job)
        if result.status == "nothing":
            return
        row = await self._locked(notification_id, uow)
        if row is None or row.status not in _UNDER_WAY:
            return
        NOTIFICATIONS.labels(row.template, row.channel, result.status).inc()
        more = {"code": result.code, "attempts": row.attempts + job.attempt}
        match result.status:
            case "sent":
                await db.settle(uow.db, row.id, status="sent", now=uow.now, **more)
                await uow.publish(
                    NotificationSent(**_told_of(row)), id=f"{row.id}/notification.sent.v1", subject=_subject(row)
                )
                await self._what_follows(row, uow)
            case "unknown":
                await db.settle(uow.db, row.id, status="unknown", now=uow.now, **more)
                await self._failed(job, row, "outcome_unknown", uow)
            case "no_contact":
                await self._wait_for_contact(row, uow, more)
            case _:
                await db.settle(uow.db, row.id, status="skipped", now=uow.now, **more)

    async def give_up(self, job: Job, error: BaseException, uow: UnitOfWork) -> None:
        notification_id, round = _ids(job)
        row = await self._locked(notification_id, uow)
        if row is None or row.round != round or row.status not in _UNDER_WAY:
            return
        if row.status == "handed_over":
            # it was writing down that failed, not sending
            outcome = Outcome(status="sent") if row.sent_at else Outcome(status="unknown", code="outcome_unknown")
            await self.record(job, outcome, uow)
            return
        code = error.code if isinstance(error, Refused) else "gave_up"
        NOTIFICATIONS.labels(row.template, row.channel, "failed").inc()
        attempts = row.attempts + job.attempt
        await db.settle(uow.db, row.id, status="failed", now=uow.now, code=code, attempts=attempts)
        message = await self._message(uow.db, row)
        if message is not None:
            await db.carry(uow.db, message)
        await self._failed(job, row, code, uow)

    async def _locked(self, notification_id: UUID, uow: UnitOfWork) -> Row[Any] | None:
        """The message, with what it is derived from. In this order, as everybody: facts, contact, message."""
        row = await db.read(uow.db, notification_id)
        if row is None:
            return None
        if row.about is not None:
            await db.lock_facts(uow.db, row.about)
        if row.about_student_id is not None:
            await db.lock_contact(uow.db, row.about_student_id)
        return await db.read(uow.db, notification_id, lock=True)

    async def _failed(self, job: Job, row: Row[Any], code: str, uow: UnitOfWork) -> None:
        attempts = row.attempts + job.attempt
        await uow.publish(
            NotificationFailed(**_told_of(row), code=code, attempts=max(attempts, 1)),
            id=f"{row.id}/{row.round}/notification.failed.v1",
            subject=_subject(row),
        )
        await self._alert(row, f"undelivered/{row.round}", code, Hold.NOW, uow)

    async def _what_follows(self, row: Row[Any], uow: UnitOfWork) -> None:
        """What this message had to tell first, or what came while it was on its way."""
        if row.about is not None:
            await consider(await db.load(uow.db, row.about), self._rules, uow)

    async def _wait_for_contact(self, row: Row[Any], uow: UnitOfWork, more: dict[str, Any]) -> None:
        await db.settle(uow.db, row.id, status="no_contact", now=uow.now, **more)
        message = await self._message(uow.db, row)
        if message is None or await self._contact(uow.db, message):
            await db.again(uow.db, row.id, before=("no_contact",), now=uow.now)  # it came meanwhile
        else:
            await self._alert(row, "no-contact", "no_contact", Hold.OVERDUE, uow)

    async def _alert(self, row: Row[Any], key: str, code: str, hold: Hold, uow: UnitOfWork) -> None:
        """Not over the channel that has just failed, and not about an alert about an alert."""
        if row.template == alerts.UNDELIVERED:
            return
        channels = [c for c in self._rules.alert_channels if row.recipient != "admin" or c != row.channel]
        found = alerts.undelivered(
            key=key, notification_id=row.id, template=row.template, code=code, channels=channels, hold=hold
        )
        await db.want(uow, found, due={message.id: uow.now + self._rules.delay(hold) for message in found})


def _ids(job: Job) -> tuple[UUID, int]:
    return UUID(job.payload["notification_id"]), job.payload["round"]


def _told_of(row: Row[Any]) -> dict[str, Any]:
    return {
        "notification_id": row.id,
        "template": row.template,
        "channel": row.channel,
        "recipient": row.recipient,
        "student_id": row.about_student_id,
        "purchase_id": row.purchase_id,
    }


def _subject(row: Row[Any]) -> str:
    return str(row.purchase_id or row.about_student_id or row.id)
