"""A TCP proxy that delays what it forwards, as a network between a service and its database does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from testkit.processes import await_port, free_ports


@contextmanager
def delaying(url: str, *, seconds: float) -> Iterator[str]:
    """The same URL through a proxy that delays each direction by this time. On a thread: the caller may block."""
    parts = urlsplit(url)
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    proxy = _Proxy(parts.hostname or "", parts.port or 5432, seconds)
    thread = threading.Thread(target=loop.run_until_complete, args=(proxy.serve(port),), daemon=True)
    thread.start()
    try:
        await_port(port)
        login = parts.netloc.rpartition("@")[0]
        yield parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
    finally:
        loop.call_soon_threadsafe(proxy.stop.set)
        thread.join(10)


class _Proxy:
    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._server = host, port
        self._seconds = seconds
        self.stop = asyncio.Event()

    async def serve(self, port: int) -> None:
        async with await asyncio.start_server(self._forward, "127.0.0.1", port):
            await self.stop.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection(*self._server)
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Ends with the connection. Data is read on while earlier data waits."""
        clock = asyncio.get_running_loop().time
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due_at, data = await waiting.get()
                await asyncio.sleep(max(0.0, due_at - clock()))
                if not data:
                    break
                writer.write(data)
            writer.close()

        writing = asyncio.create_task(write())
        while data := await reader.read(65_536):
            waiting.put_nowait((clock() + self._seconds, data))
        waiting.put_nowait((clock(), b""))
        await writing
