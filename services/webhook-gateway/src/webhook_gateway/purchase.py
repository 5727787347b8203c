"""Whose purchase a Stripe object belongs to, as its metadata tells. Pure and total."""

from __future__ import annotations

from typing import Any, cast, get_args
from uuid import UUID

from contracts.payments import PaymentRefs
from contracts.people import Contact, ItemKind, ItemRef, Program, purchase_uuid, student_uuid
from webhook_gateway.fields import JsonObject, an_object, digits, in_currency, json_object, text

_MOST_INCLUDED = 20  # a bundle; each takes one of the 50 entries that Stripe keeps


def about(thing: JsonObject, refs: PaymentRefs) -> dict[str, Any] | None:
    """What every payment event tells: whose, for what, who pays. None: none of our metadata, so not ours.

    Ours is what names a student and a program (all that the first of the seed systems asks for), or a purchase that we
    started. A purchase that we did not start gets an id derived from Stripe's.
    """
    metadata = _metadata(thing)
    student, program, purchase_id = text(metadata, "student_id"), _program(metadata), _uuid(metadata, "purchase_id")
    if purchase_id is None and (student is None or program is None):
        return None
    if purchase_id is None:
        derived_from = refs.subscription or refs.payment_intent or refs.checkout_session or refs.invoice or refs.charge
        if derived_from is None:
            return None
        purchase_id = purchase_uuid(derived_from)
    funding_source = text(metadata, "funding_source", most=50)
    payer = text(metadata, "payer")
    return {
        "refs": refs.model_copy(update={"installment": text(metadata, "installment")}),
        "purchase_id": purchase_id,
        "student_id": student_uuid(student) if student else None,
        "program": program,
        "payer": payer if payer in ("student", "sponsor") else "sponsor" if funding_source else None,
        "funding_source": funding_source,
        "installments": _installments(metadata),
        "contact": _contact(thing),
        "price": in_currency(digits(metadata, "price"), text(metadata, "price_currency")),
    }


def tier(thing: JsonObject) -> str | None:
    """What a membership gives access to."""
    return text(_metadata(thing), "tier", most=50)


def _metadata(thing: JsonObject) -> JsonObject:
    """An invoice's own, under that of the subscription it is for (new shape and old)."""
    merged: dict[str, Any] = {}
    for path in (("metadata",), ("subscription_details", "metadata"), ("parent", "subscription_details", "metadata")):
        merged |= an_object(thing, *path)
    return merged


def _program(metadata: JsonObject) -> Program | None:
    slug, id = text(metadata, "program_slug"), text(metadata, "program_id")
    either = slug or id
    if either is None:
        return None
    return Program(
        slug=either,
        id=id or either,
        name=text(metadata, "program_name", most=300),
        provider=text(metadata, "provider", most=100),
        kind=_kind(metadata, "program_kind"),
        includes=_included(metadata),
    )


def _included(metadata: JsonObject) -> tuple[ItemRef, ...]:
    """What a bundle consists of, `includes_1` first. One enrollment each, so a slug that comes again adds nothing."""
    found: dict[str, ItemRef] = {}
    for number in range(1, _MOST_INCLUDED + 1):
        part = json_object(metadata, f"includes_{number}")
        slug, id = text(part, "slug"), text(part, "id")
        if slug is not None and id is not None:
            name, provider = text(part, "name", most=300), text(part, "provider", most=100)
            found.setdefault(slug, ItemRef(slug=slug, id=id, name=name, provider=provider, kind=_kind(part, "kind")))
    return tuple(found.values())


def _kind(value: JsonObject, name: str) -> ItemKind | None:
    kind = text(value, name)
    return cast(ItemKind, kind) if kind in get_args(ItemKind) else None


def _contact(thing: JsonObject) -> Contact | None:
    for email_path, name_path in (
        (("customer_details", "email"), ("customer_details", "name")),
        (("customer_email",), ("customer_name",)),
        (("billing_details", "email"), ("billing_details", "name")),
        (("receipt_email",), ()),
    ):
        email = text(thing, *email_path, most=321)
        if email and "@" in email and len(email) <= 320:
            return Contact(email=email, name=text(thing, *name_path) if name_path else None)
    return None


def _uuid(metadata: JsonObject, name: str) -> UUID | None:
    try:
        return UUID(text(metadata, name) or "")
    except ValueError:
        return None


def _installments(metadata: JsonObject) -> int | None:
    value = digits(metadata, "installments")
    return value if value is not None and 1 <= value <= 120 else None
