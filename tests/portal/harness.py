"""The portal and the identity sandbox, in this process, and a browser without JavaScript."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from pydantic import SecretStr
from tests.portal.documented_services import DocumentedServices

from identity_sandbox.app import create_app as create_identity_provider
from identity_sandbox.settings import Settings as IdentitySettings
from portal import main
from portal.service_client import Services
from portal.settings import SERVICES, ApiSettings
from portal.sign_in import IdentityProvider

URL = "https://school.test"
ISSUER = "https://identity.test"
CLIENT_SECRET = "a-client-secret-of-the-tests"
PAYMENT_PAGES = "https://pay.test"


def settings(**other: Any) -> ApiSettings:
    return ApiSettings(
        **{
            "bursar_env": "development",
            "portal_url": URL,
            "service_urls": {name: f"http://{name}.test" for name in SERVICES},
            "oidc_issuer": ISSUER,
            "oidc_client_id": "portal",
            "oidc_client_secret": SecretStr(CLIENT_SECRET),
            "session_secret": SecretStr("a-session-secret-of-the-tests-of-32-bytes"),
            "payment_origins": (PAYMENT_PAGES,),
            "seller_name": "The Test School",
            "support_email": "help@school.test",
            **other,
        }
    )


class Portal:
    def __init__(self, **other: Any) -> None:
        self.settings = settings(**other)
        provider = create_identity_provider(
            IdentitySettings(
                public_url=ISSUER,
                client_secret=SecretStr(CLIENT_SECRET),
                redirect_uris=(f"{URL}/signed-in",),
                token_seconds=3600,
            )
        )
        self.identity = httpx.ASGITransport(provider)
        self.tokens = provider.state.issuer
        self.services = DocumentedServices()
        self.app = main.app(self.settings)
        self.app.state.services = Services(self.settings.service_urls, self.services)
        self.app.state.identity_provider = IdentityProvider(self.settings, self.identity)

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=("203.0.113.7", 50000))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
            yield Browser(client, self)

    async def close(self) -> None:
        await self.app.state.services.close()


class Browser:
    """Follows no redirect by itself. Keeps cookies."""

    def __init__(self, client: httpx.AsyncClient, portal: Portal) -> None:
        self.client = client
        self.portal = portal

    async def get(self, path: str, **sent: Any) -> httpx.Response:
        return await self.client.get(path, **sent)

    async def post(self, path: str, form: dict[str, str], **sent: Any) -> httpx.Response:
        return await self.client.post(path, data=form, **sent)

    async def submit(self, page: httpx.Response, action: str, **changes: str) -> httpx.Response:
        """Posts the page's form to this action, with its hidden fields."""
        return await self.post(action, fields_of(page.text, action) | changes)

    async def authorize(self, url: str, **choice: str) -> httpx.URL:
        """Signs in at the provider, at the URL that the portal redirected to; returns where it leads back to."""
        form = dict(parse_qsl(urlsplit(url).query)) | {"as": "student"} | choice
        async with httpx.AsyncClient(transport=self.portal.identity, base_url=ISSUER) as client:
            answer = await client.post("/authorize", data=form)
        assert answer.status_code == 303, answer.text
        return httpx.URL(answer.headers["location"])

    async def sign_in(self, role: str = "student", return_to: str = "") -> httpx.Response:
        started = await self.get("/sign-in", params={"return_to": return_to})
        assert started.status_code == 302, started.text
        return await self.get(str(await self.authorize(started.headers["location"], **{"as": role})))

    @property
    def cookie(self) -> str | None:
        return self.client.cookies.get("__Host-bursar")


def fields_of(page: str, action: str) -> dict[str, str]:
    """The named fields of the form with this action."""
    found = re.search(rf'<form method="post" action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    assert found, f"no form for {action}"
    inputs = re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"', found.group())
    return {name: unescape(value) for name, value in inputs}


def claims(token: str) -> dict[str, Any]:
    """Of a JWT, not verified."""
    import base64

    payload = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return decoded
