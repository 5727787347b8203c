"""Request bodies whose decimals are not rounded: pydantic sees a JSON number as a float, which has 15 digits."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response


class _ExactRequest(Request):
    async def json(self) -> Any:
        try:
            return json.loads(await self.body(), parse_float=Decimal)
        except (ValueError, ArithmeticError) as error:  # not JSON, or a number too long to be one
            raise json.JSONDecodeError(str(error), "", 0) from None  # which FastAPI answers with 422


class ExactJson(APIRoute):
    """`APIRouter(route_class=ExactJson)`"""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(_ExactRequest(request.scope, request.receive))

        return handle_exactly
