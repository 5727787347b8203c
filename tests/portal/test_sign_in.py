"""Signing in by OpenID Connect: what is accepted, and what is not."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import jwt
import pytest
from tests.portal.harness import CLIENT_SECRET, ISSUER, URL, Browser, Portal

from portal.forms import return_path
from portal.sessions import Session, SessionCookie, SignedIn


async def test_a_student_signs_in_and_comes_back(browser: Browser) -> None:
    answer = await browser.sign_in(return_to="/enroll/items/barber?payment=plan")
    assert (answer.status_code, answer.headers["location"]) == (303, "/enroll/items/barber?payment=plan")
    page = await browser.get("/enroll")
    assert "Sign out Jordan Rivera" in page.text


@pytest.mark.parametrize(
    ("role", "home"), [("student", "/dashboard"), ("admin", "/admin"), ("case_manager", "/caseload")]
)
async def test_each_role_has_its_home(browser: Browser, role: str, home: str) -> None:
    assert (await browser.sign_in(role)).headers["location"] == home


async def test_the_services_get_the_token_and_the_browser_cannot_read_it(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    await browser.get("/dashboard")
    (request,) = portal.services.sent("GET", "/api/enrollments")
    token = request.headers["authorization"].removeprefix("Bearer ")
    key = jwt.PyJWK(portal.tokens.keys["keys"][0])
    verified = jwt.decode(token, key.key, algorithms=["RS256"], audience="bursar", issuer=ISSUER)
    assert verified["role"] == "student"
    assert token not in str(browser.cookie) and token.split(".")[1] not in str(browser.cookie)


async def test_the_cookie_is_closed_to_scripts_and_other_sites(browser: Browser) -> None:
    started = await browser.get("/sign-in")
    answer = await browser.get(str(await browser.authorize(started.headers["location"])))
    (cookie,) = answer.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-bursar=")
    assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= {part.strip() for part in cookie.split(";")}
    assert "Domain" not in cookie


async def test_pkce_state_and_nonce_are_sent_and_differ_each_time(browser: Browser) -> None:
    seen: list[dict[str, str]] = []
    for _ in range(2):
        url = (await browser.get("/sign-in")).headers["location"]
        seen.append(dict(parse_qsl(urlsplit(url).query)))
    for sent in seen:
        assert (sent["response_type"], sent["code_challenge_method"]) == ("code", "S256")
        assert sent["redirect_uri"] == f"{URL}/signed-in" and "openid" in sent["scope"].split()
    assert all(seen[0][name] != seen[1][name] for name in ("state", "nonce", "code_challenge"))


async def test_an_answer_to_another_browser_signs_nobody_in(browser: Browser, portal: Portal) -> None:
    """Sign-in CSRF: an attacker's code, opened in somebody else's browser."""
    started = await browser.get("/sign-in")
    back = await browser.authorize(started.headers["location"])
    async with portal.browser() as victim:
        assert (await victim.get(str(back))).status_code == 400
        await victim.get("/sign-in")  # one of their own has been started
        assert (await victim.get(str(back))).status_code == 400
        assert "Sign out" not in (await victim.get("/enroll")).text


async def test_an_answer_is_accepted_once(browser: Browser) -> None:
    started = await browser.get("/sign-in")
    back = str(await browser.authorize(started.headers["location"]))
    assert (await browser.get(back)).status_code == 303
    assert (await browser.get(back)).status_code == 400


@pytest.mark.parametrize(
    "change", [{"iss": "https://other.test"}, {"code": "another"}, {"state": "another"}, {"error": "access_denied"}]
)
async def test_a_changed_answer_is_refused(browser: Browser, change: dict[str, str]) -> None:
    started = await browser.get("/sign-in")
    parts = urlsplit(str(await browser.authorize(started.headers["location"])))
    query = dict(parse_qsl(parts.query)) | change
    answer = await browser.get(urlunsplit(parts._replace(query=urlencode(query))))
    assert answer.status_code == 400 and "Not signed in" in answer.text
    assert "Sign out" not in (await browser.get("/enroll")).text


class Forger(httpx.AsyncBaseTransport):
    """The identity provider, with another answer of its token endpoint."""

    def __init__(self, portal: Portal, change: Any) -> None:
        self._portal, self._change = portal, change

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._portal.identity.handle_async_request(request)
        if request.url.path != "/token":
            return answer
        await answer.aread()
        return httpx.Response(200, json=self._change(self._portal, answer.json()))


def changed(name: str, **claims: Any) -> Any:
    """The token `name`, signed by the provider, with other claims (None: without it)."""

    def change(portal: Portal, answer: dict[str, Any]) -> dict[str, Any]:
        read = jwt.decode(answer[name], options={"verify_signature": False}) | claims
        read = {claim: value for claim, value in read.items() if value is not None}
        headers = {"kid": portal.tokens.kid}
        return {**answer, name: jwt.encode(read, portal.tokens._key, algorithm="RS256", headers=headers)}

    return change


def unsigned(portal: Portal, answer: dict[str, Any]) -> dict[str, Any]:
    read = jwt.decode(answer["id_token"], options={"verify_signature": False})
    return {**answer, "id_token": jwt.encode(read, "", algorithm="none")}


def signed_with_the_client_secret(portal: Portal, answer: dict[str, Any]) -> dict[str, Any]:
    read = jwt.decode(answer["id_token"], options={"verify_signature": False})
    return {**answer, "id_token": jwt.encode(read, CLIENT_SECRET + "-longer-than-32-bytes", algorithm="HS256")}


@pytest.mark.parametrize(
    "change",
    [
        changed("id_token", iss="https://other.test"),
        changed("id_token", aud="another-client"),
        changed("id_token", nonce="another"),
        changed("id_token", nonce=None),
        changed("id_token", exp=int(time.time()) - 3600),
        changed("id_token", at_hash="another"),
        changed("id_token", sub="44444444-4444-4444-8444-444444444444"),
        changed("access_token", role="owner"),
        changed("access_token", role=None),
        unsigned,
        signed_with_the_client_secret,
        lambda _, answer: {**answer, "access_token": "opaque"},
        lambda _, answer: {name: value for name, value in answer.items() if name != "id_token"},
    ],
)
async def test_a_token_that_is_not_right_signs_nobody_in(browser: Browser, portal: Portal, change: Any) -> None:
    from portal.sign_in import IdentityProvider

    portal.app.state.identity_provider = IdentityProvider(portal.settings, Forger(portal, change))
    answer = await browser.sign_in()
    assert answer.status_code == 400, answer.headers
    assert "Sign out" not in (await browser.get("/enroll")).text


async def test_a_provider_that_is_down_is_an_honest_page(browser: Browser, portal: Portal) -> None:
    from portal.sign_in import IdentityProvider

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down")

    portal.app.state.identity_provider = IdentityProvider(portal.settings, httpx.MockTransport(refuse))
    assert (await browser.get("/sign-in")).status_code == 503


@pytest.mark.parametrize(
    "target",
    [
        "//evil.test",
        "https://evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "javascript:alert(1)",
        "/a\nb",
        "/api/catalog",
    ],
)
async def test_signing_in_leads_to_no_other_site(browser: Browser, target: str) -> None:
    assert return_path(target) == "/"
    assert (await browser.sign_in(return_to=target)).headers["location"] == "/dashboard"


async def test_signing_out_needs_the_form_and_ends_the_session(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/enroll")
    assert (await browser.post("/sign-out", {})).status_code == 403
    assert (await browser.submit(page, "/sign-out")).status_code == 303
    assert (await browser.get("/dashboard")).headers["location"].startswith("/sign-in")


async def test_a_token_that_the_services_refuse_leads_to_the_sign_in(browser: Browser, portal: Portal) -> None:
    from tests.portal.documented_services import problem

    await browser.sign_in()
    portal.services.answers["GET", "/api/enrollments"] = problem(401, "unauthorized")
    answer = await browser.get("/dashboard")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?return_to=/dashboard")
    assert "Sign out" not in (await browser.get("/enroll")).text


def person(expires_in: int) -> SignedIn:
    now = int(time.time())
    return SignedIn(token="t.t.t", subject="s", role="student", name="Jordan", expires_at=now + expires_in)


def test_a_session_is_read_with_its_secret_only_and_ends_with_the_token() -> None:
    def cookie(*secrets: str) -> SessionCookie:
        return SessionCookie(secrets, seconds=3600, secure=True)

    old, new = "an-old-secret-of-at-least-32-bytes", "a-new-secret-of-at-least-32-bytes"

    def value(session: Session) -> str:
        return cookie(old).write(session).split(";")[0].split("=", 1)[1]

    signed_in = value(Session(csrf="c", user=person(600)))
    assert cookie(old).read(signed_in).user == cookie(new, old).read(signed_in).user
    for read in (cookie(new).read(signed_in), cookie(old).read(signed_in[:-4] + "AAAA"), cookie(old).read("x")):
        assert read.user is None and not read.csrf
    assert cookie(old).read(value(Session(csrf="c", user=person(-1)))).user is None
