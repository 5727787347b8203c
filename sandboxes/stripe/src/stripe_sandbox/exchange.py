"""What pages and operator calls share: reading a form or JSON, and sending the webhooks around the answer."""

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
    """The fields of a plain HTML form; empty ones count as not filled in."""
    pairs = parse_qsl((await request.body()).decode("utf-8", "replace"))
    return {name: value for name, value in pairs if value.strip()}


async def read_as(request: Request, model: type[M]) -> M:
    """A form or a JSON body as `model`. Raises a 400 that names the first field that does not fit."""
    body = await request.body()
    try:
        given: Any = await read_form(request) if is_form(request) else json.loads(body or b"{}")
        return model.model_validate(given)
    except json.JSONDecodeError as error:
        raise StripeError(f"The body is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StripeError(f"{name}: {first['msg']}", param=name) from error


async def with_webhooks(sandbox: Sandbox, response: Response) -> Response:
    """The same response; the events that its request caused go out after it (or before, where that is ordered)."""
    left = await sandbox.deliver_before_answer()
    response.background = BackgroundTask(sandbox.deliveries.send_after_answer, left)
    return response
