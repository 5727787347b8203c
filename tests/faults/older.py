"""A service process of a version before this one: its events lack one type and one optional field.

python -m tests.faults.older <package> <role>
"""

from __future__ import annotations

import runpy
import sys

from contracts import registry
from contracts.payments import PaymentRefunded, PaymentSucceeded

NEW_TYPE = PaymentRefunded
NEW_FIELD = "price"
"""Of `PaymentSucceeded`."""


def forget() -> None:
    """Before any module of the service is imported."""
    registry.PAYMENT_EVENTS = tuple(event for event in registry.PAYMENT_EVENTS if event is not NEW_TYPE)
    registry.PUBLISHED_BY = {
        service: tuple(event for event in events if event is not NEW_TYPE)
        for service, events in registry.PUBLISHED_BY.items()
    }
    registry.EVENT_TYPES = {name: event for name, event in registry.EVENT_TYPES.items() if event is not NEW_TYPE}
    del PaymentSucceeded.__pydantic_fields__[NEW_FIELD]
    PaymentSucceeded.model_rebuild(force=True)
    setattr(PaymentSucceeded, NEW_FIELD, None)  # this version's ledger asks for it


if __name__ == "__main__":
    _, package, role = sys.argv
    forget()
    sys.argv = [package, role]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
