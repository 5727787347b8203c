"""Whose purchase a Stripe object belongs to, as its metadata tells. Pure and total."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from contracts.payments import PaymentRefs
from contracts.people import Contact, Program, purchase_uuid, student_uuid
from webhook_gateway.fields import JsonObject, an_object, text


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
        "refs": refs,
        "purchase_id": purchase_id,
        "student_id": student_uuid(student) if student else None,
        "program": program,
        "payer": payer if payer in ("student", "sponsor") else "sponsor" if funding_source else None,
        "funding_source": funding_source,
        "instalments": _instalments(metadata),
        "contact": _contact(thing),
    }


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
    )


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


def _instalments(metadata: JsonObject) -> int | None:
    value = text(metadata, "instalments", most=4) or ""
    return int(value) if value.isascii() and value.isdigit() and 1 <= int(value) <= 120 else None
