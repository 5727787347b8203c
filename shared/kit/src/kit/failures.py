"""What kinds of failure there are, and how they are told to an operator: by kind and place, never by data."""

from __future__ import annotations

import traceback

from contracts.envelope import BadEnvelope


class Permanent(Exception):
    """Trying again cannot help: the message cannot be read, or it breaks a rule. It goes to the dead letters."""


class Transient(Exception):
    """The outside world is not there right now; trying again later may help."""


def describe(error: BaseException) -> str:
    """The kind of error, and its text only where we wrote that ourselves (a driver's text may quote data)."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, (Permanent, Transient, BadEnvelope)) else name


def stack(error: BaseException, *, limit: int = 12) -> str:
    """Where it happened, innermost last, without any message text."""
    frames = traceback.extract_tb(error.__traceback__)[-limit:]
    return "\n".join(f"{frame.filename.rsplit('/src/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames)
