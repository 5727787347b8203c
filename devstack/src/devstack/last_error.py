"""The last error in JSON-lines logs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

END_BYTES = 256_000
LEVELS = ("warning", "error", "critical")
_NO_CONTEXT = ("service", "role", "event", "level", "timestamp", "logger", "stack", "at", "exception", "error", "code")


def last_error(files: Iterable[Path]) -> str | None:
    """The newest warning or error of all logs on one line: service, event, cause, place and context. None if none."""
    found = [line for file in files if file.exists() for line in _errors(file)]
    if not found:
        return None
    last = max(found, key=lambda line: str(line.get("timestamp", "")))
    why = " ".join(str(last[name]) for name in ("exception", "error", "code") if last.get(name))
    stack = last.get("stack") or last.get("at") or ""
    frames = stack if isinstance(stack, list) else str(stack).splitlines()
    where = str(frames[-1]) if frames else ""
    about = ", ".join(
        f"{name} {value}" for name, value in last.items() if name not in _NO_CONTEXT and value is not None
    )
    who = ".".join(str(last[name]) for name in ("service", "role") if last.get(name))
    parts = [f"{who} {last['level']}: {last.get('event', '')}", why, f"at {where}" if where else "", about]
    return "; ".join(part for part in parts if part)


def _errors(file: Path) -> Iterable[dict[str, Any]]:
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - END_BYTES))
        text = log.read().decode(errors="replace")
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # a library's plain text, or a line cut off at END_BYTES
            continue
        if isinstance(record, dict) and record.get("level") in LEVELS:
            yield record
