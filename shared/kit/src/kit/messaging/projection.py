"""A projection: rows that follow facts, declared by pure functions.

    ENROLLMENTS = Projection(
        queue=PAYMENTS,
        table=enrollments,
        row=EnrollmentRow,
        rules=FactRules(keys=keys, implied_keys=implied_keys),
        wanted=domain.wanted,    # facts -> {row id: what they want}, for every row that they ever named
        becomes=domain.becomes,  # row before (or None), what is wanted -> row after
        consequences=domain.consequences,  # row before (or None), row after -> events to publish, jobs to enqueue
    )

A handler that reacts to one event and writes the row of today's verdict forgets the rows of yesterday's: a later fact
may name another student or another program. So every event is merged into the facts of its group, and all rows that the
group ever named are compared with what the facts want now. Only differences are written and published.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Select, Table, any_, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert

from contracts.envelope import Envelope, Event
from kit.db.unit_of_work import Collected, UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.topology import Queue
from kit.runtime.trace import Cause, cause_of_latest

Facts = Mapping[str, Any]
"""event id -> event. `rules` and `wanted` of a projection agree on the type of the events."""


class Row(Protocol):
    """A frozen dataclass whose fields are columns of the projection's table, by their names."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def id(self) -> UUID: ...


R = TypeVar("R", bound=Row)
W = TypeVar("W")


@dataclass(frozen=True, kw_only=True)
class Publication:
    """An event to publish. `id` is derived from the row and its revision, so that a repetition is the same event."""

    event: Event
    id: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job to enqueue, once per `kind` and `key`."""

    kind: str
    key: str
    payload: Mapping[str, Any]
    available_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Consequences:
    """What follows from a changed row, in the same commit."""

    events: tuple[Publication, ...] = ()
    jobs: tuple[JobRequest, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Change(Generic[R]):
    """`before` is None for a new row. `cause`: the last of the events that have changed it."""

    before: R | None
    after: R
    cause: Cause | None = None


@dataclass(frozen=True, kw_only=True)
class Lock:
    """An advisory lock, held until the transaction ends."""

    name: str
    shared: bool = False


@dataclass(frozen=True)
class _Group:
    """Facts that belong together, and the event that has brought them up to date."""

    facts: Facts
    cause: Cause | None


def _nothing(before: Any, after: Any) -> Consequences:
    return Consequences()


@dataclass(frozen=True, kw_only=True)
class Projection(Generic[R, W]):
    """See the module. The functions do no I/O, but for `then`.

    locks: the locks that a change needs, taken in the order of their names before the rows are locked
    then:  a second step in the same transaction, once for all changes, for what has to look at other rows; it sees the
           rows as written, and acts for the cause of each change
    """

    queue: Queue
    table: Table
    row: type[R]
    rules: FactRules
    wanted: Callable[[Any], Mapping[UUID, W]]
    becomes: Callable[[R | None, W], R | None]
    consequences: Callable[[R | None, R], Consequences] = _nothing
    locks: Callable[[Sequence[Change[R]]], Iterable[Lock]] | None = None
    then: Callable[[UnitOfWork, Sequence[Change[R]]], Awaitable[None]] | None = None

    async def apply(self, uow: UnitOfWork, event: Envelope[Any]) -> Sequence[Change[R]]:
        """Merges the event into its facts and brings the rows up to date. Returns what has changed."""
        return await self.apply_all(uow, [event])

    async def apply_all(self, uow: UnitOfWork, events: Sequence[Envelope[Any]]) -> Sequence[Change[R]]:
        """The same for a batch, each step in one statement for all of it (but for what `then` does).

        Facts have no order, so a batch ends in the rows that its events would have ended in one by one; states in
        between are skipped, and so are their events. What follows from a group names the last of its events that the
        batch contains as the cause.
        """
        groups = await uow.merge_all(events, self.rules)
        last = {event.id: event for event in events}
        causes = [cause_of_latest(last[id] for id in group.merged) for group in groups]
        return await self._project(
            uow, [_Group(group.facts, cause) for group, cause in zip(groups, causes, strict=True)]
        )

    async def project(self, uow: UnitOfWork, facts: Facts) -> Sequence[Change[R]]:
        """Brings the rows up to date with these facts, which the caller has locked."""
        return await self._project(uow, [_Group(facts, uow.cause)])

    async def _project(self, uow: UnitOfWork, groups: Sequence[_Group]) -> Sequence[Change[R]]:
        wanted = {id: (each, group) for group in groups for id, each in self.wanted(group.facts).items()}
        if not wanted:
            return ()
        changes = self._changes(await self._load(uow, wanted, lock=self.locks is None), wanted)
        if changes and self.locks is not None:
            await _take(uow, self.locks(changes))
            changes = self._changes(await self._load(uow, wanted, lock=True), wanted)
        if not changes:
            return ()
        await self._write(uow, changes)
        collected = uow.collected or Collected()
        together = replace(uow, collected=collected)
        for change in changes:
            caused = replace(together, cause=change.cause)
            consequences = self.consequences(change.before, change.after)
            for each in consequences.events:
                await caused.publish(each.event, id=each.id, subject=each.subject)
            for job in consequences.jobs:
                await caused.enqueue(job.kind, key=job.key, payload=job.payload, available_at=job.available_at)
        if self.then is not None:
            await self.then(together, changes)
        if uow.collected is None:
            await collected.write(uow.db)
        return changes

    def _changes(self, rows: Mapping[UUID, R], wanted: Mapping[UUID, tuple[W, _Group]]) -> Sequence[Change[R]]:
        found = []
        for row_id, (each, group) in wanted.items():
            before = rows.get(row_id)
            after = self.becomes(before, each)
            if after is not None and after != before:
                found.append(Change(before=before, after=after, cause=group.cause))
        return found

    async def _load(self, uow: UnitOfWork, ids: Iterable[UUID], *, lock: bool) -> Mapping[UUID, R]:
        read = self._reads[lock]
        return {row.id: self.row(**row._mapping) for row in await uow.db.execute(read, {"ids": sorted(ids)})}

    @cached_property
    def _reads(self) -> Mapping[bool, Select[*tuple[Any, ...]]]:
        """Without and with a lock. An array, because SQLAlchemy writes a list anew for every batch."""
        id = self.table.c.id
        columns = [self.table.c[field.name] for field in fields(self.row)]
        read = select(*columns).where(id == any_(bindparam("ids", type_=ARRAY(id.type)))).order_by(id)
        return {False: read, True: read.with_for_update()}

    async def _write(self, uow: UnitOfWork, changes: Sequence[Change[R]]) -> None:
        """One round trip. `created_at`, `updated_at` and `cause` are filled in where the table has them."""
        columns = self.table.c
        names = [field.name for field in fields(self.row)]
        rows = []
        for change in changes:
            row: dict[str, Any] = {name: getattr(change.after, name) for name in names}
            if "updated_at" in columns:
                row["updated_at"] = uow.now
            if "created_at" in columns:
                row["created_at"] = uow.now
            if "cause" in columns:
                row["cause"] = asdict(change.cause) if change.cause else None
            rows.append(row)
        await uow.db.execute(self._upsert, rows)

    @cached_property
    def _upsert(self) -> Insert:
        names = [field.name for field in fields(self.row) if field.name != "id"]
        names += [name for name in ("updated_at", "cause") if name in self.table.c]
        statement = insert(self.table)
        return statement.on_conflict_do_update(
            index_elements=["id"], set_={name: statement.excluded[name] for name in names}
        )


_TAKE = text(
    "SELECT CASE WHEN shared THEN pg_advisory_xact_lock_shared(hashtextextended(name, 0))"
    " ELSE pg_advisory_xact_lock(hashtextextended(name, 0)) END"
    " FROM (SELECT name, shared FROM unnest(CAST(:names AS text[]), CAST(:shared AS boolean[]))"
    ' AS needed (name, shared) ORDER BY name COLLATE "C" OFFSET 0) AS ordered'
)


async def _take(uow: UnitOfWork, locks: Iterable[Lock]) -> None:
    """In the order of their names, so that two transactions never wait for each other. Exclusive wins over shared."""
    needed: dict[str, bool] = {}
    for lock in locks:
        needed[lock.name] = needed.get(lock.name, True) and lock.shared
    if needed:
        await uow.db.execute(_TAKE, {"names": list(needed), "shared": list(needed.values())})
