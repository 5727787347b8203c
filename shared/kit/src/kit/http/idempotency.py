"""Idempotency-Key for POSTs that create something: the same key with the same body gets the same response.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ (2.6, 2.7).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse
from sqlalchemy import Column, DateTime, Integer, Table, Text, delete, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kit.db.database import KIT_TABLES, Database
from kit.http.problems import IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_REUSED, REQUEST_IN_PROGRESS

HEADER = "idempotency-key"


async def _documented(
    idempotency_key: Annotated[
        str | None,
        Header(max_length=255, description="repeating a request with the same key and body returns the first response"),
    ] = None,
) -> None:
    """Documents the header in OpenAPI; `once` reads it."""


IDEMPOTENT = [Depends(_documented)]
"""`dependencies` of a route that uses `once`."""

REPLAYED = {"Idempotent-Replayed": "true"}
"""The header of a response that is not the first."""
_ABANDONED_SECONDS = 60

idempotency_keys = Table(
    "idempotency_keys",
    KIT_TABLES,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request_hash", Text, nullable=False),
    Column("status", Integer),
    Column("body", JSONB),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


def key_of(request: Request) -> str | None:
    """The request's Idempotency-Key. Raises a 400 Problem if it is not valid."""
    key = request.headers.get(HEADER)
    if key is not None and (not 0 < len(key) <= 255 or not key.isprintable()):
        raise IDEMPOTENCY_KEY_INVALID("Idempotency-Key must have 1 to 255 printable characters.")
    return key


async def once(
    request: Request,
    database: Database,
    *,
    caller: str,
    act: Callable[[], Awaitable[Any]],
    status: int = 200,
) -> JSONResponse:
    """Runs `act` for this request, or returns the stored response of the first request with the same key.

    Only a success is stored: a request that was rejected can be corrected and sent again with its key. Raises a 422
    Problem if the key was used for another request, and 409 while the first is in progress (for at most a minute: its
    process may have died).
    """
    key = key_of(request)
    if key is None:
        return JSONResponse(jsonable_encoder(await act()), status)
    request_hash = await _hash(request)
    if (stored := await _claim(database, caller, key, request_hash)) is not None:
        return stored
    try:
        answer = jsonable_encoder(await act())
    except BaseException:
        async with _claimed(database, caller, key) as db:
            await db.execute(delete(idempotency_keys).where(*_is(caller, key)))
        raise
    async with _claimed(database, caller, key) as db:
        await db.execute(update(idempotency_keys).where(*_is(caller, key)).values(status=status, body=answer))
    return JSONResponse(answer, status)


async def _claim(database: Database, caller: str, key: str, request_hash: str) -> JSONResponse | None:
    async with _claimed(database, caller, key) as db:
        abandoned = idempotency_keys.c.created_at < func.now() - func.make_interval(
            0, 0, 0, 0, 0, 0, _ABANDONED_SECONDS
        )
        await db.execute(
            delete(idempotency_keys).where(*_is(caller, key), idempotency_keys.c.status.is_(None), abandoned)
        )
        claimed = await db.execute(
            insert(idempotency_keys).values(caller=caller, key=key, request_hash=request_hash).on_conflict_do_nothing()
        )
        if claimed.rowcount == 1:
            return None
        row = (await db.execute(select(idempotency_keys).where(*_is(caller, key)))).one_or_none()
    if row is None or (row.status is None and row.request_hash == request_hash):
        raise REQUEST_IN_PROGRESS()
    if row.request_hash != request_hash:
        raise IDEMPOTENCY_KEY_REUSED()
    return JSONResponse(row.body, row.status, headers=REPLAYED)


@asynccontextmanager
async def _claimed(database: Database, caller: str, key: str) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees this key of this caller only: stored responses hold clients' secrets."""
    async with database.transaction() as db:
        named = func.set_config("app.caller", caller, True), func.set_config("app.idempotency_key", key, True)
        await db.execute(select(*named))
        yield db


def _is(caller: str, key: str) -> tuple[Any, ...]:
    return idempotency_keys.c.caller == caller, idempotency_keys.c.key == key


async def _hash(request: Request) -> str:
    body = await request.body()
    try:
        canonical = json.dumps(json.loads(body), sort_keys=True).encode()
    except (ValueError, RecursionError):
        canonical = body
    return hashlib.sha256(request.scope["path"].encode() + b"\n" + canonical).hexdigest()
