"""Kinds of failure, and how they are described to operators: by type and location, never with data."""

from __future__ import annotations

import traceback

from contracts.envelope import BadEnvelope


class Permanent(Exception):
    """Retrying cannot help: the message is invalid or violates a rule. It is dead-lettered."""


class Transient(Exception):
    """A dependency is unavailable; retrying later may help."""


class Unavailable(Transient):
    """A dependency does not answer, or not as it should."""


class Misconfigured(Permanent):
    """A dependency answers, but not what our settings say."""


def describe(error: BaseException) -> str:
    """The error's type, the database's code, and the message only of our own exceptions (a driver's message may quote
    data)."""
    name = type(error).__name__
    if isinstance(error, (Permanent, Transient, BadEnvelope)):
        return f"{name}: {error}"
    code = sqlstate(error)
    return f"{name} {code}" if code else name


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's error code, if the error came from the database.

    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    for each in (error, getattr(error, "orig", None)):
        code = getattr(each, "sqlstate", None)
        if isinstance(code, str):
            return code
    return None


def stack(error: BaseException, *, limit: int = 12) -> str:
    """Where the error was raised, innermost last and without its message: our own frames, and the innermost frame."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames[:-1] if "site-packages" not in frame.filename]
    shown = [*own, *frames[-1:]][-limit:]
    return "\n".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in shown)


def _short(filename: str) -> str:
    return filename.rsplit("/src/", 1)[-1].rsplit("/site-packages/", 1)[-1]
