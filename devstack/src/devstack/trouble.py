"""What went wrong last, out of the JSON lines of some logs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

END_BYTES = 256_000
_BAD = ("warning", "error", "critical")
_SAID = ("service", "role", "event", "level", "timestamp", "logger", "stack", "at", "exception", "error", "code")


def last_trouble(files: Iterable[Path]) -> str | None:
    """The newest warning or error of all these logs in one line: who, what, why and where. None when there is none."""
    found = [line for file in files if file.exists() for line in _bad_lines(file)]
    if not found:
        return None
    last = max(found, key=lambda line: str(line.get("timestamp", "")))
    why = " ".join(str(last[name]) for name in ("exception", "error", "code") if last.get(name))
    stack = last.get("stack") or last.get("at") or ""
    frames = stack if isinstance(stack, list) else str(stack).splitlines()
    where = str(frames[-1]) if frames else ""
    about = ", ".join(f"{name} {value}" for name, value in last.items() if name not in _SAID and value is not None)
    who = ".".join(str(last[name]) for name in ("service", "role") if last.get(name))
    told = [f"{who} {last['level']}: {last.get('event', '')}", why, f"at {where}" if where else "", about]
    return "; ".join(part for part in told if part)


def _bad_lines(file: Path) -> Iterable[dict[str, Any]]:
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, 2) - END_BYTES))
        text = log.read().decode(errors="replace")
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:  # a library's own words, or the first line of the end, cut off
            continue
        if isinstance(said, dict) and said.get("level") in _BAD:
            yield said
