"""Erases a person in the database of a service: the declared tables, and the kit's own.

Messages and facts are rewritten without personal data, with the ids, amounts and times that they had. So what is
derived from them stays what it was.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from sqlalchemy import delete, or_, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import personal_data
from kit.personal_data import erased
from kit.personal_data.declaration import Person, PersonalData, PersonalTable, patterns

_FACTS = text(
    "SELECT event_id, type, body::text AS body FROM facts WHERE group_id IN ("
    " SELECT group_id FROM fact_keys WHERE key = ANY (CAST(:keys AS text[])))"
)
_KEYS = text(
    "SELECT key FROM fact_keys WHERE key > :after AND key <= :last AND key LIKE ANY (CAST(:patterns AS text[]))"
)
_WRITE_FACTS = text(
    "UPDATE facts SET body = new.body::jsonb"
    " FROM unnest(CAST(:ids AS text[]), CAST(:bodies AS text[])) AS new (event_id, body)"
    " WHERE facts.event_id = new.event_id"
)
_MESSAGES = """
    SELECT id, headers ->> 'cloudEvents:type' AS type, body FROM {table}
    WHERE id > :after AND id <= :last AND encode(body, 'escape') LIKE ANY (CAST(:patterns AS text[]))
"""
_WRITE_MESSAGES = """
    UPDATE {table} AS old SET body = new.body
    FROM unnest(CAST(:ids AS bigint[]), CAST(:bodies AS bytea[])) AS new (id, body) WHERE old.id = new.id
"""
OUTBOXES = ("outbox_messages", "outbox")
_PAYLOADS = text(
    "UPDATE jobs SET payload = '{}' WHERE (done_at IS NOT NULL OR failed_at IS NOT NULL) AND payload <> '{}'"
    " AND kind <> :erasure AND payload::text LIKE ANY (CAST(:patterns AS text[]))"
)
_ANSWERS = text(
    "DELETE FROM idempotency_keys WHERE body::text LIKE ANY (CAST(:patterns AS text[]))"
    " OR caller LIKE ANY (CAST(:patterns AS text[]))"
)

_CHUNK = """
    SELECT max(each) FROM (
        SELECT {column} AS each FROM {table} WHERE {where} AND {column} > :after ORDER BY {column} LIMIT {size}
    ) AS part
"""
CHUNK = 2_000
"""Rows that one statement searches: it ends long before the database's timeout, however many there are."""
ERASURE = "erasure"
"""The kind of job that erases a person."""


async def erase(db: AsyncConnection, personal: PersonalData, person: Person) -> Mapping[str, int]:
    """In the caller's transaction. Returns how many rows were deleted or changed, by table; a repetition changes
    nothing. What takes long comes first: then no event is processed until the transaction ends, because rows are
    derived from facts."""
    like = {"patterns": patterns(person.identifiers)}
    counts = dict[str, int]()
    for table in OUTBOXES:
        counts[table] = await _erase_messages(db, personal, table, like)
    counts["jobs"] = (await db.execute(_PAYLOADS, {**like, "erasure": ERASURE})).rowcount
    counts["idempotency_keys"] = (await db.execute(_ANSWERS, like)).rowcount
    for name, rows in (await personal.erase(db, person)).items():
        counts[name] = counts.get(name, 0) + rows
    keys = list[str]()
    async for bounds in chunks(db, "fact_keys", "key", ""):
        keys += await db.scalars(_KEYS, {**bounds, **like})
    await erased.lock(db)
    counts["facts"] = await _erase_facts(db, person, keys)
    for each in personal.tables:
        counts[each.table.name] = counts.get(each.table.name, 0) + await _erase_rows(db, each, person)
    return {name: rows for name, rows in counts.items() if rows}


async def chunks(
    db: AsyncConnection, table: str, column: str, first: str | int, where: str = "true", **values: Any
) -> AsyncIterator[dict[str, Any]]:
    """`after` (exclusive) and `last` of one part of the rows after the other, in the order of an indexed column.
    `first`: less than every value of it. Any: values of columns."""
    statement = text(_CHUNK.format(table=table, column=column, where=where, size=CHUNK))
    after: Any = first
    while (last := await db.scalar(statement, {"after": after, **values})) is not None:
        yield {"after": after, "last": last}
        after = last


async def _erase_facts(db: AsyncConnection, person: Person, keys: list[str]) -> int:
    """Of the groups that are about the person, without the facts that name another one. (What has come since the keys
    were read was stored without personal data.)"""
    changed = dict[str, str]()
    for row in await db.execute(_FACTS, {"keys": keys}):
        body = json.loads(row.body)
        kept = personal_data.erased(row.type, body)
        if kept != body and body.get("student_id") in (None, str(person.id)):
            changed[row.event_id] = json.dumps(kept)
    if changed:
        await db.execute(_WRITE_FACTS, {"ids": list(changed), "bodies": list(changed.values())})
    return len(changed)


async def _erase_messages(db: AsyncConnection, personal: PersonalData, table: str, like: Mapping[str, Any]) -> int:
    changed = dict[int, bytes]()
    async for bounds in chunks(db, table, "id", 0):
        for row in await db.execute(text(_MESSAGES.format(table=table)), {**bounds, **like}):
            body = without_personal_data(personal, row.type or "", row.body)
            if body != row.body:
                changed[row.id] = body
    if changed:
        values = {"ids": list(changed), "bodies": list(changed.values())}
        await db.execute(text(_WRITE_MESSAGES.format(table=table)), values)
    return len(changed)


def without_personal_data(personal: PersonalData, type_: str, body: bytes) -> bytes:
    """The body of a message. One that is not JSON is emptied; it cannot be processed anyway."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return b""
    kept = personal.message(type_, content)
    return body if kept == content else json.dumps(kept).encode()


async def _erase_rows(db: AsyncConnection, each: PersonalTable, person: Person) -> int:
    own = each.table.c[each.person] == person.id
    if each.deleted:
        return (await db.execute(delete(each.table).where(own))).rowcount
    if not each.emptied:
        return 0
    filled = or_(*(each.table.c[name].is_distinct_from(value) for name, value in each.emptied.items()))
    return (await db.execute(update(each.table).where(own, filled).values(dict(each.emptied)))).rowcount
