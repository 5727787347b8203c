"""Published by every service: administrative acts, in the same commit as what they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue, model_validator
from pydantic_core import to_jsonable_python

from contracts.envelope import Event, Model
from contracts.text import storable

Action = Literal[
    "break.repaired",
    "case_manager.assigned",
    "case_manager.unassigned",
    "clock.advanced",
    "collection.resumed",
    "contact.changed",
    "dead_letter.discarded",
    "dead_letter.replayed",
    "dead_letter.shown",
    "due_date.changed",
    "enrollment.canceled",
    "event.replayed",
    "event.requested",
    "event.restored",
    "installment.paid",
    "installment.paused",
    "installment.resumed",
    "instructor.changed",
    "instructor.created",
    "instructor.removed",
    "item.changed",
    "item.created",
    "item.deactivated",
    "item.registered",
    "notification.resent",
    "payment.assigned",
    "payment.refunded",
    "price.changed",
    "process.scaled",
    "program.changed",
    "program.created",
    "progress.recorded",
    "promotion.changed",
    "promotion.created",
    "provider_enrollment.confirmed",
    "provider_enrollment.requested",
    "provider_enrollment.retried",
    "provider_program.changed",
    "purchase.created",
    "refund.created",
    "refund.decided",
    "row.repaired",
    "sponsor.changed",
    "sponsor.created",
    "sponsor.link_created",
    "sponsor.link_revoked",
    "student.erasure_requested",
    "student.exported",
    "underpayment.accepted",
    "verification.requested",
]
"""What can be done. The event carries it as text, so that readers of an older version accept a new one."""

ACTIONS: frozenset[str] = frozenset(get_args(Action))


class _Recorded(Model):
    """What cannot be stored is replaced, when it is written and when it is read: an act is recorded in any case."""

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, given: Any) -> Any:  # Any: as in pydantic
        return storable(given)


class Actor(_Recorded):
    """Who acted. `id`: the UUID of a staff member, or the operating system's user of an operator."""

    id: str = Field(min_length=1, max_length=200)
    role: str = Field(min_length=1, max_length=50, description="admin, case_manager, specialist, operator")


class Act(_Recorded):
    """What was done, to what, and why. `before` and `after` have the fields that differ, and no personal data."""

    action: str = Field(max_length=100, pattern=r"^[a-z_]+\.[a-z_]+$")
    object_type: str = Field(min_length=1, max_length=100)
    object_id: str = Field(min_length=1, max_length=300)
    purchase_id: UUID | None = None
    student_id: UUID | None = None
    references: tuple[str, ...] = Field(default=(), description="ids at Stripe")
    before: dict[str, JsonValue] | None = None
    after: dict[str, JsonValue] | None = None
    reason: str | None = Field(default=None, max_length=2000)

    @classmethod
    def of(
        cls,
        action: Action,
        object_type: str,
        object_id: object,
        *,
        purchase_id: UUID | None = None,
        student_id: UUID | None = None,
        references: Iterable[str | None] = (),
        before: Mapping[str, Any] | BaseModel | None = None,
        after: Mapping[str, Any] | BaseModel | None = None,
        reason: str | None = None,
    ) -> Act:
        """With both `before` and `after`: the fields that differ. Email addresses, links that pay, and when a row was
        written, are left out."""
        old, new = _fields(before), _fields(after)
        if old is not None and new is not None:
            differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
            old = {name: value for name, value in old.items() if name in differing}
            new = {name: value for name, value in new.items() if name in differing}
        return cls(
            action=action,
            object_type=object_type,
            object_id=str(object_id),
            purchase_id=purchase_id,
            student_id=student_id,
            references=tuple(reference for reference in references if reference),
            before=old,
            after=new,
            reason=reason[:2000] if reason else None,
        )


_LEFT_OUT = frozenset({"checkout_url", "pay_url", "created_at", "updated_at"})


def _fields(given: Mapping[str, Any] | BaseModel | None) -> dict[str, JsonValue] | None:
    if given is None:
        return None
    values = to_jsonable_python(given.model_dump(mode="json") if isinstance(given, BaseModel) else dict(given))
    return {name: value for name, value in values.items() if name not in _LEFT_OUT and not name.endswith("email")}


class AuditRecorded(Event):
    """Somebody has changed something that is not theirs: who, what, before, after, why, from where."""

    type = "audit.recorded.v1"
    actor: Actor
    act: Act
    address: str | None = Field(default=None, max_length=100, description="the network address of the client")
    trace_id: str | None = Field(default=None, max_length=64, description="of the request (W3C trace context)")
