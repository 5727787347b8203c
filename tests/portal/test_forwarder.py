"""/api/... is passed on to the service that has the path."""

from __future__ import annotations

import httpx
import pytest
from tests.portal.documented_services import DOCUMENT, page
from tests.portal.harness import Browser, Portal

from portal.upstreams import service_of

OPERATIONS = [
    (method.upper(), path, operation["x-services"])
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if path.startswith("/api/")
]


@pytest.mark.parametrize(("method", "path", "services"), OPERATIONS)
def test_every_documented_path_leads_to_a_service_that_has_it(method: str, path: str, services: list[str]) -> None:
    if services == ["webhook-gateway-admin"]:  # not for the public (decision 30)
        with pytest.raises(LookupError):
            service_of(method, path)
    else:
        assert service_of(method, path) in services


async def test_the_gateways_admin_api_is_not_public(browser: Browser, portal: Portal) -> None:
    for path in (
        "/api/admin/dead-letters",
        "/api/admin/dead-letters/replay",
        "/api/admin/replays",
        "/api/admin/scalings",
    ):
        assert (await browser.get(path, headers={"Authorization": "Bearer an-admins"})).status_code == 404
    assert not portal.services.requests


async def test_the_caller_is_passed_on_and_the_session_is_not(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    portal.services.requests.clear()
    forged = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.1"}
    answer = await browser.get(
        "/api/catalog", headers={"Authorization": "Bearer mine", **forged}, params={"limit": "3"}
    )
    assert answer.status_code == 200
    (sent,) = portal.services.requests
    assert str(sent.url) == "http://checkout.test/api/catalog?limit=3"
    assert sent.headers["authorization"] == "Bearer mine" and "cookie" not in sent.headers
    assert sent.headers["x-forwarded-for"] == "203.0.113.7" and "forwarded" not in sent.headers


async def test_a_session_alone_is_no_authorization(browser: Browser, portal: Portal) -> None:
    """So that no other site's page can act through /api/ for somebody who is signed in."""
    await browser.sign_in()
    await browser.get("/api/enrollments")
    assert "authorization" not in portal.services.requests[-1].headers


async def test_an_answer_is_passed_on_without_cookies(browser: Browser, portal: Portal) -> None:
    headers = {"Set-Cookie": "a=b", "Retry-After": "3", "Content-Type": "application/problem+json"}
    portal.services.answers["GET", "/api/catalog"] = httpx.Response(429, content=b"{}", headers=headers)
    answer = await browser.get("/api/catalog")
    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (429, b"{}", "3")
    assert "set-cookie" not in answer.headers


async def test_a_body_is_passed_on_byte_by_byte(browser: Browser, portal: Portal) -> None:
    """Stripe signs them."""
    portal.services.answers["POST", "/api/stripe/webhook"] = httpx.Response(200, json={})
    body = b'{"id":  "evt_1"}\n'
    await browser.client.post("/api/stripe/webhook/", content=body, headers={"Stripe-Signature": "t=1"})
    sent = portal.services.requests[-1]
    assert (str(sent.url), sent.content) == ("http://webhook-gateway.test/api/stripe/webhook", body)
    assert sent.headers["stripe-signature"] == "t=1"


async def test_a_service_that_is_down_is_a_problem_document(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", "/api/catalog"] = httpx.ConnectError("down")
    answer = await browser.get("/api/catalog")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert page()["items"] == []


@pytest.mark.parametrize("path", ["/api/catalog%3Flimit=3", "/api/programs/%C3%A9%23x"])
async def test_a_path_is_passed_on_as_it_came(browser: Browser, portal: Portal, path: str) -> None:
    await browser.get(path)
    assert portal.services.requests[-1].url.raw_path.decode() == path
