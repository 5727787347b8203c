"""Request bodies whose numbers stay as they were written: 4890.00 arrives as a Decimal, never as a float."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, WithJsonSchema
from starlette.responses import Response

_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,4})?")


class _ExactRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            try:
                self._json = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
            except json.JSONDecodeError:
                raise
            except (ValueError, ArithmeticError, RecursionError):
                # FastAPI answers this one with 422, and everything else with 400
                raise json.JSONDecodeError("not a number that we read", "", 0) from None
        return self._json


class ExactJson(APIRoute):
    """`APIRouter(route_class=ExactJson)`"""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def exact(request: Request) -> Response:
            return await handle(_ExactRequest(request.scope, request.receive))

        return exact


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _price(value: object) -> Decimal | None:
    if isinstance(value, str):
        return Decimal(value) if _AMOUNT.fullmatch(value) else None
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return Decimal(value)
    raise ValueError("a price is a number, or a number in a string")


Amount = Annotated[
    Decimal | None,
    BeforeValidator(_price),
    WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}],
            "description": "major units (4890 or “4890.00”), or minor units as the list of programs gives them",
        }
    ),
]
"""An amount as a client writes it; None for a string that is no number."""
