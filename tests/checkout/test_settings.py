"""Settings: their defaults, and what is invalid."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.checkout.service import PAY_LINK_SECRET
from tests.processes import JWT

from checkout.main import ROLES
from checkout.settings import ApiSettings, origin_of
from kit.runtime.process import main

GIVEN: dict[str, Any] = {
    "database_url": "postgresql://checkout_api@127.0.0.1/checkout",
    "staff_database_url": "postgresql://checkout_staff@127.0.0.1/checkout",
    **{name.lower(): value for name, value in JWT.items()},
    "stripe_api_key": "sk_test_1",
    "frontend_url": "https://school.example/app/",
    "public_url": "https://pay.school.example/",
    "pay_link_secret": PAY_LINK_SECRET,
}


def test_defaults() -> None:
    settings = ApiSettings(**GIVEN)
    assert settings.stripe_api_version == "2026-10-28.endive"
    assert settings.frontend_url == "https://school.example/app"
    assert settings.allow_guest_checkout
    assert ApiSettings(**GIVEN, sponsor_finance_email="", stripe_api_base="").sponsor_finance_email is None


def test_secrets_have_no_default_and_are_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("STRIPE_API_KEY", "DATABASE_URL", "FRONTEND_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as ended:
        main("checkout", ROLES, ["api"])
    assert ended.value.code == 2
    assert "STRIPE_API_KEY" in capsys.readouterr().err
    assert "sk_test_1" not in repr(ApiSettings(**GIVEN))


def test_the_front_end_must_be_on_the_allow_list() -> None:
    ApiSettings(**GIVEN, redirect_allowlist=("https://other.example", "https://SCHOOL.example"))
    with pytest.raises(ValidationError, match="REDIRECT_ALLOWLIST"):
        ApiSettings(**GIVEN, redirect_allowlist=("https://other.example", "http://school.example"))


@pytest.mark.parametrize(
    "url", ["school.example", "javascript:alert(1)", "//school.example", "https://a@b.example", ""]
)
def test_an_invalid_origin(url: str) -> None:
    with pytest.raises(ValueError):
        origin_of(url)
    with pytest.raises(ValidationError):
        ApiSettings(**{**GIVEN, "frontend_url": url})


def test_a_finance_email_is_an_email_address() -> None:
    with pytest.raises(ValidationError):
        ApiSettings(**GIVEN, sponsor_finance_email="the finance people")
