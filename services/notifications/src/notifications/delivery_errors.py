"""How an attempt to deliver a message can fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kit.runtime.failures import Permanent, Transient

HandOver = Callable[[], Awaitable[None]]
"""Called once, at the last moment at which the server cannot have the message yet. If it raises, nothing is sent."""


class Unreachable(Transient):
    """The server does not have the message and may accept it later."""


class Rejected(Permanent):
    """The server does not have the message and will not accept it. `code` is short and contains no personal data."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class OutcomeUnknown(Exception):
    """The message was handed over, and the server did not answer."""
