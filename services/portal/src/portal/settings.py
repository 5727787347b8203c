"""The settings of the portal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from kit.runtime.settings import CommaSeparated, Settings

SERVICES = (
    "checkout",
    "enrollment",
    "instructor-assignment",
    "milady-integration",
    "notifications",
    "reporting",
    "webhook-gateway",
    "webhook-gateway-admin",
)
LEAST_CONTRAST = 4.5
"""Of text and its background (WCAG 2.2, 1.4.3)."""
STRIPE_JS = re.compile(r"https://js\.stripe\.com/(v3/?|[a-z]+/stripe\.js)")
"""Source: STRIPE_JS_URL_REGEX and V3_URL_REGEX of @stripe/stripe-js 10.2, src/shared.ts."""
_SECRET_BYTES = 32


class ApiSettings(Settings):
    """
    portal_url:          where browsers reach the portal; sign-in returns there, and cookies are Secure if it is https
    service_urls:        JSON: the base URL of each service's API, by its name
    oidc_issuer:         the identity provider; its tokens must have the `role` and `sub` that the services expect
    oidc_metadata_url:   of its configuration; empty: the issuer's /.well-known/openid-configuration
    oidc_audience:       asked for where a provider issues access tokens of several APIs; empty: not sent
    session_secret:      encrypts the session cookie; session_old_secret is still accepted while it is rolled
    session_seconds:     a session ends after this, or when its token expires
    payment_origins:     where the browser may be sent to pay
    stripe_js_url:       of Stripe.js, of the release of checkout's API version; a sandbox has a stand-in
    brand_color:         as #rrggbb; white text must be legible on it
    brand_logo:          URL of a picture; empty: the name alone
    """

    portal_url: str
    service_urls: Mapping[str, str]
    oidc_issuer: str
    oidc_metadata_url: str = ""
    oidc_client_id: str
    oidc_client_secret: SecretStr
    oidc_audience: str = ""
    session_secret: SecretStr
    session_old_secret: SecretStr | None = None
    session_seconds: int = Field(default=8 * 3600, ge=300)
    payment_origins: CommaSeparated = (
        "https://checkout.stripe.com",
        "https://invoice.stripe.com",
        "https://billing.stripe.com",
    )
    stripe_js_url: str = "https://js.stripe.com/endive/stripe.js"
    seller_name: str = "The school"
    support_email: str = ""
    brand_color: str = "#1f4e79"
    brand_logo: str = ""

    @property
    def secure(self) -> bool:
        return self.portal_url.startswith("https://")

    @property
    def metadata_url(self) -> str:
        return self.oidc_metadata_url or f"{self.oidc_issuer.rstrip('/')}/.well-known/openid-configuration"

    @property
    def session_secrets(self) -> Iterator[str]:
        """The one that encrypts first."""
        yield self.session_secret.get_secret_value()
        if self.session_old_secret is not None:
            yield self.session_old_secret.get_secret_value()

    def refused_in_production(self) -> Iterator[str]:
        yield from super().refused_in_production()
        if not STRIPE_JS.fullmatch(self.stripe_js_url):
            yield "STRIPE_JS_URL is not Stripe's own script"

    @field_validator("stripe_js_url")
    @classmethod
    def _script(cls, value: str) -> str:
        """It becomes a part of a Content-Security-Policy."""
        if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9./_-]*", value):
            raise ValueError("is the URL of a script: https://host/path")
        return value

    @field_validator("session_old_secret", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None

    @field_validator("session_secret", "session_old_secret")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < _SECRET_BYTES:
            raise ValueError(f"has at least {_SECRET_BYTES} bytes")
        return value

    @field_validator("portal_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        return origin_of(value.rstrip("/"))

    @field_validator("payment_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(origin_of(each) for each in value)

    @field_validator("service_urls")
    @classmethod
    def _all_services(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if missing := [name for name in SERVICES if name not in value]:
            raise ValueError(f"has no URL of {', '.join(missing)}")
        return {name: url.rstrip("/") for name, url in value.items()}

    @field_validator("brand_color")
    @classmethod
    def _legible(cls, value: str) -> str:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            raise ValueError("has the form #rrggbb")
        if contrast_with_white(value) < LEAST_CONTRAST:
            raise ValueError(f"white text on it needs a contrast of {LEAST_CONTRAST}:1 (WCAG 2.2): choose a darker one")
        return value


def origin_of(url: str) -> str:
    """Raises ValueError unless it is scheme://host, with or without a port, and nothing else."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or url != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("is an origin: https://host")
    return url


def contrast_with_white(color: str) -> float:
    """1 to 21. Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    red, green, blue = (_linear(int(color[n : n + 2], 16) / 255) for n in (1, 3, 5))
    return 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
