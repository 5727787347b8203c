"""A TCP proxy that forwards the last words of a server, and not the end of its connection: as a load balancer does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


@asynccontextmanager
async def staying_open(url: str) -> AsyncIterator[str]:
    """The same URL through the proxy."""
    parts = urlsplit(url)
    ended = asyncio.Event()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port)
        from_server = asyncio.create_task(copy(far_reader, writer))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await copy(reader, far_writer)
            await asyncio.wait([from_server, asyncio.create_task(ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, far_writer):
            each.close()

    server = await asyncio.start_server(forward, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    try:
        yield parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()
    finally:
        ended.set()
        server.close()
