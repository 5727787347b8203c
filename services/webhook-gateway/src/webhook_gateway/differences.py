"""Records where objects at Stripe differ from what was published about them, and publishes each change of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from prometheus_client import Gauge
from sqlalchemy import Row, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.payments import PaymentRefs
from contracts.reconciliation import ReconciliationDifferenceFound, ReconciliationDifferenceResolved
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork
from webhook_gateway.comparison import ComparedField, Comparison
from webhook_gateway.stripe_objects import ObjectKind
from webhook_gateway.tables import differences
from webhook_gateway.topology import SERVICE

log = structlog.get_logger(__name__)

OPEN = Gauge(
    "bursar_stripe_differences", "Fields of objects at Stripe that differ from what was published", ["object_kind"]
)

DifferenceRow: TypeAlias = Row[Any, Any, Any, Any, Any, Any, Any, Any, Any, Any, Any]  # Any: not inferred


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """A row of `differences`."""

    object_kind: str
    object_id: str
    field: str
    stripe: str | None
    published: str | None
    purchase_id: UUID | None
    refs: Mapping[str, str]
    revision: int
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None


class Differences:
    def __init__(self, database: Database) -> None:
        self._database = database
        for kind in ObjectKind:
            OPEN.labels(kind)

    async def are_recorded(self, compared: Sequence[Comparison]) -> Mapping[str, bool]:
        """Object id -> whether exactly these differences are recorded as open. Of one without differences: whether none
        is open."""
        if not compared:
            return {}
        async with self._database.transaction() as db:
            rows = await _load(db, compared, for_update=False)
        recorded = {
            (row.object_id, row.field, row.stripe, row.published) for row in rows.values() if row.closed_at is None
        }
        return {
            each.object_id: {key for key in recorded if key[0] == each.object_id}
            == {(each.object_id, field.name, field.stripe, field.published) for field in each.differences}
            for each in compared
        }

    async def record(self, compared: Sequence[Comparison], *, now: datetime) -> int:
        """Opens, changes and closes the differences of these objects, and publishes each change. Returns how many
        differ."""
        async with self._database.transaction() as db:
            uow = UnitOfWork(db=db, source=SERVICE, now=now)
            rows = await _load(db, compared, for_update=True)
            for comparison in compared:
                await _record(uow, comparison, rows)
        return sum(len(each.differences) for each in compared)

    async def open_objects(self) -> Sequence[tuple[ObjectKind, str]]:
        """The objects with an open difference."""
        columns = differences.c.object_kind, differences.c.object_id
        selected = select(*columns).where(differences.c.closed_at.is_(None)).distinct().order_by(*columns)
        async with self._database.transaction() as db:
            return [(ObjectKind(kind), id) for kind, id in await db.execute(selected) if kind in set(ObjectKind)]

    async def measure(self) -> int:
        """Sets the gauge. Returns how many are open."""
        kind = differences.c.object_kind
        counts = select(kind, func.count()).where(differences.c.closed_at.is_(None)).group_by(kind)
        async with self._database.transaction() as db:
            found = {row[0]: int(row[1]) for row in await db.execute(counts)}
        for each in ObjectKind:
            OPEN.labels(each).set(found.get(each, 0))
        return sum(found.values())


async def list_open(db: AsyncConnection, *, after: str | None = None, limit: int = 50) -> Sequence[DifferenceRow]:
    """By kind, object and field. `after`: the cursor of the last one that was listed."""
    selected = select(differences).where(differences.c.closed_at.is_(None))
    if after is not None:
        selected = selected.where(tuple_(*_KEY) > tuple_(*(literal(each) for each in _key_at(after))))
    return (await db.execute(selected.order_by(*_KEY).limit(limit))).all()


def cursor_of(row: DifferenceRow) -> str:
    return f"{row.object_kind}/{row.object_id}/{row.field}"


def _key_at(cursor: str) -> tuple[str, str, str]:
    """For any text: one that is no cursor is a position, too."""
    kind, _, rest = cursor.replace("\x00", "").partition("/")
    id, _, field = rest.partition("/")
    return kind, id, field


_KEY = (differences.c.object_kind, differences.c.object_id, differences.c.field)


async def _load(
    db: AsyncConnection, compared: Sequence[Comparison], *, for_update: bool
) -> Mapping[tuple[str, str, str], DifferenceRow]:
    ids = {each.object_id for each in compared}
    selected = select(differences).where(differences.c.object_id.in_(ids)).order_by(*_KEY)
    rows = await db.execute(selected.with_for_update() if for_update else selected)
    return {(row.object_kind, row.object_id, row.field): row for row in rows}


async def _record(uow: UnitOfWork, comparison: Comparison, rows: Mapping[tuple[str, str, str], DifferenceRow]) -> None:
    by_name = {field.name: field for field in comparison.fields}
    recorded = {
        key[2] for key, row in rows.items() if key[:2] == (comparison.kind, comparison.object_id) and row is not None
    }
    for name in sorted(by_name.keys() | recorded):
        compared = by_name.get(name) or ComparedField(name=name, stripe=None, published=None)
        row = rows.get((comparison.kind, comparison.object_id, name))
        await _record_field(uow, comparison, compared, row)


async def _record_field(
    uow: UnitOfWork, comparison: Comparison, field: ComparedField, row: DifferenceRow | None
) -> None:
    is_open = row is not None and row.closed_at is None
    if not field.differs and not is_open:
        return
    if row is not None and is_open and field.differs and (row.stripe, row.published) == (field.stripe, field.published):
        await uow.db.execute(update(differences).where(*_is(row)).values(last_seen_at=uow.now))
        return
    changed = _Difference(
        object_kind=comparison.kind,
        object_id=comparison.object_id,
        field=field.name,
        stripe=field.stripe,
        published=field.published,
        purchase_id=comparison.purchase_id or (row.purchase_id if row is not None else None),
        refs=comparison.refs.model_dump(exclude_none=True) or (row.refs if row is not None else {}),
        revision=row.revision + 1 if row is not None else 1,
        first_seen_at=row.first_seen_at if row is not None and is_open else uow.now,
        last_seen_at=uow.now,
        closed_at=None if field.differs else uow.now,
    )
    if row is None:
        new = insert(differences).values(asdict(changed)).on_conflict_do_nothing().returning(differences.c.revision)
        if (await uow.db.execute(new)).first() is None:
            return  # another reconciler has just recorded it
    else:
        await uow.db.execute(update(differences).where(*_is(row)).values(asdict(changed)))
    await _publish(uow, changed)


def _is(row: DifferenceRow) -> tuple[Any, ...]:  # Any: SQLAlchemy's conditions
    return (
        differences.c.object_kind == row.object_kind,
        differences.c.object_id == row.object_id,
        differences.c.field == row.field,
    )


async def _publish(uow: UnitOfWork, difference: _Difference) -> None:
    event_type = ReconciliationDifferenceFound if difference.closed_at is None else ReconciliationDifferenceResolved
    refs = PaymentRefs.model_validate(difference.refs)
    event = event_type(
        object_kind=difference.object_kind,
        object_id=difference.object_id,
        field=difference.field,
        stripe=difference.stripe,
        published=difference.published,
        refs=refs,
        purchase_id=difference.purchase_id,
        revision=difference.revision,
    )
    subject = str(difference.purchase_id or min(refs.of_payment(), default=difference.object_id))
    id = f"{difference.object_id}/{difference.field}/{difference.revision}/{event.type}"
    await uow.publish(event, id=id, subject=subject)
    found = {
        "object_kind": difference.object_kind,
        "object_id": difference.object_id,
        "field": difference.field,
        "stripe": difference.stripe,
        "published": difference.published,
        "purchase_id": str(difference.purchase_id) if difference.purchase_id else None,
    }
    if difference.closed_at is None:
        log.error("Stripe's object differs from what was published", **found)
    else:
        log.info("Stripe's object agrees again with what was published", **found)
