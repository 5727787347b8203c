"""Pages: templates, the school's branding, and the headers that every page has."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from importlib import resources
from urllib.parse import urlsplit
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.responses import Response

from kit.http.problems import NOT_FOUND
from portal import amounts
from portal.forms import TOKEN_FIELD
from portal.sessions import Session
from portal.settings import STRIPE_JS, ApiSettings
from portal.sponsor_invoice import stage_of

STATIC_SECONDS = 365 * 24 * 3600
_BRAND = "brand.css"
_FILES = ("style.css", "chat.js", "htmx-2.0.11.min.js", "pay.js")

router = APIRouter(include_in_schema=False)


class Renderer:
    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        folder = resources.files("portal").joinpath("static")
        self.files: Mapping[str, bytes] = {
            **{name: folder.joinpath(name).read_bytes() for name in _FILES},
            _BRAND: f":root {{ --brand: {settings.brand_color}; }}\n".encode(),
        }
        self._versions = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in self.files.items()}
        self._templates = Environment(
            loader=PackageLoader("portal"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "amount": amounts.amount,
            "day": amounts.day,
            "figure": amounts.figure,
            "moment": amounts.moment,
            "size": amounts.size,
            "stage": stage_of,
            "words": amounts.words,
            "web_address": web_address,
        }
        self._templates.globals |= {
            "school": settings.seller_name,
            "support_email": settings.support_email,
            "logo": settings.brand_logo,
            "static": self.static_url,
            "new_key": lambda: str(uuid4()),
        }
        self._headers = page_headers(settings)
        self.card_form_headers = card_form_headers(settings)

    def static_url(self, name: str) -> str:
        """With the hash of the content, so that browsers may keep it."""
        return f"/static/{self._versions[name]}/{name}"

    def page(
        self, request: Request, template: str, status_code: int, headers: Mapping[str, str] | None, **values: object
    ) -> HTMLResponse:
        """`headers`: None for those of every page."""
        session: Session = request.state.session

        def form_token() -> Markup:
            """The hidden field of every form that changes something."""
            return Markup('<input type="hidden" name="{}" value="{}">').format(TOKEN_FIELD, session.form_token)

        text = self._templates.get_template(template).render(
            request=request, session=session, form_token=form_token, **values
        )
        return HTMLResponse(text, status_code, headers=headers or self._headers)


def page_headers(settings: ApiSettings, **allowed: str) -> dict[str, str]:
    """No script, style or frame that is not ours; forms lead here, to the payment pages and to the sign-in.

    `allowed`: the sources of a directive, instead (with `_` for `-`).
    """
    targets = ["'self'", *settings.payment_origins, _origin(settings.oidc_issuer)]
    images = ["'self'", *([_origin(settings.brand_logo)] if settings.brand_logo else [])]
    policy = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": " ".join(images),
        "form-action": " ".join(dict.fromkeys(targets)),
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        **{name.replace("_", "-"): sources for name, sources in allowed.items()},
    }
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def card_form_headers(settings: ApiSettings) -> dict[str, str]:
    """Of the page with Stripe's card form alone. A sandbox's stand-in calls the API at its own origin, without frames.

    Source: docs.stripe.com/security/guide#content-security-policy; wallets need `payment`, and the pages of some
    methods open in a window.
    """
    origin = _origin(settings.stripe_js_url)
    if STRIPE_JS.fullmatch(settings.stripe_js_url):
        headers = page_headers(
            settings,
            script_src=f"'self' {origin} https://*.js.stripe.com",
            connect_src="'self' https://api.stripe.com",
            frame_src=f"{origin} https://*.js.stripe.com https://hooks.stripe.com",
        )
    else:
        headers = page_headers(settings, script_src=f"'self' {origin}", connect_src=f"'self' {origin}")
    return headers | {
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
        "Permissions-Policy": f'camera=(), geolocation=(), microphone=(), payment=(self "{origin}")',
    }


def web_address(url: str) -> str:
    """For a link: empty unless it is http or https, as a script would run here."""
    return url if url.startswith(("https://", "http://")) else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def render(request: Request, template: str, status_code: int = 200, **values: object) -> HTMLResponse:
    renderer: Renderer = request.app.state.renderer
    return renderer.page(request, template, status_code, None, **values)


def render_card_form(request: Request, **values: object) -> HTMLResponse:
    renderer: Renderer = request.app.state.renderer
    return renderer.page(request, "card_form.html", 200, renderer.card_form_headers, **values)


@router.get("/favicon.ico")
async def no_icon() -> Response:
    return Response(status_code=204)


@router.get("/static/{version}/{name}")
async def static_file(request: Request, version: str, name: str) -> Response:
    renderer: Renderer = request.app.state.renderer
    content = renderer.files.get(name)
    if content is None or renderer.static_url(name) != request.scope["path"]:
        raise NOT_FOUND("Not found.")
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {"Cache-Control": f"public, max-age={STATIC_SECONDS}, immutable"}
    return Response(content, media_type=media_type, headers=headers)
