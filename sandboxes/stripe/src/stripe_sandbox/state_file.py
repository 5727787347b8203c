"""The state of a sandbox in a SQLite file, so that neither a restart nor a SIGKILL forgets what was acknowledged.

`save` writes what has changed since the last one, in one transaction: before a response is sent, before a webhook is
sent, and after its answer. Objects are found changed by what was read from the store (`Store.take_touched`), deliveries
and idempotency keys report their own changes, and the rest is small enough to be compared as a whole.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from stripe_sandbox.delivery import Delivery
from stripe_sandbox.faults import Faults
from stripe_sandbox.idempotency import KeyEntry
from stripe_sandbox.state import InternalState, Sandbox

_FORMAT = 1
_BY_OBJECT = ("checkouts", "instruments")
"""Fields of the internal state with one entry per object, which are saved with that object."""

_INTERNAL: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(hint) for name, hint in get_type_hints(InternalState).items() if name not in _BY_OBJECT
}
_ENTRIES: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(get_type_hints(InternalState)[name].__args__[1]) for name in _BY_OBJECT
}
_DELIVERY, _KEY, _FAULTS = TypeAdapter(Delivery), TypeAdapter(KeyEntry), TypeAdapter(Faults)
_SECRETS: TypeAdapter[dict[str, list[tuple[str, float | None]]]] = TypeAdapter(
    dict[str, list[tuple[str, float | None]]]
)

_Row = tuple[str, str, int, str | None]
"""kind, id, position, value; a value of None: removed"""


class StateFile:
    """The open file of one sandbox. No other process can use it meanwhile."""

    def __init__(self, sandbox: Sandbox, path: Path) -> None:
        """Creates the file, or restores the sandbox from it. Raises ValueError if it cannot be used."""
        self._sandbox = sandbox
        self._written: dict[tuple[str, str], int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        # One thread at a time uses it; under a test's server that is not the one that opened it.
        self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
                self._db.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError as error:
            raise ValueError(f"{path} is used by another process, or is no SQLite file: {error}") from error
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            raise ValueError(f"{path} was written by another version of the sandbox: delete it, or use another file.")
        self._db.execute(f"PRAGMA user_version = {_FORMAT}")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS entries (kind TEXT, id TEXT, position INTEGER, value TEXT, "
            "PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )
        sandbox.store.track()
        self._restore()

    def save(self) -> None:
        """Writes what has changed, or nothing."""
        changed = [row for row in self._rows() if self._is_new(row)]
        if not changed:
            return
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", changed)

    def close(self) -> None:
        self.save()
        self._db.close()

    def _is_new(self, row: _Row) -> bool:
        kind, id, *content = row
        digest = hash(tuple(content))
        if self._written.get((kind, id)) == digest:
            return False
        self._written[kind, id] = digest
        return True

    def _rows(self) -> Iterator[_Row]:
        sandbox, internal = self._sandbox, self._sandbox.internal
        for id, position, obj in sandbox.store.take_touched():
            yield "object", id, position, None if obj is None else json.dumps(obj, default=str)
            for name, adapter in _ENTRIES.items():
                entries = getattr(internal, name)
                if id in entries:
                    yield name, id, 0, adapter.dump_json(entries[id]).decode()
        for delivery in sandbox.deliveries.take_changed():
            yield "delivery", str(delivery.number), delivery.number, _DELIVERY.dump_json(delivery).decode()
        for key, entry in sandbox.keys.take_changed():
            yield "key", key, 0, None if entry is None else _KEY.dump_json(entry).decode()
        for name, part in _INTERNAL.items():
            yield "internal", name, 0, part.dump_json(getattr(internal, name)).decode()
        yield "part", "clock", 0, str(sandbox.clock.offset)
        yield "part", "faults", 0, _FAULTS.dump_json(sandbox.faults).decode()
        yield "part", "secrets", 0, _SECRETS.dump_json(sandbox.endpoints.all_secrets()).decode()
        yield "part", "pending_events", 0, json.dumps([event["id"] for event in sandbox.events.pending()])

    def _restore(self) -> None:
        sandbox, internal = self._sandbox, self._sandbox.internal
        rows: list[_Row] = self._db.execute("SELECT kind, id, position, value FROM entries").fetchall()
        for row in rows:
            self._is_new(row)
        by_kind: dict[str, list[_Row]] = {}
        for row in sorted(rows, key=lambda row: row[2]):
            by_kind.setdefault(row[0], []).append(row)
        for _, id, position, value in by_kind.get("object", []):
            sandbox.store.restore(id, position, None if value is None else json.loads(value))
        for name, adapter in _ENTRIES.items():
            found = {id: adapter.validate_json(value or "") for _, id, _, value in by_kind.get(name, [])}
            getattr(internal, name).update(found)
        for _, name, _, value in by_kind.get("internal", []):
            if name in _INTERNAL:
                setattr(internal, name, _INTERNAL[name].validate_json(value or ""))
        sandbox.deliveries.restore([_DELIVERY.validate_json(v or "") for *_, v in by_kind.get("delivery", [])])
        sandbox.keys.restore({id: _KEY.validate_json(v) for _, id, _, v in by_kind.get("key", []) if v is not None})
        parts = {id: value or "" for _, id, _, value in by_kind.get("part", [])}
        if parts:
            sandbox.clock.offset = float(parts["clock"])
            sandbox.faults = _FAULTS.validate_json(parts["faults"])
            sandbox.endpoints.restore(_SECRETS.validate_json(parts["secrets"]))
            sandbox.events.restore([sandbox.store.get("event", id) for id in json.loads(parts["pending_events"])])


def attached(sandbox: Sandbox) -> StateFile | None:
    """The file of the settings, restored; from now on the sandbox saves to it. None without one."""
    if sandbox.settings.state_file is None:
        return None
    file = StateFile(sandbox, sandbox.settings.state_file)
    sandbox.save = sandbox.deliveries.save = file.save
    return file
