"""The answer of a service, passed on to the browser as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing

import httpx
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class StreamedAnswer(StreamingResponse):
    """Closes the connection to the service however it ends: a browser may go before the first part."""

    def __init__(self, answer: httpx.Response, *, headers: Mapping[str, str], lost: bytes | None = None) -> None:
        """`lost`: what follows if the service goes before its end; None: the browser's connection is cut, too."""
        super().__init__(_parts(answer, lost), answer.status_code, headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._answer):
            await super().__call__(scope, receive, send)


async def _parts(answer: httpx.Response, lost: bytes | None) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    except httpx.HTTPError:
        if lost is None:
            raise
        yield lost
