"""An operator action: a path under /sandbox/api, a model of its body, and a function that returns the JSON response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


class EmptyBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Action:
    """`run` gets the sandbox, the id in the path, and the body."""

    path: str
    body: type[BaseModel]
    run: Callable[[Sandbox, str, Any], Obj]
