"""What kinds of failure there are, and how they are told to an operator: by kind and place, never by data."""

from __future__ import annotations

import traceback

from contracts.envelope import BadEnvelope


class Permanent(Exception):
    """Trying again cannot help: the message cannot be read, or it breaks a rule. It goes to the dead letters."""


class Transient(Exception):
    """The outside world is not there right now; trying again later may help."""


def describe(error: BaseException) -> str:
    """The kind of error, the database's code for it, and its text only where we wrote that ourselves (a driver's text
    may quote data)."""
    name = type(error).__name__
    if isinstance(error, (Permanent, Transient, BadEnvelope)):
        return f"{name}: {error}"
    code = sqlstate(error)
    return f"{name} {code}" if code else name


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code, when the database has refused something.

    Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    for each in (error, getattr(error, "orig", None)):
        code = getattr(each, "sqlstate", None)
        if isinstance(code, str):
            return code
    return None


def stack(error: BaseException, *, limit: int = 12) -> str:
    """Where it happened, innermost last, without any message text: our own frames, and the innermost one of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames[:-1] if "site-packages" not in frame.filename]
    told = [*ours, *frames[-1:]][-limit:]
    return "\n".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in told)


def _short(filename: str) -> str:
    return filename.rsplit("/src/", 1)[-1].rsplit("/site-packages/", 1)[-1]
