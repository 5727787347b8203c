"""An API operation: HTTP method, path, parameter type of the SDK, and handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stripe_sandbox.params import Params
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Call:
    """An authenticated request with validated parameters.

    `publishable`: by the publishable key, as Stripe.js calls from a browser; then `client_secret` is what it has sent.
    """

    sandbox: Sandbox
    params: Params
    path: Mapping[str, str]
    publishable: bool = False
    client_secret: object = None

    @property
    def id(self) -> str:
        return self.path["id"]


@dataclass(frozen=True)
class Operation:
    """`params` is the TypedDict of the SDK; None if the operation only accepts `expand`."""

    method: str
    path: str
    params: type | None
    handle: Callable[[Call], Obj]


def retrieve(object_type: str) -> Callable[[Call], Obj]:
    """A handler that returns the object with the id in the path."""

    def handle(call: Call) -> Obj:
        return call.sandbox.store.get(object_type, call.id)

    return handle
