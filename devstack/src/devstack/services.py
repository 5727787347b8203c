"""What runs: the services, their ports, and the environment of each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from devstack.identity import TOKEN_SECONDS, Identity
from testkit.processes import free_ports, is_free


@dataclass(frozen=True)
class Service:
    """One package, run as `python -m <package> all`."""

    package: str

    @property
    def name(self) -> str:
        """As in the registry of events, and its login at the broker."""
        return self.package.replace("_", "-")


SERVICES = (
    Service("webhook_gateway"),
    Service("checkout"),
    Service("enrollment"),
    Service("instructor_assignment"),
    Service("milady_integration"),
    Service("notifications"),
    Service("reporting"),
)
SANDBOXES = ("identity_sandbox", "stripe_sandbox", "milady_sandbox")
ADMIN = "webhook_gateway_admin"
"""The role `admin` of the gateway, which has the deployment's login at the broker."""
PORTAL = "portal"
"""The pages. It has no database and no broker."""

PREFERRED_PORTS = {
    PORTAL: 8080,
    "webhook_gateway": 8100,
    "checkout": 8110,
    "enrollment": 8120,
    "instructor_assignment": 8130,
    "milady_integration": 8140,
    "notifications": 8150,
    "reporting": 8170,
    ADMIN: 8180,
    "stripe_sandbox": 12111,
    "milady_sandbox": 12112,
    "identity_sandbox": 12113,
    "mail": 10025,
}
"""Stable addresses for bookmarks: `serve` uses them if they are free."""
HAVE_INTERNAL = (*(service.package for service in SERVICES), ADMIN, PORTAL)


@dataclass(frozen=True)
class Ports:
    """`public`: by service, sandbox and `mail`. `internal`: by service, preferably the next after the public one.
    `taken`: preferred ports that were in use, by the name that wanted them."""

    public: Mapping[str, int]
    internal: Mapping[str, int] = field(default_factory=dict)
    taken: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def choose(cls, *, stable: bool) -> Ports:
        """Random ports or, if `stable`, the preferred ones that are free. STRIPE_SANDBOX_PORT overrides both."""
        random = iter(free_ports(len(PREFERRED_PORTS) + len(HAVE_INTERNAL)))
        preferred = dict(PREFERRED_PORTS) if stable else {}
        override = os.environ.get("STRIPE_SANDBOX_PORT")
        if override:
            preferred.pop("stripe_sandbox", None)
        taken = {name: port for name, port in preferred.items() if not is_free(port)}
        public = {name: next(random) for name in PREFERRED_PORTS}
        public |= {name: port for name, port in preferred.items() if name not in taken}
        if override:
            public["stripe_sandbox"] = int(override)
        internal = {name: next(random) for name in HAVE_INTERNAL}
        if stable:
            beside = {name: PREFERRED_PORTS[name] + 1 for name in HAVE_INTERNAL}
            internal |= {name: port for name, port in beside.items() if is_free(port) and port not in public.values()}
        return cls(public, internal, taken)

    def url(self, name: str) -> str:
        """Base URL of a service or sandbox, without a trailing slash."""
        return f"http://127.0.0.1:{self.public[name]}"

    def internal_url(self, name: str) -> str:
        """Base URL of health, metrics and documents; a sandbox has one address for everything."""
        return f"http://127.0.0.1:{self.internal.get(name, self.public[name])}"


# Defaults for what the caller's environment may set; everything else is set here.
_DEFAULTS = {
    "LOG_LEVEL": "INFO",
    "SPONSOR_FINANCE_EMAIL": "finance@sponsor.example.com",
    "SELLER_NAME": "Bursar School",
    "MAIL_FROM": "enrollment@school.example.com",
    "ADMIN_EMAILS": "admin@school.example.com",
}

# Shorter than in production: nobody wants to watch a demo wait.
_DELAYS = {
    "FAILURE_SETTLE_SECONDS": "3",
    "REFUND_GRACE_SECONDS": "10",
    "RECEIPT_SETTLE_SECONDS": "2",
    "RECEIPT_DOCUMENT_SECONDS": "5",
    "WELCOME_GRACE_SECONDS": "5",
}


def front_end_url(ports: Ports) -> str:
    """Where Stripe's pages lead back to: the portal, or the caller's own front end."""
    return os.environ.get("FRONTEND_URL") or ports.url(PORTAL)


def common(identity: Identity, ports: Ports) -> dict[str, str]:
    """The environment that all processes share, including the caller's own."""
    settings = {name: os.environ.get(name) or default for name, default in _DEFAULTS.items()}
    front_end = front_end_url(ports)
    return {
        **os.environ,
        **settings,
        "FRONTEND_URL": front_end,
        "CORS_ORIGINS": os.environ.get("CORS_ORIGINS") or front_end,
        "REDIRECT_ALLOWLIST": os.environ.get("REDIRECT_ALLOWLIST") or front_end,
        "PORTAL_URL": os.environ.get("PORTAL_URL") or front_end,
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"))),
        "no_proxy": ",".join(filter(None, (os.environ.get("no_proxy"), "127.0.0.1", "localhost"))),
        "PYTHONUNBUFFERED": "1",
        "BURSAR_ENV": "development",
        "RATE_LIMIT_MONEY": os.environ.get("RATE_LIMIT_MONEY", ""),
        "RATE_LIMIT_GUESSES": os.environ.get("RATE_LIMIT_GUESSES", ""),
        "HTTP_HOST": "127.0.0.1",
        "JWT_JWKS_URL": ports.url("identity_sandbox") + "/jwks.json",
        "JWT_SECRET": "",
        "JWT_ISSUER": identity.jwt_issuer,
        "JWT_AUDIENCE": identity.jwt_audience,
        "JWT_MAX_AGE_SECONDS": str(TOKEN_SECONDS),
    }


def sandbox_environment(name: str, identity: Identity, ports: Ports) -> dict[str, str]:
    """A sandbox's settings; the caller's other STRIPE_SANDBOX_* and MILADY_SANDBOX_* variables are passed on."""
    prefix = name.upper()
    settings = {
        f"{prefix}_HOST": "127.0.0.1",
        f"{prefix}_PORT": str(ports.public[name]),
        f"{prefix}_PUBLIC_URL": ports.url(name),
    }
    if name == "identity_sandbox":
        return settings | {
            f"{prefix}_AUDIENCE": identity.jwt_audience,
            f"{prefix}_CLIENT_SECRET": identity.oidc_client_secret,
            f"{prefix}_PRIVATE_KEY": identity.jwt_private_key,
            f"{prefix}_REDIRECT_URIS": ports.url(PORTAL) + "/signed-in",
        }
    if name == "milady_sandbox":
        return settings | {f"{prefix}_API_KEY": identity.milady_api_key}
    return settings | {
        f"{prefix}_SECRET_KEY": identity.stripe_api_key,
        f"{prefix}_PUBLISHABLE_KEY": identity.stripe_publishable_key,
        f"{prefix}_WEBHOOK_URL": ports.url("webhook_gateway") + "/api/stripe/webhook",
        f"{prefix}_WEBHOOK_SECRET": identity.stripe_webhook_secret,
        f"{prefix}_OPERATOR_TOKEN": identity.sandbox_token,
        f"{prefix}_TIME_FACTOR": os.environ.get(f"{prefix}_TIME_FACTOR") or "60",
    }


def service_environment(package: str, identity: Identity, ports: Ports) -> dict[str, str]:
    """The settings of this service alone."""
    match package:
        case "webhook_gateway":
            return {
                "STRIPE_WEBHOOK_SECRETS": identity.stripe_webhook_secret,
                "STRIPE_LIVEMODE": "false",
                "STRIPE_API_KEY": identity.stripe_api_key,
                "STRIPE_API_BASE": os.environ.get("STRIPE_API_BASE") or ports.url("stripe_sandbox"),
                "STRIPE_WEBHOOK_URL": ports.url("webhook_gateway") + "/api/stripe/webhook",
                "RECONCILE_SECONDS": os.environ.get("RECONCILE_SECONDS") or "30",
                "RECONCILE_GRACE_SECONDS": os.environ.get("RECONCILE_GRACE_SECONDS") or "60",
                "RECONCILE_OBJECTS_SECONDS": os.environ.get("RECONCILE_OBJECTS_SECONDS") or "300",
            }
        case "checkout":
            return {
                "STRIPE_API_KEY": identity.stripe_api_key,
                "STRIPE_PUBLISHABLE_KEY": identity.stripe_publishable_key,
                "STRIPE_API_BASE": os.environ.get("STRIPE_API_BASE") or ports.url("stripe_sandbox"),
                "TEST_CLOCK": os.environ.get("TEST_CLOCK") or "true",
                "PUBLIC_URL": os.environ.get("PUBLIC_URL") or ports.url(PORTAL),
                "PAY_LINK_SECRET": identity.pay_link_secret,
            }
        case "milady_integration":
            return {
                "MILADY_API_BASE": ports.url("milady_sandbox"),
                "MILADY_API_KEY": identity.milady_api_key,
                "MILADY_RETRY_LONGEST_SECONDS": os.environ.get("MILADY_RETRY_LONGEST_SECONDS") or "2",
            }
        case "notifications":
            delays = {name: os.environ.get(name) or default for name, default in _DELAYS.items()}
            pages = (ports.url(PORTAL), *(os.environ.get(name) or "" for name in ("PUBLIC_URL", "LINK_HOSTS")))
            hosts = ",".join(filter(None, (*pages, front_end_url(ports))))
            return {**delays, "LINK_HOSTS": hosts, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(ports.public["mail"])}
        case "portal":
            urls = {service.name: ports.url(service.package) for service in SERVICES}
            return {
                "PORTAL_URL": ports.url(PORTAL),
                "SERVICE_URLS": json.dumps(urls | {"webhook-gateway-admin": ports.url(ADMIN)}),
                "OIDC_ISSUER": identity.jwt_issuer,
                "OIDC_CLIENT_ID": "portal",
                "OIDC_CLIENT_SECRET": identity.oidc_client_secret,
                "SESSION_SECRET": identity.session_secret,
                "PAYMENT_ORIGINS": ports.url("stripe_sandbox"),
                "STRIPE_JS_URL": f"{ports.url('stripe_sandbox')}/v3/",
            }
        case _:
            return {}
