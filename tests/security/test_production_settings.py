"""A process refuses to start in production with a setting that is safe only for development, and names it."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydantic_settings import SettingsError

from contracts.registry import PUBLISHED_BY
from kit.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SERVICES = [*(name for name in PUBLISHED_BY if name != "other systems"), "portal"]
FILLED_IN = {
    "FRONTEND_URL": "https://school.example",
    "PUBLIC_URL": "https://pay.school.example",
    "SPONSOR_FINANCE_EMAIL": "finance@sponsor.example",
    "SELLER_NAME": "A School",
    "MAIL_FROM": "enrollment@school.example",
    "ADMIN_EMAILS": "admin@school.example",
    "JWT_JWKS_URL": "https://identity.school.example/keys",
    "JWT_ISSUER": "https://identity.school.example",
    "OIDC_CLIENT_SECRET": "cs-83hd7sk20fj4",
    "STRIPE_API_KEY": "sk_live_51Jx0abcdefgh",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_51Jx0abcdefgh",
    "STRIPE_WEBHOOK_SECRETS": "whsec_kZ3o8Xq1uW5yB7nD",
    "MILADY_API_BASE": "https://api.milady.example",
    "MILADY_API_KEY": "mk-82hfus73bf02",
    "SMTP_HOST": "smtp.school.example",
    "SITE_ADDRESS": "pay.school.example",
}


def assignments(text: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", text))


@cache
def written() -> Mapping[str, str]:
    """What deploy/new-env prints."""
    printed = subprocess.run([ROOT / "deploy/new-env"], check=True, capture_output=True, text=True, timeout=30)
    return assignments(printed.stdout)


def interpolated(value: str, variables: Mapping[str, str]) -> str:
    """Compose's `${NAME}`, with `:-default`, `-default`, `:?error` or `?error`."""

    def replaced(match: re.Match[str]) -> str:
        name, operator, argument = match.groups()
        found = variables.get(name)
        if found or (found == "" and operator in ("-", "?")):
            return found
        assert operator in (":-", "-"), f"{name} is required"
        return interpolated(argument, variables)

    while (changed := re.sub(r"\$\{(\w+)(:-|:\?|-|\?)?((?:[^{}$]|\$\{[^{}]*\})*)\}", replaced, value)) != value:
        value = changed
    return value


def processes(variables: Mapping[str, str]) -> Iterator[tuple[str, type[Settings], dict[str, str]]]:
    """Every process of the compose file that is no sandbox: its name, its settings, and its environment."""
    for name, process in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items():
        package, role = (*process.get("command", ()), "", "")[:2]
        if package.replace("_", "-") not in SERVICES:
            continue
        environment = {
            key: variables.get(key) if value is None else interpolated(str(value), variables)
            for key, value in process["environment"].items()
        }
        module = importlib.import_module(f"{package}.settings")
        settings = getattr(module, f"{role.capitalize()}Settings", None) or module.WorkerSettings
        yield name, settings, {key: value for key, value in environment.items() if value is not None}


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    def start(settings: type[Settings], environment: Mapping[str, str]) -> Settings:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("POLICY_FILE", raising=False)  # of the image
        return settings()

    return start


def refusals(start: Any, variables: Mapping[str, str]) -> set[str]:
    """What the processes of the compose file refuse."""
    found: set[str] = set()
    for _, settings, environment in processes(variables):
        try:
            start(settings, environment)
        except ValidationError as error:
            for each in error.errors():
                found |= set(each["msg"].rpartition("which refuses: ")[2].split("; "))
    return found


def test_what_new_env_prints_starts_once_it_is_filled_in(start: Any) -> None:
    empty = {name for name, value in written().items() if not value}
    assert empty == FILLED_IN.keys()
    assert refusals(start, {**written(), **FILLED_IN}) == set()
    classes = {settings.__name__ for _, settings, _ in processes({**written(), **FILLED_IN})}
    assert classes >= {"ApiSettings", "WorkerSettings", "RelaySettings", "ReconcilerSettings", "AdminSettings"}


def test_the_shipped_settings_start_as_development_only(start: Any) -> None:
    shipped = assignments((ROOT / ".env").read_text())
    assert refusals(start, shipped) == set()
    del shipped["BURSAR_ENV"]
    refused = {each.split()[0] for each in refusals(start, shipped)}
    assert refused >= {"JWT_JWKS_URL", "OIDC_CLIENT_SECRET", "OIDC_ISSUER", "OIDC_METADATA_URL", "SESSION_SECRET"}
    assert refused >= {"PAY_LINK_SECRET", "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRETS", "FRONTEND_URL"}
    assert refused >= {"DATABASE_URL", "STAFF_DATABASE_URL", "AMQP_URL", "STRIPE_API_BASE", "STRIPE_LIVEMODE"}
    assert refused >= {"MILADY_API_KEY", "MILADY_API_BASE", "PUBLIC_URL", "PORTAL_URL", "CORS_ORIGINS"}


PUBLIC = "is a public value, for development"
HTTP = "is not an https address"


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("JWT_SECRET", "kZ3o8Xq1uW5yB7nDkZ3o8Xq1uW5yB7nD", "JWT_SECRET is for development: who verifies"),
        ("JWT_JWKS_URL", "http://identity.school.example/keys", f"JWT_JWKS_URL {HTTP}"),
        ("JWT_JWKS_URL", "https://169.254.169.254/keys", "JWT_JWKS_URL names this machine or its link"),
        ("PAY_LINK_SECRET", "dev-only-secret-for-pay-links-of-at-least-32-bytes", f"PAY_LINK_SECRET {PUBLIC}"),
        ("PAY_LINK_SECRET", 32 * "a", "PAY_LINK_SECRET has fewer than 6 different characters"),
        ("STRIPE_API_KEY", "sk_test_51Jx0abcdefgh", "STRIPE_API_KEY is of Stripe's test mode"),
        ("STRIPE_API_KEY", "rk_test_51Jx0abcdefgh", "STRIPE_API_KEY is of Stripe's test mode"),
        ("STRIPE_API_KEY", "sk_live_1", "STRIPE_API_KEY is shorter than 12 characters"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_51Jx0abcdefgh", "STRIPE_PUBLISHABLE_KEY is of Stripe's test mode"),
        ("STRIPE_LIVEMODE", "false", "STRIPE_LIVEMODE accepts events of Stripe's test mode"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_dev-only", f"STRIPE_WEBHOOK_SECRETS {PUBLIC}"),
        ("STRIPE_WEBHOOK_SECRETS", "whsec_kZ3o8Xq1uW5yB7nD,x", "STRIPE_WEBHOOK_SECRETS is shorter than 12 characters"),
        ("STRIPE_API_BASE", "http://stripe-sandbox:8000", f"STRIPE_API_BASE {HTTP}"),
        ("STRIPE_API_BASE", "https://stripe-sandbox.school.example", "STRIPE_API_BASE names a sandbox"),
        ("TEST_CLOCK", "true", "TEST_CLOCK lets due dates be moved"),
        ("CORS_ORIGINS", "*", "CORS_ORIGINS allows every origin"),
        ("TRUSTED_PROXIES", "*", "TRUSTED_PROXIES believes everybody's X-Forwarded-For"),
        ("TRUSTED_PROXIES", "10.0.0.1,0.0.0.0/0", "TRUSTED_PROXIES believes everybody's X-Forwarded-For"),
        ("FRONTEND_URL", "https://localhost:3000", "FRONTEND_URL names this machine or its link"),
        ("PUBLIC_URL", "https://127.0.0.1:8110", "PUBLIC_URL names this machine or its link"),
        ("PORTAL_URL", "http://portal.school.example", f"PORTAL_URL {HTTP}"),
        ("PAYMENT_ORIGINS", "http://127.0.0.1:12111", f"PAYMENT_ORIGINS {HTTP}"),
        ("STRIPE_JS_URL", "http://127.0.0.1:12111/v3/", f"STRIPE_JS_URL {HTTP}"),
        ("STRIPE_JS_URL", "https://js.stripe.com.school.example/v3/", "STRIPE_JS_URL is not Stripe's own script"),
        ("STRIPE_JS_URL", "https://js.stripe.com/v3/other.js", "STRIPE_JS_URL is not Stripe's own script"),
        ("SESSION_SECRET", 40 * "a", "SESSION_SECRET has fewer than 6 different characters"),
        ("MILADY_API_BASE", "http://169.254.169.254/", f"MILADY_API_BASE {HTTP}"),
        ("MILADY_API_KEY", "dev-only-milady", f"MILADY_API_KEY {PUBLIC}"),
        ("ADMIN_WEBHOOK_URL", "file:///etc/passwd", f"ADMIN_WEBHOOK_URL {HTTP}"),
        ("CHECKOUT_DB_PASSWORD", "checkout", "DATABASE_URL is shorter than 12 characters"),
        ("CHECKOUT_STAFF_DB_PASSWORD", "dev-only-checkout-staff-db", f"STAFF_DATABASE_URL {PUBLIC}"),
        ("ENROLLMENT_AMQP_PASSWORD", "guest", "AMQP_URL is shorter than 12 characters"),
    ],
)
def test_each_unsafe_setting_is_refused_by_name(start: Any, name: str, value: str, refused: str) -> None:
    given = {**written(), **FILLED_IN, name: value}
    if name == "JWT_SECRET":
        del given["JWT_JWKS_URL"]
    found = refusals(start, given)
    assert any(each.startswith(refused) for each in found), found
    assert value not in str(found)


@pytest.mark.parametrize("value", ["traefik", "10.0.0.1/8", "10.0.0.1,*", "10.0.0.1:80", "10.0.0"])
def test_a_proxy_that_no_address_would_match_is_refused(start: Any, value: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        start(Settings, {"TRUSTED_PROXIES": value})
    assert start(Settings, {"TRUSTED_PROXIES": "10.0.0.0/8, 2001:db8::1"}).trusted_proxies == (
        "10.0.0.0/8",
        "2001:db8::1",
    )


def test_a_mail_password_is_not_sent_in_plain_text(start: Any) -> None:
    mail = {"SMTP_USERNAME": "school", "SMTP_PASSWORD": "kZ3o8Xq1uW5yB7nD", "SMTP_TLS": "none"}
    given = {**written(), **FILLED_IN, **mail}
    assert refusals(start, given) == {"SMTP_TLS=none sends SMTP_PASSWORD in plain text"}
    assert refusals(start, {**given, "SMTP_TLS": "starttls"}) == set()


def test_a_setting_can_be_read_from_a_file(start: Any, tmp_path: Path) -> None:
    from webhook_gateway.settings import SigningSettings

    file = tmp_path / "secret"
    file.write_text("whsec_kZ3o8Xq1uW5yB7nD\n")
    variable = {"STRIPE_WEBHOOK_SECRETS_FILE": str(file)}
    assert start(SigningSettings, variable).secrets == (b"whsec_kZ3o8Xq1uW5yB7nD",)
    with pytest.raises(SettingsError, match="STRIPE_WEBHOOK_SECRETS or STRIPE_WEBHOOK_SECRETS_FILE, not both"):
        start(SigningSettings, {**variable, "STRIPE_WEBHOOK_SECRETS": "whsec_other"})
    assert start(SigningSettings, {**variable, "STRIPE_WEBHOOK_SECRETS": ""}).secrets, "empty is not set"
    file.unlink()
    with pytest.raises(SettingsError, match=r"STRIPE_WEBHOOK_SECRETS_FILE cannot be read \(FileNotFoundError\)"):
        start(SigningSettings, variable)
    file.write_text("whsec_dev-only")
    with pytest.raises(ValidationError, match="STRIPE_WEBHOOK_SECRETS is a public value"):
        start(SigningSettings, variable)
