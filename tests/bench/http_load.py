"""Sends prepared HTTP requests over raw keep-alive connections: the client shares the machine with the server."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

CONNECTIONS = 32
SECONDS = 300.0
"""After which requests without a response are given up."""


@dataclass(frozen=True)
class Response:
    """`due_at`: when the request was to be sent, so that waiting for a free connection counts. Both by time.time()."""

    index: int
    due_at: float
    finished_at: float
    status: int

    @property
    def seconds(self) -> float:
        return self.finished_at - self.due_at


@dataclass(frozen=True)
class Load:
    """What was answered, in the order of the answers."""

    responses: Sequence[Response]

    @property
    def accepted(self) -> list[Response]:
        return [each for each in self.responses if each.status == 200]

    @property
    def per_second(self) -> float:
        """Of 200s, between the first and the last tenth of all answers."""
        tenth = len(self.responses) // 10
        inner = self.responses[tenth : len(self.responses) - tenth]
        accepted = sum(each.status == 200 for each in inner)
        return accepted / (inner[-1].finished_at - inner[0].finished_at)

    def milliseconds(self, part: float) -> float:
        """The response time that this part of all 200s does not exceed: 0.99 for the 99th percentile."""
        return 1000 * percentile([each.seconds for each in self.accepted], part)


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST request."""
    parts = urlsplit(url)
    fields = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = f"POST {parts.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + body


async def saturate(url: str, requests: Sequence[bytes], *, connections: int = CONNECTIONS) -> Load:
    """Each connection sends one request after another, as fast as they are answered."""
    async with _Client(url, requests, connections) as client:
        now = time.time()
        for index in range(len(requests)):
            client.send(index, now)
        await client.finished()
    previous: dict[int, float] = client.sent_at
    return Load([Response(r.index, previous[r.index], r.finished_at, r.status) for r in client.responses])


async def steady(url: str, requests: Sequence[bytes], *, per_second: float, connections: int = 2 * CONNECTIONS) -> Load:
    """One request at a time, at this rate, whether or not the earlier ones were answered."""
    async with _Client(url, requests, connections) as client:
        began = time.time()
        for index in range(len(requests)):
            due_at = began + index / per_second
            if (pause := due_at - time.time()) > 0.0005:
                await asyncio.sleep(pause)
            client.send(index, due_at)
        await client.finished()
    return Load(client.responses)


class _Client:
    def __init__(self, url: str, requests: Sequence[bytes], connections: int) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._requests = requests
        self._connections = [_Connection(self._answered) for _ in range(connections)]
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[int, float]] = deque()
        self._done = asyncio.Event()
        self.sent_at: dict[int, float] = {}
        self.responses: list[Response] = []

    async def __aenter__(self) -> _Client:
        loop = asyncio.get_running_loop()
        for each in self._connections:
            await loop.create_connection(lambda each=each: each, *self._address)  # type: ignore[misc]
        self._free.extend(self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._connections:
            each.close()

    def send(self, index: int, due_at: float) -> None:
        self._waiting.append((index, due_at))
        self._send_waiting()

    async def finished(self) -> None:
        async with asyncio.timeout(SECONDS):
            await self._done.wait()

    def _send_waiting(self) -> None:
        while self._free and self._waiting:
            index, due_at = self._waiting.popleft()
            self.sent_at[index] = time.time()
            self._free.popleft().send(self._requests[index], index, due_at)

    def _answered(self, connection: _Connection, response: Response) -> None:
        self.responses.append(response)
        self._free.append(connection)
        if len(self.responses) == len(self._requests):
            self._done.set()
        self._send_waiting()


class _Connection(asyncio.Protocol):
    def __init__(self, answered: Callable[[_Connection, Response], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self._sent: tuple[int, float] = 0, 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, request: bytes, index: int, due_at: float) -> None:
        assert self._transport is not None
        self._sent = index, due_at
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        index, due_at = self._sent
        self._answered(self, Response(index, due_at, time.time(), int(head.split(b" ", 2)[1])))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
