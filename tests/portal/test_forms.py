"""Forms: only pages of ours may send them (CSRF), and every route that changes something asks for their token."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from tests.portal.harness import URL, Browser, Portal, fields_of

BUY = "/enroll/items/barber"


def posts(portal: Portal) -> list[str]:
    """Every page route that takes a POST. /api/... is passed on with the caller's bearer token, without the cookie."""
    return sorted(
        str(route.path)
        for route in iter_route_contexts(portal.app.routes)
        if isinstance(route.original_route, APIRoute)
        and "POST" in (route.methods or ())
        and "/api/" not in str(route.path)
    )


async def test_every_form_is_refused_without_the_sessions_token(portal: Portal) -> None:
    paths = posts(portal)
    assert {"/sign-out", "/enroll/items/{slug}", "/payments/{payment_id}/refund-request"} <= set(paths)
    for role in ("student", "admin", "case_manager"):
        async with portal.browser() as browser:
            await browser.sign_in(role)
            for path in paths:
                path = _with_ids(path.replace("{slug}", "barber"))
                for form in ({}, {"form_token": ""}, {"form_token": "another"}):
                    answer = await browser.post(path, form)
                    assert answer.status_code == 403, f"{role} {path} {form}: {answer.status_code}"
    assert not [request for request in portal.services.requests if request.method != "GET"]


def _with_ids(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "22222222-2222-4222-8222-222222222222", path)


async def test_a_token_of_another_session_is_refused(browser: Browser, portal: Portal) -> None:
    page = await browser.get(BUY)
    async with portal.browser() as other:
        await other.get(BUY)
        assert (await other.post(BUY, fields_of(page.text, BUY))).status_code == 403


async def test_a_token_from_before_the_sign_in_is_refused(browser: Browser) -> None:
    page = await browser.get(BUY)
    await browser.sign_in()
    assert (await browser.submit(page, BUY)).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
    ],
)
async def test_a_form_that_another_site_sends_is_refused(browser: Browser, headers: dict[str, str]) -> None:
    page = await browser.get(BUY)
    form = fields_of(page.text, BUY)
    assert (await browser.post(BUY, form, headers=headers)).status_code == 403
    own = {"Sec-Fetch-Site": "same-origin", "Origin": URL}
    assert (await browser.post(BUY, form, headers=own)).status_code == 303


async def test_a_form_that_cannot_be_read_is_no_error_of_the_server(browser: Browser) -> None:
    for body in (b"\xff\xfe", b"&".join(b"a=b" for _ in range(1000)), b"form_token=%00"):
        answer = await browser.client.post(BUY, content=body)
        assert answer.status_code in (403, 422)
