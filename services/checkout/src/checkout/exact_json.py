"""JSON whose decimals are exact, in requests and in answers.

pydantic sees a JSON number as a float, which has 15 digits, and writes a Decimal as a string. Routes of `ExactJson`
read numbers as Decimals, and write what `number` returns as a number with exactly the Decimal's digits: 300.00.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.responses import Response

from kit.http.problems import Problem, ProblemType

_MARK = "\ufdd0"
"""A noncharacter: Unicode reserves it for marks inside a program, so no text contains it."""
_MARKED = re.compile(rf'"{_MARK}(-?[0-9]+(?:\.[0-9]+)?)"'.encode())


def number(value: Decimal) -> str:
    """What stands for this number in an answer until it is sent. (A JSON encoder knows no exact decimals.)"""
    return f"{_MARK}{value:f}"


class _ExactRequest(Request):
    async def json(self) -> Any:  # any JSON value
        try:
            return json.loads(await self.body(), parse_float=Decimal)
        except (ValueError, ArithmeticError) as error:  # not JSON, or a number too long to be one
            raise json.JSONDecodeError(str(error), "", 0) from None  # which FastAPI answers with 422


class ExactJson(APIRoute):
    """`APIRouter(route_class=ExactJson)`"""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return _with_numbers(await handle(_ExactRequest(request.scope, request.receive)))

        return handle_exactly


class ExactProblem(Problem):
    """A Problem whose extra members may be Decimals."""

    def __init__(self, type: ProblemType, detail: str, **extra: Any) -> None:  # any JSON value
        super().__init__(type, detail, **{name: _member(value) for name, value in extra.items()})

    def response(self) -> JSONResponse:
        answer = super().response()
        _with_numbers(answer)
        return answer


def _member(value: Any) -> Any:
    return number(value) if isinstance(value, Decimal) else value


def _with_numbers(response: Response) -> Response:
    if _MARK.encode() in (body := bytes(getattr(response, "body", b""))):
        response.body = _MARKED.sub(rb"\1", body)
        response.headers["content-length"] = str(len(response.body))
    return response
