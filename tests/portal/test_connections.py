"""The portal's connections to the services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.waiting import until

from portal.service_client import SLOW_CONNECTIONS, Api, Services, ServiceUnavailable

CHAT = "/api/instructors/mine/1/messages"


class OneThatNeverAnswersQuestions:
    """A service at a real port: httpx limits connections below what a test's transport replaces."""

    def __init__(self) -> None:
        self.asked = 0
        self._open: list[asyncio.StreamWriter] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            self.asked += 1
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    async def all_asked(self) -> bool:
        return self.asked == SLOW_CONNECTIONS

    def close(self) -> None:
        for writer in self._open:
            writer.close()


@pytest.fixture
async def service() -> AsyncIterator[tuple[OneThatNeverAnswersQuestions, Services]]:
    service = OneThatNeverAnswersQuestions()
    server = await asyncio.start_server(service.handle, "127.0.0.1", 0)
    services = Services({"chat": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
    yield service, services
    await services.close()
    service.close()
    server.close()


@pytest.mark.parametrize("streamed", [True, False])
async def test_questions_that_wait_for_an_answer_delay_no_page(
    service: tuple[OneThatNeverAnswersQuestions, Services], streamed: bool
) -> None:
    never, services = service
    api = Api(services, token=None, address=None)

    async def ask() -> object:
        if streamed:
            return await api.stream("chat", CHAT, {}, key="k", seconds=100)
        return await api.post("chat", CHAT, {}, key="k", seconds=100)

    questions = [asyncio.create_task(ask()) for _ in range(SLOW_CONNECTIONS)]
    try:
        await until(never.all_asked, seconds=30)
        with pytest.raises(ServiceUnavailable, match="PoolTimeout"):
            await ask()
        assert await api.get("chat", "/api/instructors/mine/1") == {}
    finally:
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)
