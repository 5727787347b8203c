"""One rule of the catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stripe_sandbox.errors import StripeError

if TYPE_CHECKING:
    from stripe_sandbox.operation import Call

Values = Mapping[str, object]
"""Values for the placeholders of the message."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What Stripe refuses, and how.

    `calls` are methods and paths of operations. `check` returns None if the call keeps the rule, else the values for
    `message`. A rule without a check is enforced where its state is read, by raising `error()`. `source` is a type or
    docstring of the SDK, a change log entry, a documented error, or a public issue; it starts with "believed" if no
    such text has the exact error.
    """

    name: str
    calls: tuple[str, ...]
    message: str
    source: str
    check: Callable[[Call], Values | None] | None = None
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    status: int = 400

    def error(self, **values: object) -> StripeError:
        """The refusal. A value named `param` replaces the rule's own, for a rule of several parameters."""
        param = values.get("param", self.param)
        return StripeError(
            self.message.format(**values),
            status=self.status,
            type=self.type,
            code=self.code,
            param=None if param is None else str(param),
        )
