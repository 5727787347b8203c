"""A Stripe event without personal data. Pure and total.

What may stay is listed, not what has to go: Stripe adds fields, and metadata of other systems may contain anything.
Numbers, flags, ids and the texts of the listed fields stay. So the event is translated as before, but for the contact
and for pages of Stripe's, which show the payer's name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from contracts import personal_data
from contracts.people import student_uuid
from webhook_gateway.fields import JsonObject, metadata_text

_TEXTS = frozenset(
    {
        "action",
        "api_version",
        "billing_reason",
        "brand",
        "cancellation_reason",
        "capture_method",
        "code",
        "collection_method",
        "currency",
        "decline_code",
        "end_behavior",
        "failure_code",
        "fraud_type",
        "funding",
        "interval",
        "mode",
        "network_status",
        "object",
        "outcome",
        "payment_method_types",
        "payment_status",
        "reason",
        "status",
        "type",
        "ui_mode",
    }
)
"""Fields whose texts are of Stripe's vocabulary."""
_METADATA = frozenset(
    {
        "courseId",
        "due",
        "funding_source",
        "installment",
        "installments",
        "payer",
        "price",
        "price_currency",
        "program_id",
        "program_kind",
        "program_name",
        "program_slug",
        "program_untaught",
        "provider",
        "purchase_id",
        "student_id",
        "tier",
        "track",
        "userId",
        *(f"includes_{number}" for number in range(1, 21)),
    }
)
"""What `purchase` reads."""
_STUDENTS = frozenset({"client_reference_id", "student_id", "userId"})
_DROPPED = frozenset(
    {
        "address",
        "billing_details",
        "customer_address",
        "customer_details",
        "dob",
        "email",
        "evidence",
        "individual_name",
        "last4",
        "name",
        "phone",
        "shipping",
        "shipping_details",
    }
)
"""Whatever they contain."""
_ID = re.compile(
    r"(?=.*\d)[a-z]{2,12}_\w{1,250}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    # of a hundred random ids with 24 characters, one or two have no digit
    r"|(?:ch|cus|dp|du|evt|in|inpay|mandate|pi|pm|price|prod|py|pyr|re|seti|src|sub|sub_sched|txn)_[A-Za-z0-9]{14,64}"
)
_CODE = re.compile(r"[\w.\- ]{1,100}")

Json = Any  # what json.loads returns


def redacted(event: JsonObject) -> dict[str, Any]:
    return {name: value for name, value in _object(event).items() if name != "request"}


def redacted_message(type_: str, body: Json) -> Json:
    """The body of a message: of one of our events, or of a spilled event of Stripe's, which has no `type_`."""
    if type_:
        return personal_data.erased(type_, body)
    return redacted(body) if isinstance(body, Mapping) else {}


def students(value: Json) -> frozenset[str]:
    """The UUIDs of the students that an event names, in whatever way its metadata names them."""
    if isinstance(value, Mapping):
        named = frozenset(id for name in _STUDENTS if (id := _student(value, name)) is not None)
        return named.union(*(students(inner) for inner in value.values()))
    if isinstance(value, list):
        return frozenset().union(*(students(inner) for inner in value))
    return frozenset()


def _object(value: Mapping[str, Json]) -> dict[str, Json]:
    kept = {}
    for name, inner in value.items():
        if name in _DROPPED or not _is_name(name):
            continue
        if name == "metadata":
            kept[name] = _metadata(inner)
        elif name in _STUDENTS:
            kept[name] = _student(value, name)
        else:
            kept[name] = _value(name, inner)
    return kept


def _value(name: str, value: Json) -> Json:
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, list):
        kept = (_value(name, inner) for inner in value)
        return [each for each in kept if each is not None]
    if isinstance(value, str):
        return value if _ID.fullmatch(value) or (name in _TEXTS and _CODE.fullmatch(value)) else None
    return value


def _metadata(value: Json) -> Json:
    if not isinstance(value, Mapping):
        return {}
    kept = {name: inner for name, inner in value.items() if name in _METADATA}
    return kept | {name: _student(value, name) for name in _STUDENTS & kept.keys()}


def _student(value: JsonObject, name: str) -> str | None:
    """Another system's id may be anything, also a name. What it stands for here is a UUID."""
    reference = metadata_text(value, name)
    return str(student_uuid(reference)) if reference else None


def _is_name(name: str) -> bool:
    """Stripe's names of fields; a map that is keyed by something else may be keyed by anything."""
    return re.fullmatch(r"[a-z][a-z0-9_]{0,60}", name) is not None


def encoded(event: JsonObject) -> bytes:
    return json.dumps(redacted(event), separators=(",", ":")).encode()
