"""Audit records: published with what they record. For requests see `kit.http.audit`."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from uuid import uuid4

from contracts.audit import ACTIONS, Act, Actor, AuditRecorded
from kit.db.unit_of_work import UnitOfWork


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who acts, and from where: `address` of the client and `trace_id`, if it is a request."""

    actor: Actor
    address: str | None = None
    trace_id: str | None = None


def operator(name: str | None = None) -> Actor:
    """Who runs a command: the given name, or the operating system's user."""
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a container whose user has no name
            name = f"uid-{os.getuid()}"
    return Actor(id=name, role="operator")


def subject_of(act: Act) -> str:
    return str(act.purchase_id or act.object_id)


def new_id() -> str:
    return f"audit/{uuid4()}"


async def publish(
    uow: UnitOfWork, act: Act, actor: Actor, *, address: str | None = None, trace_id: str | None = None
) -> None:
    """In the transaction of the act. Raises ValueError for an action that is not in the vocabulary."""
    if act.action not in ACTIONS:
        raise ValueError(f"unknown action {act.action}: add it to contracts.audit")
    event = AuditRecorded(actor=actor, act=act, address=address, trace_id=trace_id)
    await uow.publish(event, id=new_id(), subject=subject_of(act))
