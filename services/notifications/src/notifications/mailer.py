"""Sends a mail over SMTP and reports whether the server has it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPRecipientRefused, SMTPResponseException

from notifications.delivery_errors import HandOver, OutcomeUnknown, Rejected, Unreachable
from notifications.settings import RelaySettings

ANSWER_SECONDS = 25.0
"""For the server's answer to the whole message; after that the outcome is unknown. (RFC 5321, 4.5.3.2.6, asks for ten
minutes, but one mail must not occupy a job worker for so long.)"""

_CONNECTION_ERRORS = (SMTPException, OSError, TimeoutError)


class Mailer:
    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings

    async def send(self, mail: bytes, *, sender: str, recipients: Sequence[str], hand_over: HandOver) -> None:
        """Returns when the server has accepted the mail for at least one recipient.

        Raises Unreachable or Rejected if it has not, OutcomeUnknown if the connection was lost after the hand-over.
        """
        server = self._server()
        try:
            await _envelope(server, sender, recipients)
            await hand_over()
            await _data(server, mail)
        finally:
            with contextlib.suppress(*_CONNECTION_ERRORS):
                await server.quit(timeout=1)
            server.close()

    async def check(self) -> None:
        """Connects and signs in. Raises Unreachable if the server does not let us."""
        server = self._server()
        try:
            await server.connect()
            await server.noop()
        except SMTPResponseException as error:
            raise Unreachable(f"smtp answered {error.code}") from error
        except _CONNECTION_ERRORS as error:
            raise Unreachable(f"smtp connection failed: {type(error).__name__}") from error
        finally:
            with contextlib.suppress(*_CONNECTION_ERRORS):
                await server.quit(timeout=1)
            server.close()

    def _server(self) -> SMTP:
        settings = self._settings
        password = settings.smtp_password
        return SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            use_tls=settings.tls == "tls",
            start_tls=settings.tls == "starttls",
            username=settings.smtp_username,
            password=password.get_secret_value() if password else None,
            local_hostname=settings.sender.rpartition("@")[2],
            timeout=settings.smtp_timeout_seconds,
        )


async def _envelope(server: SMTP, sender: str, recipients: Sequence[str]) -> None:
    """Everything before the mail itself. Only a rejected recipient is final; other errors can be fixed on our side."""
    rejected: list[SMTPRecipientRefused] = []
    try:
        await server.connect()
        await server.mail(sender)
        for recipient in recipients:
            try:
                await server.rcpt(recipient)
            except SMTPRecipientRefused as error:
                rejected.append(error)
    except SMTPResponseException as error:
        raise Unreachable(f"smtp answered {error.code}") from error
    except _CONNECTION_ERRORS as error:
        raise Unreachable(f"smtp connection failed: {type(error).__name__}") from error
    if len(rejected) == len(recipients):
        temporary = [error for error in rejected if error.code < 500]
        if temporary:
            raise Unreachable(f"smtp answered {temporary[0].code}") from temporary[0]
        raise Rejected(f"smtp_{rejected[0].code}") from rejected[0]


async def _data(server: SMTP, mail: bytes) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await server.data(mail, timeout=ANSWER_SECONDS)
    except SMTPResponseException as error:
        if error.code >= 500:
            raise Rejected(f"smtp_{error.code}") from error
        if error.code >= 400:
            raise Unreachable(f"smtp answered {error.code}") from error
        raise OutcomeUnknown from error
    except _CONNECTION_ERRORS as error:
        raise OutcomeUnknown from error
