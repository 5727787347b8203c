"""Rules of every request: idempotency keys and metadata. Enforced by `idempotency` and `params`."""

from __future__ import annotations

from stripe_sandbox.rules.rule import Rule

_ANY = ("POST *",)
_METADATA = "docs.stripe.com/metadata: 50 keys, names up to 40 characters, values up to 500 (messages: believed)"

KEY_TOO_LONG = Rule(
    name="idempotency_key_length",
    calls=_ANY,
    message="The Idempotency-Key can be at most 255 characters long.",
    param="Idempotency-Key",
    source="docs.stripe.com/api/idempotent_requests (message: believed)",
)
KEY_REUSED = Rule(
    name="idempotency_key_of_another_request",
    calls=_ANY,
    message=(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a "
        "key other than '{key}' if you meant to execute a different request."
    ),
    type="idempotency_error",
    source="docs.stripe.com/api/idempotent_requests; the message as quoted by public code",
)
KEY_IN_USE = Rule(
    name="idempotency_key_in_use",
    calls=_ANY,
    message=(
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        "twice, and the other request is still going through): {key}."
    ),
    type="idempotency_error",
    code="idempotency_key_in_use",
    status=409,
    source="docs.stripe.com/error-codes#idempotency-key-in-use",
)
METADATA_KEYS = Rule(
    name="metadata_keys",
    calls=_ANY,
    message="You can only specify 50 metadata keys, but you have {count}.",
    param="metadata",
    source=_METADATA,
)
METADATA_KEY_LENGTH = Rule(
    name="metadata_key_length",
    calls=_ANY,
    message=(
        "Metadata keys can have up to 40 characters, but you passed in a key that is {length} characters. Invalid key: "
        "{key}"
    ),
    param="metadata",
    source=_METADATA,
)
METADATA_VALUE_LENGTH = Rule(
    name="metadata_value_length",
    calls=_ANY,
    message=(
        "Metadata values can have up to 500 characters, but you passed in a value that is {length} characters. Invalid "
        "value: {value}"
    ),
    param="metadata",
    source=_METADATA,
)

RULES = [KEY_TOO_LONG, KEY_REUSED, KEY_IN_USE, METADATA_KEYS, METADATA_KEY_LENGTH, METADATA_VALUE_LENGTH]
