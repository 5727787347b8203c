"""What can become of an attempt to hand a message over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kit.runtime.failures import Permanent, Transient

HandOver = Callable[[], Awaitable[None]]
"""Called once, at the last moment at which the other side cannot have the message yet. What it raises stops the
sending."""


class Unreachable(Transient):
    """The other side does not have the message, and may take it later."""


class Refused(Permanent):
    """The other side does not have the message, and will not take it. `code` is short and names nobody."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Unknown(Exception):
    """The message was handed over, and nobody has said whether it was taken."""
