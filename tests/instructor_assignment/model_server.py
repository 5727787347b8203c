"""An OpenAI-compatible API over real HTTP, which answers what a test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

OK = "200 OK"


def chunk(text: str | None = None, *, finish: str | None = None, total: int | None = None) -> bytes:
    """One event. `total`: the tokens that were used, without a choice as the API sends it."""
    body: dict[str, Any] = {"id": "c1", "object": "chat.completion.chunk", "choices": []}
    if total is None:
        body["choices"] = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    else:
        body["usage"] = {"prompt_tokens": 1, "completion_tokens": total - 1, "total_tokens": total}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
WHOLE = (chunk("Clean it, "), chunk("then disinfect it."), chunk(finish="stop"), chunk(total=120), DONE)


@dataclass
class ModelServer:
    """`parts`: of the body; one that is an Event is waited for. `requests`: headers and body of each."""

    url: str = ""
    status: str = OK
    content_type: str = "text/event-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[bytes | asyncio.Event] = WHOLE
    requests: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    disconnected: int = 0
    """How many clients have gone before the end."""

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The messages of the last prompt."""
        found: list[dict[str, Any]] = self.requests[-1][1]["messages"]
        return found

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            self.requests.append((headers | {":path": head[0].split()[1]}, body))
            lines = [f"HTTP/1.1 {self.status}", f"Content-Type: {self.content_type}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            for part in self.parts:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                elif await _gone(reader, part):
                    self.disconnected += 1
                    return
        finally:
            writer.close()


async def _gone(reader: asyncio.StreamReader, event: asyncio.Event) -> bool:
    """Whether the client disconnects before the event."""
    waiting, reading = asyncio.ensure_future(event.wait()), asyncio.ensure_future(reader.read(1))
    done, pending = await asyncio.wait({waiting, reading}, return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
    return waiting not in done


@asynccontextmanager
async def model_server() -> AsyncIterator[ModelServer]:
    model = ModelServer()
    server = await asyncio.start_server(model._answer, "127.0.0.1", 0)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield model
