"""Audit records of requests: who acted, and from where, is noted when the caller is authenticated; what was done is
recorded by the route, in the transaction that does it."""

from __future__ import annotations

from contextvars import ContextVar

from starlette.requests import Request

from contracts.audit import Act, Actor
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.audit import Origin, publish
from kit.runtime.trace import current_traceparent, trace_id

_origin: ContextVar[Origin | None] = ContextVar("audit_origin", default=None)


def note_origin(request: Request, *, id: str, role: str) -> None:
    """For the rest of this request."""
    address = request.client.host if request.client else None
    _origin.set(Origin(actor=Actor(id=id, role=role), address=address, trace_id=trace_id(current_traceparent())))


def clear_origin() -> None:
    """This request has no authenticated caller."""
    _origin.set(None)


def current_actor() -> Actor | None:
    """None outside of an authenticated request."""
    origin = _origin.get()
    return origin.actor if origin else None


def current_origin() -> Origin:
    """Raises LookupError outside of an authenticated request."""
    origin = _origin.get()
    if origin is None:
        raise LookupError("nobody has been authenticated")
    return origin


async def record(uow: UnitOfWork, act: Act) -> None:
    """Publishes the act with what it changes: both are committed, or neither.

    Raises LookupError outside of an authenticated request, and ValueError for an action that is not in the vocabulary.
    """
    origin = current_origin()
    await publish(uow, act, origin.actor, address=origin.address, trace_id=origin.trace_id)
