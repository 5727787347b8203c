"""Sends prepared HTTP requests over raw keep-alive connections, to keep the client's overhead low."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Measured:
    """Responses with 200 per second, and percentiles of the response time in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float
    refused: int


def request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one POST request."""
    parts = urlsplit(url)
    all_headers = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = f"POST {parts.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in all_headers.items())
    return head.encode() + b"\r\n" + body


async def run(host: str, port: int, requests: Sequence[bytes], *, connections: int) -> Measured:
    """Sends all requests; each connection sends them one after another."""
    waiting = list(reversed(requests))
    times: list[float] = []
    refused = 0

    async def one() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection(host, port)
        while waiting:
            sent = time.perf_counter()
            writer.write(waiting.pop())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            times.append(time.perf_counter() - sent)
            refused += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    seconds = time.perf_counter() - began
    times.sort()
    return Measured(
        per_second=(len(times) - refused) / seconds,
        p50_ms=1000 * times[len(times) // 2],
        p99_ms=1000 * times[int(len(times) * 0.99)],
        refused=refused,
    )
