"""Template rendering, and the formats of money and time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader
from starlette.responses import HTMLResponse

from stripe_sandbox.methods import METHODS


def money(minor: int | None, currency: str | None) -> str:
    """`489000, "usd"` -> `$4,890.00`; other currencies have their code appended."""
    amount = f"{(minor or 0) / 100:,.2f}"
    return f"${amount}" if currency in ("usd", None) else f"{amount} {currency.upper()}"


def moment(unix: int | float | None) -> str:
    """Unix seconds as `2026-11-21 09:30:00 UTC`."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if unix else "–"


_environment = Environment(
    loader=PackageLoader("stripe_sandbox.pages"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_environment.filters["moment"] = moment
_environment.globals["money"] = money
_environment.globals["methods"] = METHODS


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered page with headers against caching and framing."""
    html = _environment.get_template(template).render(**values)
    return HTMLResponse(html, status, {"Cache-Control": "no-store", "X-Frame-Options": "DENY"})
