"""One API operation: a method, a path, the SDK's parameters for it, and a function that does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stripe_sandbox.params import Params
from stripe_sandbox.state import Sandbox
from stripe_sandbox.store import Obj


@dataclass(frozen=True)
class Call:
    """A request that has passed: authentication, idempotency and the parameters' types are dealt with."""

    sandbox: Sandbox
    params: Params
    path: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.path["id"]


@dataclass(frozen=True)
class Operation:
    """`params` is the SDK's TypedDict; none means that only `expand` may be given."""

    method: str
    path: str
    params: type | None
    handle: Callable[[Call], Obj]


def retrieve(object_type: str) -> Callable[[Call], Obj]:
    """The handler that answers with the object named in the path."""

    def handle(call: Call) -> Obj:
        return call.sandbox.store.get(object_type, call.id)

    return handle
