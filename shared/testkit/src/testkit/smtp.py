"""A mail catcher: an SMTP server on 127.0.0.1 that writes one .eml per message into a folder, with faults to order.

with MailCatcher(folder) as mail:
    mail.order(Fault.DROP_AFTER_DATA)      # for the next message only
    ...                                    # send to 127.0.0.1:mail.port
    assert mail.messages()[0]["Subject"] == "Welcome"
"""

import asyncio
import email
import email.policy
import time
from collections import deque
from email.message import EmailMessage
from enum import Enum
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from testkit.processes import free_ports


class Fault(Enum):
    """What happens to one message."""

    REFUSE = "451 at RCPT TO: nothing is stored, the client may try again"
    REJECT = "550 at RCPT TO: nothing is stored, there is no point in trying again"
    DROP_AFTER_DATA = "the message is stored, then the connection is cut before the answer"
    DROP_BEFORE_STORE = "the connection is cut before the answer, nothing is stored"
    SLOW = "the message is stored at once, the answer takes `seconds`"


class MailCatcher:
    """Runs on a thread of its own from `start` to `stop`; `port` is chosen at random when it is 0."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.host = "127.0.0.1"
        self.port = port or free_ports(1)[0]
        self._faults: deque[tuple[Fault, float]] = deque()
        self._count = 0
        self._controller: Controller | None = None

    def start(self) -> "MailCatcher":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._controller = Controller(_Handler(self), hostname=self.host, port=self.port, server_hostname="mail.test")
        self._controller.start()
        return self

    def stop(self) -> None:
        """From now on, connections are refused, until `start` listens on the same port again."""
        if self._controller:
            self._controller.stop()
            self._controller = None

    def __enter__(self) -> "MailCatcher":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def order(self, fault: Fault, times: int = 1, seconds: float = 0) -> None:
        """The next `times` messages meet this fault, after those ordered before."""
        self._faults.extend([(fault, seconds)] * times)

    def files(self) -> list[Path]:
        """The messages so far, oldest first."""
        return sorted(self.folder.glob("*.eml"))

    def messages(self) -> list[EmailMessage]:
        """The messages so far, parsed; the envelope's recipients are in X-Envelope-To."""
        parsed = [email.message_from_bytes(f.read_bytes(), policy=email.policy.default) for f in self.files()]
        return [m for m in parsed if isinstance(m, EmailMessage)]

    def next_fault(self) -> tuple[Fault | None, float]:
        """The fault that the coming message meets; it is used up by that."""
        return self._faults.popleft() if self._faults else (None, 0)

    def peek_fault(self) -> Fault | None:
        """The fault that the coming message will meet."""
        return self._faults[0][0] if self._faults else None

    def store(self, envelope: Envelope) -> Path:
        """One file, complete when its name ends in .eml."""
        self._count += 1
        file = self.folder / f"{time.time_ns():020}-{self._count:05}.eml"
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        content = envelope.original_content or b""
        partial = file.with_suffix(".partial")
        partial.write_bytes(head.encode() + content)
        return partial.replace(file)


class _Handler:
    """aiosmtpd calls these by name."""

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
