"""Shared by pages and operator API: parsing of forms and JSON bodies, and webhooks sent with the response."""

from __future__ import annotations

import json
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from stripe_sandbox.errors import StripeError
from stripe_sandbox.state import Sandbox

M = TypeVar("M", bound=BaseModel)


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of an HTML form, without empty ones."""
    pairs = parse_qsl((await request.body()).decode("utf-8", "replace"))
    return {name: value for name, value in pairs if value.strip()}


async def read_as(request: Request, model: type[M]) -> M:
    """Validates a form or JSON body as `model`. Raises a 400 that names the first invalid field."""
    body = await request.body()
    try:
        values: Any = await read_form(request) if is_form(request) else json.loads(body or b"{}")
        return model.model_validate(values)
    except json.JSONDecodeError as error:
        raise StripeError(f"The request body is not valid JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StripeError(f"{name}: {first['msg']}", param=name) from error


async def with_webhooks(sandbox: Sandbox, response: Response) -> Response:
    """Returns the response; webhooks of the request are sent after it, or before it under `before_answer`."""
    deliveries = await sandbox.deliver_before_response()
    response.background = BackgroundTask(sandbox.deliveries.send_after_response, deliveries)
    return response
