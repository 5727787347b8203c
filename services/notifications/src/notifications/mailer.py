"""Hands a mail to the SMTP server, and says honestly what is known of it afterward."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPRecipientRefused, SMTPResponseException

from notifications.outcome import HandOver, Refused, Unknown, Unreachable
from notifications.settings import RelaySettings

ANSWER_SECONDS = 25.0
"""For the server's answer to the whole message. (RFC 5321, 4.5.3.2.6, asks for ten minutes, which would hold a place
in the performer for as long; what takes longer than this counts as unknown.)"""

_LOST = (SMTPException, OSError, TimeoutError)


class Mailer:
    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings

    async def send(self, mail: bytes, *, sender: str, recipients: Sequence[str], hand_over: HandOver) -> None:
        """Returns when the server has said that it has the mail, for at least one of the recipients.

        Raises Unreachable or Refused when it does not have it, Unknown when the connection was lost after the mail was
        handed over.
        """
        server = self._server()
        try:
            await _envelope(server, sender, recipients)
            await hand_over()
            await _data(server, mail)
        finally:
            with contextlib.suppress(*_LOST):
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
    """Everything before the mail itself. Only what is said of a recipient is final: the rest can be mended by us."""
    refused: list[SMTPRecipientRefused] = []
    try:
        await server.connect()
        await server.mail(sender)
        for recipient in recipients:
            try:
                await server.rcpt(recipient)
            except SMTPRecipientRefused as error:
                refused.append(error)
    except SMTPResponseException as error:
        raise Unreachable(f"smtp said {error.code}") from error
    except _LOST as error:
        raise Unreachable(f"smtp away: {type(error).__name__}") from error
    if len(refused) == len(recipients):
        later = [error for error in refused if error.code < 500]
        if later:
            raise Unreachable(f"smtp said {later[0].code}") from later[0]
        raise Refused(f"smtp_{refused[0].code}") from refused[0]


async def _data(server: SMTP, mail: bytes) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await server.data(mail, timeout=ANSWER_SECONDS)
    except SMTPResponseException as error:
        if error.code >= 500:
            raise Refused(f"smtp_{error.code}") from error
        if error.code >= 400:
            raise Unreachable(f"smtp said {error.code}") from error
        raise Unknown from error
    except _LOST as error:
        raise Unknown from error
