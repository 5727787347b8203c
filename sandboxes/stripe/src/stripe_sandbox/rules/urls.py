"""The rule of every URL parameter."""

from __future__ import annotations

from urllib.parse import urlsplit

from stripe_sandbox.operation import Call
from stripe_sandbox.rules.rule import Rule, Values

_NAMES = ("success_url", "cancel_url", "return_url", "url")


def _url(call: Call) -> Values | None:
    wrong = [name for name in _NAMES if name in call.params and not _absolute(call.params[name])]
    return {"param": wrong[0]} if wrong else None


def _absolute(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.netloc)


RULES = [
    Rule(
        name="invalid_url",
        calls=(
            "POST /v1/checkout/sessions",
            "POST /v1/billing_portal/sessions",
            "POST /v1/webhook_endpoints",
            "POST /v1/webhook_endpoints/{id}",
        ),
        check=_url,
        message="Not a valid URL. URLs must begin with http:// or https:// and name a host.",
        code="url_invalid",
        source="docs.stripe.com/error-codes#url-invalid (message: believed)",
    )
]
