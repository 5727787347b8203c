"""A response that is never sent: the connection is closed after the request was executed."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class LostResponse(Response):
    """ASGI cannot close a connection, but uvicorn's `receive` is bound to an object that has the transport."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError("Responses can only be dropped under uvicorn.")
        transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass
        if self.background is not None:
            await self.background()
