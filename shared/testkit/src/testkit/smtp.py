"""A mail catcher: an SMTP server on 127.0.0.1 that writes each message to an .eml file, with faults on demand.

with MailCatcher(folder) as mail:
    mail.order(Fault.DROP_AFTER_DATA)      # for the next message only
    ...                                    # send to 127.0.0.1:mail.port
    assert mail.messages()[0]["Subject"] == "Welcome"
"""

import asyncio
import email.policy
import time
from collections import deque
from email.message import EmailMessage
from email.parser import BytesParser
from enum import Enum
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from testkit.processes import free_ports


class Fault(Enum):
    """How one message fails."""

    REFUSE = "451 at RCPT TO: nothing is stored, the client may retry"
    REJECT = "550 at RCPT TO: nothing is stored, retrying is pointless"
    DROP_AFTER_DATA = "the message is stored, then the connection is closed without an answer"
    DROP_BEFORE_STORE = "nothing is stored, and the connection is closed without an answer"
    SLOW = "the message is stored at once, the answer takes `seconds`"


class MailCatcher:
    """Runs on its own thread from `start` to `stop`; port 0 chooses a random one."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = port or free_ports(1)[0]
        self._faults: deque[tuple[Fault, float]] = deque()
        self._count = 0
        self._controller: Controller | None = None
        self._parsed: dict[Path, EmailMessage] = {}

    def start(self) -> "MailCatcher":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._controller = Controller(_Handler(self), hostname=self.host, port=self.port, server_hostname="mail.test")
        self._controller.start()
        return self

    def stop(self) -> None:
        """Refuses connections until `start` listens on the same port again."""
        if self._controller:
            self._controller.stop()
            self._controller = None

    def reset(self) -> None:
        """Deletes the stored messages and the queue of faults; starts it if it was stopped."""
        for file in self.files():
            file.unlink()
        self._faults.clear()
        self._parsed.clear()
        if self._controller is None:
            self.start()

    def __enter__(self) -> "MailCatcher":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def order(self, fault: Fault, times: int = 1, seconds: float = 0) -> None:
        """Adds this fault for `times` messages to the queue of faults."""
        self._faults.extend([(fault, seconds)] * times)

    def files(self) -> list[Path]:
        """The stored messages, oldest first."""
        return sorted(self.folder.glob("*.eml"))

    def messages(self) -> list[EmailMessage]:
        """The stored messages, parsed; X-Envelope-To contains the envelope's recipients."""
        return [self._message(file) for file in self.files()]

    def _message(self, file: Path) -> EmailMessage:
        """Parsed once: tests poll, and a file does not change."""
        if file not in self._parsed:
            parser: BytesParser[EmailMessage] = BytesParser(EmailMessage, policy=email.policy.default)
            self._parsed[file] = parser.parsebytes(file.read_bytes())
        return self._parsed[file]

    def next_fault(self) -> tuple[Fault | None, float]:
        """Takes the fault of the current message from the queue."""
        return self._faults.popleft() if self._faults else (None, 0)

    def peek_fault(self) -> Fault | None:
        """The fault of the next message."""
        return self._faults[0][0] if self._faults else None

    def store(self, envelope: Envelope) -> Path:
        """Writes one file, complete once its name ends in .eml."""
        self._count += 1
        file = self.folder / f"{time.time_ns():020}-{self._count:05}.eml"
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        content = envelope.original_content or b""
        partial = file.with_suffix(".partial")
        partial.write_bytes(head.encode() + content)
        return partial.replace(file)


class _Handler:
    """aiosmtpd calls its methods by name."""

    def __init__(self, catcher: MailCatcher) -> None:
        self._catcher = catcher

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._catcher.peek_fault() in (Fault.REFUSE, Fault.REJECT):
            fault, _ = self._catcher.next_fault()
            return "451 4.3.0 Try again later" if fault is Fault.REFUSE else "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        fault, seconds = self._catcher.next_fault()
        if fault is not Fault.DROP_BEFORE_STORE:
            self._catcher.store(envelope)
        if fault in (Fault.DROP_AFTER_DATA, Fault.DROP_BEFORE_STORE):
            transport: Any = server.transport
            transport.abort()
        if fault is Fault.SLOW:
            await asyncio.sleep(seconds)
        return "250 OK, stored"
