"""A client that sends slowly, or never ends its headers, is disconnected; others are not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from fastapi import APIRouter, Request
from structlog.testing import capture_logs
from tests.waiting import until

from kit.http import protocol
from kit.http.app import create_app
from kit.http.protocol import HEAD_LIMIT, HttpProtocol

router = APIRouter()
bodies: list[bytes] = []
headers: list[list[tuple[str, str]]] = []


@router.post("/orders")
async def order(request: Request) -> int:
    bodies.append(await request.body())
    headers.append(request.headers.items())
    return len(bodies[-1])


HEAD = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
CHUNKED_HEAD = b"POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.4)
    monkeypatch.setattr(protocol, "BODY_SECONDS", 0.8)
    monkeypatch.setattr(protocol, "IDLE_SECONDS", 1)
    bodies.clear()
    headers.clear()
    app = create_app(title="tests", routers=[router])
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", http=HttpProtocol, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def answer(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server sends until it disconnects, or until its answer is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.read(1)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return getattr(error, "partial", b"")
    finally:
        writer.close()


async def test_a_connection_that_sends_nothing_is_closed(port: int) -> None:
    assert await answer(port) == b""


async def test_a_connection_that_is_not_used_any_more_is_closed(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"1234567890")
    async with asyncio.timeout(4):  # uvicorn's own limit is 5 s
        answered = await reader.read()
    writer.close()
    assert answered.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"P", b"POST /orders HTTP/1.1\r\nHost: x\r\n"])
async def test_headers_that_do_not_end_are_refused(port: int, sent: bytes) -> None:
    assert (await answer(port, sent)).startswith(b"HTTP/1.1 400")


async def test_headers_that_end_byte_by_byte_are_refused(port: int) -> None:
    parts = [bytes([byte]) for byte in HEAD]
    assert not (await answer(port, *parts, b"1234567890", pause=0.02)).startswith(b"HTTP/1.1 200")
    assert bodies == []


async def test_a_body_that_does_not_end_is_given_up_without_an_error(port: int) -> None:
    with capture_logs() as logs:
        assert await answer(port, HEAD, b"12345") == b""
    assert bodies == []
    assert [line for line in logs if line["log_level"] in ("error", "critical")] == []


async def test_a_client_that_disconnects_in_the_middle_is_no_error(port: int) -> None:
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"12345")
        await writer.drain()
        writer.transport.abort()
        await asyncio.sleep(0.2)
    assert (bodies, logs) == ([], [])


async def test_headers_over_the_limit_are_refused(port: int) -> None:
    parts = [
        b"POST /orders HTTP/1.1\r\nHost: x\r\n",
        *[b"X-Filler: " + b"x" * 8_000 + b"\r\n"] * (HEAD_LIMIT // 8_000 + 1),
    ]
    assert (await answer(port, *parts, pause=0.001)).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("trailer", [b"\r\nX-Filler: " + b"x" * 8_000, b"x" * 8_000])
async def test_trailers_over_the_limit_are_refused(port: int, monkeypatch: pytest.MonkeyPatch, trailer: bytes) -> None:
    monkeypatch.setattr(protocol, "BODY_SECONDS", 60.0)
    trailers = [trailer] * (HEAD_LIMIT // 8_000 + 1)
    parts = (CHUNKED_HEAD, b"2\r\n12\r\n0\r\nX-Filler: x", *trailers)
    assert (await answer(port, *parts, pause=0.001)).startswith(b"HTTP/1.1 400")


async def test_a_large_body_in_small_chunks_has_no_trailers(port: int) -> None:
    chunks = [b"fa0\r\n", b"x" * 4_000, b"\r\n"] * (HEAD_LIMIT // 4_000 + 1)
    assert (await answer(port, CHUNKED_HEAD, *chunks, b"0\r\n\r\n", pause=0.001)).startswith(b"HTTP/1.1 200")


async def test_trailers_are_no_headers_of_this_request_or_the_next(port: int) -> None:
    trailers = b"X-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer x\r\n"
    request = CHUNKED_HEAD + b"2\r\n12\r\n0\r\n" + trailers + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request + request)
    async with asyncio.timeout(5):
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == b"2"
    writer.close()
    assert headers == [[("host", "x"), ("transfer-encoding", "chunked")]] * 2


async def test_an_empty_line_after_an_answer_does_not_keep_the_connection_open(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"1234567890")
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n10")
        writer.write(b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_others_are_served_meanwhile_and_an_open_connection_is_used_again(port: int) -> None:
    slow = [asyncio.create_task(answer(port, b"POST")) for _ in range(50)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(HEAD + b"1234567890")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(2) == b"10"
        await asyncio.sleep(0.5)  # longer than the headers may take
    writer.close()
    assert bodies == [b"1234567890"] * 3
    assert all(each.startswith(b"HTTP/1.1 400") for each in await asyncio.gather(*slow))
