"""HTTP/1.1 by httptools, with limits on what a client can make the server keep, and on how long it may take to send.

uvicorn limits neither: its `timeout_keep_alive` begins after an answer, and ends with the next byte. It also adds the
trailers of a chunked body to the headers of the request. Here they are dropped (RFC 9110, 6.5.1).
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT = 64 * 1024
"""Bytes of a request line and headers, and of trailers. uvicorn limits these with h11, and not with httptools."""
HEAD_SECONDS = 15.0
"""From the connection, or from the first byte after an answer, to the end of the headers."""
BODY_SECONDS = 60.0
"""From there to the end of the body, which is at most `kit.http.app.BODY_LIMIT` bytes."""
IDLE_SECONDS = 75
"""From an answer to the next request. Longer than proxies and clients keep a connection that is not used (Caddy here
30 s, nginx and AWS's load balancers 60 s): if the server closes it first, a request may be on its way, and is lost."""


class HttpProtocol(HttpToolsProtocol):
    _in_head = False
    _in_trailers = False
    _field_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.timeout_keep_alive = IDLE_SECONDS
        self._expect_within(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_within(None)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._field_bytes = True, 0
        self._expect_within(HEAD_SECONDS)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect_within(BODY_SECONDS)
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        """The size of a chunk has been read. Trailers follow, unless a body does: only the last chunk is empty."""
        self._in_trailers, self._field_bytes = True, 0

    def on_body(self, body: bytes) -> None:
        self._in_trailers = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_trailers = False
        self._expect_within(None)
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        continues = self._in_head or self._in_trailers
        super().data_received(data)
        if continues and (self._in_head or self._in_trailers):
            self._field_bytes += len(data)
            if self._field_bytes > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response("Request headers are too large.")
        if self._deadline is None and self.cycle.response_complete:
            # empty lines before a request, which the parser skips: uvicorn has ended its own timeout
            self._expect_within(HEAD_SECONDS)

    def _expect_within(self, seconds: float | None) -> None:
        """None: nothing is expected."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        """What has been read of a body is lost: the application sees that the client has disconnected."""
        if self._in_head and not self.transport.is_closing():
            self.send_400_response("The request was not sent in time.")
        else:
            self.transport.abort()
