"""The comparison of a projection's table with its facts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import any_, bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.envelope import Envelope
from kit.db.unit_of_work import UnitOfWork
from kit.messaging import fact_store
from kit.messaging.event_facts import StoredEvent, events_of
from kit.messaging.fact_store import Fact
from kit.messaging.projection import Change, Facts, Projection, Row
from kit.messaging.verification import HIDDEN, Difference

R = TypeVar("R", bound=Row)
W = TypeVar("W")

GROUPS = 200
"""Of facts, read together."""
ROWS = 2_000
FIRST = UUID(int=0)
COUNTER = "revision"
"""The column that counts a row's published changes. It does not follow from facts."""
JUMP = 1_000
"""The revision from which a deleted row goes on if the outbox does not have its last event anymore: above any that was
published."""
_NO_FACTS = "no fact names this row"


class Columns(Protocol):
    """Other columns of the same rows, or other tables, which the projection's second step writes."""

    async def differences(self, db: AsyncConnection, ids: Collection[UUID]) -> Sequence[Difference]:
        """Of these rows of the projection. The caller sets their units."""
        ...

    async def repair(self, uow: UnitOfWork, ids: Collection[UUID]) -> None:
        """After the projection was applied."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProjectionComparison(Generic[R, W]):
    """
    derived_id:    the id that a row with these fields has. A row with another one was not written by the projection,
                   and is removed
    without_facts: whether a row may be there although no fact names it
    personal:      columns whose values are not reported
    others:        what the projection's second step writes
    """

    projection: Projection[R, W]
    service: str
    derived_id: Callable[[R], UUID]
    without_facts: Callable[[R], bool] = lambda row: False
    personal: frozenset[str] = frozenset()
    others: Columns | None = None

    @property
    def name(self) -> str:
        return self.projection.table.name

    async def differences(self, db: AsyncConnection) -> AsyncIterator[Sequence[Difference]]:
        named = set[UUID]()
        after = FIRST
        while groups := await fact_store.groups_after(db, after, limit=GROUPS):
            after = max(groups)
            yield await self._of_groups(db, groups, named)
        after = FIRST
        while rows := await self._rows_after(db, after):
            after = rows[-1].id
            unnamed = [row for row in rows if row.id not in named]
            yield [self._unnamed(row) for row in unnamed if not self.without_facts(row)]

    async def differences_of(self, db: AsyncConnection, unit: str) -> Sequence[Difference]:
        kind, _, id = unit.partition(" ")
        if kind == "group":
            group = UUID(id)
            facts = await fact_store.in_groups(db, [group])
            return await self._of_groups(db, {group: facts}, set())
        found = await self._read(db, [UUID(id)])
        return [self._unnamed(row) for row in found.values()]

    async def repair(self, uow: UnitOfWork, differences: Sequence[Difference]) -> None:
        kind, _, id = differences[0].unit.partition(" ")
        if kind == "group":
            await self._repair_group(uow, UUID(id))
        elif differences[0].reason is None:
            await self._remove(uow.db, UUID(id))

    async def _of_groups(
        self, db: AsyncConnection, groups: Mapping[UUID, Sequence[Fact]], named: set[UUID]
    ) -> Sequence[Difference]:
        """`named`: the rows that facts name are added to it."""
        # in a thread: other tasks of the process go on
        wanted = await asyncio.to_thread(self._wanted, groups)
        ids = {id: group for group, of_group in wanted.items() for id in of_group}
        named.update(ids)
        rows = await self._read(db, ids)
        found: list[Difference] = []
        for group, of_group in wanted.items():
            for id, each in of_group.items():
                found += self._compare(rows.get(id), each, unit=f"group {group}")
        if self.others is not None:
            wrong = {UUID(each.row) for each in found}  # what follows from these is not judged
            for difference in await self.others.differences(db, ids.keys() - wrong):
                unit = f"group {ids[UUID(difference.row)]}"
                found.append(replace(difference, unit=unit))
        return found

    def _wanted(self, groups: Mapping[UUID, Sequence[Fact]]) -> Mapping[UUID, Mapping[UUID, W]]:
        return {group: self.projection.wanted(_by_id(events_of(facts))) for group, facts in groups.items()}

    def _compare(self, before: R | None, wanted: W, *, unit: str) -> Sequence[Difference]:
        after = self.projection.becomes(before, wanted)
        if after is None or after == before:
            return ()
        table, id = self.name, str(after.id)
        if before is None:
            return [Difference(table=table, row=id, column=None, stored=None, expected=self._values(after), unit=unit)]
        old, new = self._values(before), self._values(after)
        differing = [each.name for each in fields(after) if getattr(before, each.name) != getattr(after, each.name)]
        return [
            Difference(table=table, row=id, column=name, stored=old[name], expected=new[name], unit=unit)
            for name in differing
            if name != COUNTER
        ]

    def _unnamed(self, row: R) -> Difference:
        reason = _NO_FACTS if self.derived_id(row) == row.id else None
        stored, unit = self._values(row), f"row {row.id}"
        return Difference(
            table=self.name, row=str(row.id), column=None, stored=stored, expected=None, unit=unit, reason=reason
        )

    def _values(self, row: R) -> dict[str, Any]:
        # Any: JSON, of columns of all types
        return {name: HIDDEN if name in self.personal and value else value for name, value in asdict(row).items()}

    async def _read(self, db: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, R]:
        table = self.projection.table
        wanted = table.c.id == any_(bindparam("ids", type_=ARRAY(table.c.id.type)))
        found = await db.execute(select(*self._columns).where(wanted), {"ids": list(ids)})
        return {row.id: self.projection.row(**row._mapping) for row in found}

    async def _rows_after(self, db: AsyncConnection, after: UUID) -> Sequence[R]:
        id = self.projection.table.c.id
        found = await db.execute(select(*self._columns).where(id > after).order_by(id).limit(ROWS))
        return [self.projection.row(**row._mapping) for row in found]

    @property
    def _columns(self) -> Sequence[Any]:
        return [self.projection.table.c[each.name] for each in fields(self.projection.row)]

    async def _repair_group(self, uow: UnitOfWork, group: UUID) -> None:
        stored = events_of(await fact_store.in_groups(uow.db, [group]))
        events = [
            Envelope(id=each.id, source=self.service, subject=each.id, time=each.time, data=each.data)
            for each in stored
        ]
        ids = self.projection.wanted(_by_id(stored)).keys()
        missing = ids - (await self._read(uow.db, ids)).keys()
        revisions = await _last_revisions(uow.db, missing)
        await _restoring(self.projection, revisions).apply_all(uow, events)
        if self.others is not None:
            await self.others.repair(uow, ids)

    async def _remove(self, db: AsyncConnection, id: UUID) -> None:
        """Not if other rows refer to it."""
        table = self.projection.table
        try:
            async with db.begin_nested():
                await db.execute(delete(table).where(table.c.id == id))
        except IntegrityError:
            return


def _by_id(events: Sequence[StoredEvent]) -> Facts:
    return {each.id: each.data for each in events}


_REVISIONS = text(
    "SELECT split_part(message_key, '/', 1) AS id, max(split_part(message_key, '/', 2)::bigint) AS last"
    " FROM outbox_messages WHERE message_key ~ '^[0-9a-f-]{36}/[0-9]+/'"
    " AND split_part(message_key, '/', 1) = ANY (CAST(:ids AS text[])) GROUP BY 1"
)


async def _last_revisions(db: AsyncConnection, ids: Collection[UUID]) -> Mapping[UUID, int]:
    """The revision from which each of these deleted rows goes on: others ignore events of revisions that they have
    seen. 0 for a row about which nothing was published."""
    if not ids:
        return {}
    known = {UUID(row.id): row.last for row in await db.execute(_REVISIONS, {"ids": [str(id) for id in ids]})}
    return {id: known.get(id, JUMP) for id in ids}


def _restoring(projection: Projection[R, W], revisions: Mapping[UUID, int]) -> Projection[R, W]:
    """The same projection, for which deleted rows go on from these revisions."""
    if not revisions or COUNTER not in projection.table.c:
        return projection
    if COUNTER in {each.name for each in fields(projection.row)}:

        def becomes(before: R | None, wanted: W) -> R | None:
            after = projection.becomes(before, wanted)
            if before is None and after is not None and after.id in revisions:
                # Any: the row type has this column
                changed: Any = after
                return replace(changed, revision=revisions[after.id] + 1)  # type: ignore[no-any-return]
            return after

        return replace(projection, becomes=becomes)

    async def then(uow: UnitOfWork, changes: Sequence[Change[R]]) -> None:
        table = projection.table
        for change in changes:
            if change.before is None and change.after.id in revisions:
                row = update(table).where(table.c.id == change.after.id)
                await uow.db.execute(row.values(revision=revisions[change.after.id]))
        if projection.then is not None:
            await projection.then(uow, changes)

    return replace(projection, then=then)
