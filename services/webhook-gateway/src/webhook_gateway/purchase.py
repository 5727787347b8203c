"""Reads the purchase that a Stripe object belongs to from its metadata. Pure and total.

The metadata of the systems that this one replaces is read as well; where both have a value, ours is used.
"""

from __future__ import annotations

from typing import Any, Required, TypedDict, cast, get_args
from uuid import UUID

from contracts.money import Money
from contracts.payments import PaymentRefs
from contracts.people import Contact, ItemKind, ItemRef, Payer, Program, purchase_uuid, student_uuid
from webhook_gateway.fields import (
    JsonObject,
    metadata_integer,
    metadata_object,
    metadata_text,
    money,
    object_at,
    text,
)

_PARTS = [f"includes_{number}" for number in range(1, 21)]
"""The parts of a bundle, of which each takes one of the 50 entries that Stripe stores."""
_MAX_INSTALLMENTS = 120

_STUDENT = ("student_id", "userId")
_ITEM_ID = ("program_id", "courseId", "track")
"""`track` is a code such as DP."""


class PurchaseFields(TypedDict, total=False):
    """The fields that every payment event has in common: whose money it is, for what, and who pays."""

    refs: Required[PaymentRefs]
    purchase_id: UUID
    student_id: UUID | None
    program: Program | None
    payer: Payer | None
    funding_source: str | None
    installments: int | None
    contact: Contact | None
    price: Money | None
    due: Money | None


def purchase_fields(thing: JsonObject, refs: PaymentRefs) -> PurchaseFields | None:
    """Returns None if the object names no purchase: neither one of ours, nor a student or an item.

    A purchase that was started elsewhere gets an id derived from Stripe's.
    """
    metadata = _metadata(thing)
    program, purchase_id = _program(metadata), _uuid(metadata, "purchase_id")
    student = _first(metadata, _STUDENT)
    if purchase_id is None:
        student = student or metadata_text(thing, "client_reference_id")  # in our own sessions, it is the purchase id
        if student is None and program is None:
            return None
        derived_from = refs.subscription or refs.payment_intent or refs.checkout_session or refs.invoice or refs.charge
        if derived_from is None:
            return None
        purchase_id = purchase_uuid(derived_from)
    funding_source = metadata_text(metadata, "funding_source", limit=50)
    currency = metadata_text(metadata, "price_currency") or text(thing, "currency")
    return {
        "refs": refs.model_copy(update={"installment": metadata_text(metadata, "installment")}),
        "purchase_id": purchase_id,
        "student_id": student_uuid(student) if student else None,
        "program": program,
        "payer": _payer(metadata, funding_source),
        "funding_source": funding_source,
        "installments": _installments(metadata),
        "contact": _contact(thing),
        "price": money(metadata_integer(metadata, "price"), currency),
        "due": money(metadata_integer(metadata, "due") or None, currency),
    }


def received_fields(thing: JsonObject, refs: PaymentRefs, *received: Money | None) -> PurchaseFields | None:
    """For payments that were received: money is reported even if the object names no purchase."""
    found = purchase_fields(thing, refs)
    if found is not None:
        return found
    if not refs.of_payment() or not any(money.amount for money in received if money is not None):
        return None
    return {"refs": refs, "contact": _contact(thing)}


def purchase_or_refs(thing: JsonObject, refs: PaymentRefs) -> PurchaseFields:
    """For events that consumers connect to a purchase by their references."""
    return purchase_fields(thing, refs) or {"refs": refs}


def tier(thing: JsonObject) -> str | None:
    """What a membership gives access to."""
    return metadata_text(_metadata(thing), "tier", limit=50)


def _metadata(thing: JsonObject) -> JsonObject:
    """The object's own metadata; for an invoice, its subscription's values (older and current shape) take priority."""
    merged: dict[str, Any] = {}  # Any: JSON
    for path in (("metadata",), ("subscription_details", "metadata"), ("parent", "subscription_details", "metadata")):
        metadata = object_at(thing, *path)
        merged |= {name: value for name, value in metadata.items() if metadata_text(metadata, name) is not None}
    return merged


def _program(metadata: JsonObject) -> Program | None:
    """What was bought. If only an id was sent, it is the slug as well; consumers rank a real slug above such a one."""
    slug, id = metadata_text(metadata, "program_slug"), _first(metadata, _ITEM_ID)
    slug_or_id = slug or id
    if slug_or_id is None:
        return None
    return Program(
        slug=slug_or_id,
        id=id or slug_or_id,
        id_only=True if slug is None else None,
        name=metadata_text(metadata, "program_name", limit=300),
        provider=metadata_text(metadata, "provider", limit=100),
        kind=_kind(metadata, "program_kind"),
        untaught=True if metadata_text(metadata, "program_untaught") == "true" else None,
        includes=_parts(metadata),
    )


def _parts(metadata: JsonObject) -> tuple[ItemRef, ...]:
    """The parts of a bundle, in the order of their numbers; a repeated slug is ignored."""
    parts: dict[str, ItemRef] = {}
    for name in _PARTS:
        if name not in metadata or not (part := metadata_object(metadata, name)):
            continue
        slug, id = metadata_text(part, "slug"), metadata_text(part, "id")
        if slug is not None and id is not None:
            item = ItemRef(
                slug=slug,
                id=id,
                name=metadata_text(part, "name", limit=300),
                provider=metadata_text(part, "provider", limit=100),
                kind=_kind(part, "kind"),
                untaught=True if part.get("untaught") is True else None,
            )
            parts.setdefault(slug, item)
    return tuple(parts.values())


def _kind(metadata: JsonObject, name: str) -> ItemKind | None:
    kind = metadata_text(metadata, name)
    return cast(ItemKind, kind) if kind in get_args(ItemKind) else None


def _payer(metadata: JsonObject, funding_source: str | None) -> Payer | None:
    payer = metadata_text(metadata, "payer")
    if payer in get_args(Payer):
        return cast(Payer, payer)
    return "sponsor" if funding_source else None


def _contact(thing: JsonObject) -> Contact | None:
    for email_path, name_path in (
        (("customer_details", "email"), ("customer_details", "name")),
        (("customer_email",), ("customer_name",)),
        (("billing_details", "email"), ("billing_details", "name")),
        (("receipt_email",), ()),
    ):
        email = text(thing, *email_path, limit=321)
        if email and "@" in email and len(email) <= 320:
            return Contact(email=email, name=text(thing, *name_path) if name_path else None)
    return None


def _uuid(metadata: JsonObject, name: str) -> UUID | None:
    try:
        return UUID(metadata_text(metadata, name) or "")
    except ValueError:
        return None


def _installments(metadata: JsonObject) -> int | None:
    """None for one: that is no plan."""
    count = metadata_integer(metadata, "installments")
    return count if count is not None and 2 <= count <= _MAX_INSTALLMENTS else None


def _first(metadata: JsonObject, names: tuple[str, ...]) -> str | None:
    """The value of the first of these names that has one."""
    return next((value for name in names if (value := metadata_text(metadata, name)) is not None), None)
