"""An answer that never arrives: the connection is closed although the request was carried out."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class LostAnswer(Response):
    """ASGI cannot close a connection, but uvicorn's `receive` belongs to an object that holds the transport."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport = getattr(getattr(receive, "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError("Answers can only be lost under uvicorn.")
        transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass
        if self.background is not None:
            await self.background()
