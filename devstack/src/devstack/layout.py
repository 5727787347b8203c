"""What runs: the services with their roles, the ports they would like, and what each is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from devstack.identity import Identity
from kit.messaging.outbox import EVENTS_EXCHANGE
from testkit.processes import free_ports, is_free
from testkit.servers import Grant


@dataclass(frozen=True)
class Service:
    """One package; every role but `api` works with the owner's login."""

    package: str
    roles: tuple[str, ...]
    publishes: tuple[str, ...]
    """The first words of the types of its events, as in deploy/rabbitmq/start.sh."""

    @property
    def broker_rights(self) -> Grant:
        """Its own queues, the exchange of all events (to which it may say its own facts only), and the default exchange
        (dead letters, replays)."""
        own = rf"^{self.package.replace('_', '[-_]')}[._-]"
        return Grant(
            name=self.package,
            configure=rf"{own}|^bursar\.events$",
            write=rf"{own}|^bursar\.events$|^amq\.default$",
            read=rf"{own}|^bursar\.events$",
            publishes={EVENTS_EXCHANGE: rf"^({'|'.join(self.publishes)})\."},
        )


WORKING = ("api", "consumers", "relay")
SERVICES = (
    Service("webhook_gateway", ("api", "relay"), ("payment", "subscription")),
    Service("checkout", WORKING, ("payment", "subscription", "purchase", "student", "refund", "catalog", "receipt")),
    Service("enrollment", WORKING, ("enrollment",)),
    Service("instructor_assignment", WORKING, ("instructor",)),
    Service("milady_integration", WORKING, ("milady",)),
    Service("notifications", WORKING, ("notification",)),
)
SANDBOXES = ("stripe_sandbox", "milady_sandbox")

PREFERRED_PORTS = {
    "webhook_gateway": 8100,
    "checkout": 8110,
    "enrollment": 8120,
    "instructor_assignment": 8130,
    "milady_integration": 8140,
    "notifications": 8150,
    "stripe_sandbox": 12111,
    "milady_sandbox": 12112,
    "mail": 10025,
}
"""What people may bookmark, taken by `serve` when free. Consumers and relays (health and metrics only) take any."""


@dataclass(frozen=True)
class Ports:
    """`public` by service, sandbox and mail; `health` by process name (`enrollment.relay`); `taken` are the preferred
    ports, by the name that wanted them, on which somebody else listens."""

    public: Mapping[str, int]
    health: Mapping[str, int]
    taken: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def choose(cls, *, stable: bool) -> Ports:
        """STRIPE_SANDBOX_PORT in the environment is obeyed; stable ports are taken when they are free."""
        health = [f"{s.package}.{role}" for s in SERVICES for role in s.roles if role != "api"]
        random = iter(free_ports(len(PREFERRED_PORTS) + len(health)))
        wanted = dict(PREFERRED_PORTS) if stable else {}
        ordered = os.environ.get("STRIPE_SANDBOX_PORT")
        if ordered:
            wanted.pop("stripe_sandbox", None)
        taken = {name: port for name, port in wanted.items() if not is_free(port)}
        public = {name: next(random) for name in PREFERRED_PORTS}
        public |= {name: port for name, port in wanted.items() if name not in taken}
        if ordered:
            public["stripe_sandbox"] = int(ordered)
        return cls(public, {name: next(random) for name in health}, taken)

    def url(self, name: str) -> str:
        """Base URL of a service or sandbox, without a trailing slash."""
        return f"http://127.0.0.1:{self.public[name]}"

    def of(self, package: str, role: str) -> int:
        return self.public[package] if role == "api" else self.health[f"{package}.{role}"]

    def of_processes(self) -> dict[str, str]:
        """Base URLs of all processes, by their names: a service's answer /healthz, /readyz and /metrics, a sandbox's
        /healthz."""
        ports = {f"{s.package}.{role}": self.of(s.package, role) for s in SERVICES for role in s.roles}
        ports |= {name: self.public[name] for name in SANDBOXES}
        return {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}


# What a caller may have said already in the environment; everything else is ours to say.
_CALLERS = {
    "LOG_LEVEL": "INFO",
    "FRONTEND_URL": "http://localhost:3000",
    "SPONSOR_FINANCE_EMAIL": "finance@sponsor.example.com",
    "MAIL_FROM": "Bursar <enrollment@school.example.com>",
    "ADMIN_EMAILS": "admin@school.example.com",
}


def common(identity: Identity) -> dict[str, str]:
    """The environment of every process, on top of our own."""
    told = {name: os.environ.get(name) or default for name, default in _CALLERS.items()}
    front_end = told["FRONTEND_URL"]
    return {
        **os.environ,
        **told,
        "CORS_ORIGINS": os.environ.get("CORS_ORIGINS") or front_end,
        "REDIRECT_ALLOWLIST": os.environ.get("REDIRECT_ALLOWLIST") or front_end,
        "PORTAL_URL": os.environ.get("PORTAL_URL") or front_end,
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"))),
        "no_proxy": ",".join(filter(None, (os.environ.get("no_proxy"), "127.0.0.1", "localhost"))),
        "PYTHONUNBUFFERED": "1",
        "HTTP_HOST": "127.0.0.1",
        "JWT_SECRET": identity.jwt_secret,
        "JWT_ISSUER": identity.jwt_issuer,
        "JWT_AUDIENCE": identity.jwt_audience,
    }


def sandbox_environment(name: str, identity: Identity, ports: Ports) -> dict[str, str]:
    """What a sandbox is told; other STRIPE_SANDBOX_* and MILADY_SANDBOX_* of the caller reach it as they are."""
    prefix = name.upper()
    told = {
        f"{prefix}_HOST": "127.0.0.1",
        f"{prefix}_PORT": str(ports.public[name]),
        f"{prefix}_PUBLIC_URL": ports.url(name),
    }
    if name == "milady_sandbox":
        return told | {f"{prefix}_API_KEY": identity.milady_api_key}
    return told | {
        f"{prefix}_SECRET_KEY": identity.stripe_api_key,
        f"{prefix}_PUBLISHABLE_KEY": identity.stripe_publishable_key,
        f"{prefix}_WEBHOOK_URL": ports.url("webhook_gateway") + "/api/stripe/webhook",
        f"{prefix}_WEBHOOK_SECRET": identity.stripe_webhook_secret,
        f"{prefix}_TIME_FACTOR": os.environ.get(f"{prefix}_TIME_FACTOR") or "60",
    }


def service_environment(package: str, identity: Identity, ports: Ports) -> dict[str, str]:
    """What this service alone is told."""
    match package:
        case "webhook_gateway":
            return {"STRIPE_WEBHOOK_SECRETS": identity.stripe_webhook_secret}
        case "checkout":
            return {
                "STRIPE_API_KEY": identity.stripe_api_key,
                "STRIPE_PUBLISHABLE_KEY": identity.stripe_publishable_key,
                "STRIPE_API_BASE": os.environ.get("STRIPE_API_BASE") or ports.url("stripe_sandbox"),
                "TEST_CLOCK": os.environ.get("TEST_CLOCK") or "true",
            }
        case "milady_integration":
            return {"MILADY_API_BASE": ports.url("milady_sandbox"), "MILADY_API_KEY": identity.milady_api_key}
        case "notifications":
            waits = {"FAILURE_SETTLE_SECONDS": os.environ.get("FAILURE_SETTLE_SECONDS") or "3"}
            waits["RECEIPT_SETTLE_SECONDS"] = os.environ.get("RECEIPT_SETTLE_SECONDS") or "2"
            waits["RECEIPT_DOCUMENT_SECONDS"] = os.environ.get("RECEIPT_DOCUMENT_SECONDS") or "5"
            return {**waits, "SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(ports.public["mail"])}
        case _:
            return {}
