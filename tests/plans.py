"""Query plans: what the code executes, and whether it would read or sort a large table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import event

from kit.db.database import Database

SMALL = 10_000
"""A table with fewer rows may be read as a whole."""
SORTED = 1_000
"""Fewer rows may be sorted."""

Node = dict[str, Any]


@dataclass(frozen=True)
class Executed:
    statement: str
    parameters: Sequence[Any]


@asynccontextmanager
async def recorded(database: Database) -> AsyncIterator[list[Executed]]:
    """The statements that are executed meanwhile, with whatever login."""
    executed: list[Executed] = []

    def record(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        executed.append(Executed(statement, parameters[0] if many else parameters))

    engines = [each.sync_engine for each in database.engines.values()]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", record)
    try:
        yield executed
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", record)


async def faults_of(url: str, executed: Sequence[Executed]) -> list[str]:
    """Where a plan reads or sorts a large table."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch("SELECT relname, reltuples FROM pg_class WHERE reltuples >= $1", SMALL)
        large = {row["relname"] for row in found}
        faults = []
        for each in executed:
            if each.statement.lstrip().upper().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
                (plan,) = await connection.fetchrow("EXPLAIN (FORMAT JSON) " + each.statement, *each.parameters)
                root = json.loads(plan)[0]["Plan"]
                faults += [f"{fault}: {' '.join(each.statement.split())}\n{plan}" for fault in _faults(root, large)]
        return faults
    finally:
        await connection.close()


async def scans_of(url: str, executed: Executed) -> set[str]:
    """The indexes by which its rows are found, and the tables that are read as a whole where no index serves, however
    few rows there are."""
    connection = await asyncpg.connect(url, server_settings={"enable_seqscan": "off"})
    try:
        (plan,) = await connection.fetchrow("EXPLAIN (FORMAT JSON) " + executed.statement, *executed.parameters)
    finally:
        await connection.close()
    nodes = list(_nodes(json.loads(plan)[0]["Plan"]))
    tables = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    return tables | {node["Index Name"] for node in nodes if "Index Name" in node}


def _faults(root: Node, large: set[str]) -> Iterator[str]:
    for node in _nodes(root):
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in large:
            yield f"reads {node['Relation Name']}"
        if node["Node Type"] == "Bitmap Index Scan" and "Index Cond" not in node and node["Plan Rows"] >= SORTED:
            yield f"reads all of {node['Index Name']}"
        if "Sort" in node["Node Type"] and node["Plan Rows"] >= SORTED:
            below = {each.get("Relation Name") for each in _nodes(node, subplans=False)}
            yield from (f"sorts {name}" for name in below & large)


def _nodes(node: Node, *, subplans: bool = True) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        if subplans or child["Parent Relationship"] not in ("SubPlan", "InitPlan"):
            yield from _nodes(child, subplans=subplans)
