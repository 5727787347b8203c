"""Paying by card on a page of the portal: who may open it, what it may load, and what is asked of checkout."""

from __future__ import annotations

import json
import re

import httpx
import pytest
from structlog.testing import capture_logs
from tests.portal.documented_services import new_intent, offer, page, payment_state, price, problem, purchase
from tests.portal.harness import Browser, Portal, fields_of
from tests.portal.test_pages import HOSTILE, directives

from portal.settings import ApiSettings

ITEM = "/enroll/items/barber"
FORM = f"{ITEM}/card"
CREATE = "/api/payments/create-intent"
SUCCESS = "/enroll/success"
SANDBOX = "http://127.0.0.1:12111"


async def opened(browser: Browser, **changes: str) -> httpx.Response:
    """What the page's script asks for."""
    return await browser.submit(await browser.get(FORM), FORM, **changes)


async def test_the_page_opens_nothing_and_its_script_opens_an_intent(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    shown = await browser.get(FORM)
    assert shown.status_code == 200 and "$4,890.00" in shown.text and not portal.services.sent("POST", CREATE)
    answer = await browser.submit(shown, FORM)
    assert answer.json() == {
        "client_secret": "pi_1_secret_x",
        "publishable_key": "pk_test_1",
        "return_url": "https://school.test/enroll/success?program=barber",
    }
    assert answer.headers["cache-control"] == "no-store"
    (sent,) = portal.services.sent("POST", CREATE)
    assert json.loads(sent.content) == {
        "itemId": "barber",
        "itemType": "program",
        "amount": 489_000,
        "currency": "usd",
    }
    assert sent.headers["authorization"].startswith("Bearer ")


async def test_the_same_page_asks_with_the_same_key(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    shown = await browser.get(FORM)
    await browser.submit(shown, FORM)
    await browser.submit(shown, FORM)
    first, second = (each.headers["idempotency-key"] for each in portal.services.sent("POST", CREATE))
    assert first == second and len(first) >= 20
    await browser.submit(shown, FORM, key="short")
    assert portal.services.sent("POST", CREATE)[2].headers["idempotency-key"] not in (first, "short")


async def test_a_code_is_applied_and_passed_on(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", "/api/prices/barber"] = price(discount=48_900, total=440_100)
    await browser.sign_in()
    shown = await browser.get(FORM, params={"code": "TEN"})
    assert "−$489.00" in shown.text and "Pay $4,401.00" in shown.text
    await browser.submit(shown, FORM)
    (sent,) = portal.services.sent("POST", CREATE)
    body = json.loads(sent.content)
    assert (body["promotionCode"], body["amount"]) == ("TEN", 440_100)


async def test_only_who_has_signed_in_sees_the_form(browser: Browser, portal: Portal) -> None:
    shown = await browser.get(FORM, params={"code": "TEN"})
    assert shown.status_code == 303
    assert shown.headers["location"] == "/sign-in?return_to=/enroll/items/barber/card%3Fcode%3DTEN"
    item = await browser.get(ITEM)
    assert "Sign in and pay by card here" in item.text
    asked = await browser.post(FORM, fields_of(item.text, ITEM))
    assert (asked.status_code, asked.json()["text"]) == (401, "Sign in")
    assert not portal.services.sent("POST", CREATE)


async def test_another_site_cannot_open_an_intent(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    fields = fields_of((await browser.get(FORM)).text, FORM)
    for form, headers in (
        ({**fields, "form_token": "guessed"}, {}),
        (fields, {"Sec-Fetch-Site": "cross-site"}),
        (fields, {"Origin": "https://evil.test"}),
    ):
        assert (await browser.post(FORM, form, headers=headers)).status_code == 403
    assert not portal.services.sent("POST", CREATE)


@pytest.mark.parametrize(
    ("status", "code", "href"),
    [
        (409, "already_enrolled", "/dashboard"),
        (409, "payment_in_progress", "/enroll/success?program=barber"),
        (409, "price_mismatch", ITEM),
        (409, "price_changed", ITEM),
        (409, "promotion_used_up", ITEM),
        (404, "unknown_promotion", ITEM),
        (409, "tax_needs_page", None),
        (429, "too_many_requests", None),
        (503, "stripe_unavailable", None),
        (401, "unauthorized", "/sign-in?return_to=%2Fenroll%2Fitems%2Fbarber%2Fcard"),
    ],
)
async def test_a_refusal_has_a_link_to_what_helps(
    browser: Browser, portal: Portal, status: int, code: str, href: str | None
) -> None:
    portal.services.answers["POST", CREATE] = problem(status, code, "Do this instead.")
    await browser.sign_in()
    answer = await opened(browser)
    assert (answer.status_code, answer.json()["href"]) == (status, href)
    detail = {"unauthorized": "session has ended", "price_mismatch": "has changed", "price_changed": "has changed"}
    assert detail.get(code, "Do this instead.") in answer.json()["detail"]


async def test_a_changed_amount_is_left_to_checkout_and_no_amount_is_refused(browser: Browser, portal: Portal) -> None:
    portal.services.answers["POST", CREATE] = problem(409, "price_mismatch", "The price is $4,890.00.")
    await browser.sign_in()
    assert (await opened(browser, amount="1")).status_code == 409
    (sent,) = portal.services.sent("POST", CREATE)
    assert json.loads(sent.content)["amount"] == 1
    for wrong in ("", "-1", "4890.00", "٣", "9" * 30):
        assert (await opened(browser, amount=wrong)).status_code == 422
    assert len(portal.services.sent("POST", CREATE)) == 1


async def test_a_service_that_is_down_is_an_answer_for_the_script(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    portal.services.answers["POST", CREATE] = httpx.ConnectError("down")
    down = await opened(browser)
    assert down.status_code == 503 and "No money was taken" in down.json()["detail"]
    portal.services.answers["POST", CREATE] = new_intent(publishableKey="")
    assert (await opened(browser)).status_code == 503


async def test_where_nothing_is_due_a_click_is_needed(browser: Browser, portal: Portal) -> None:
    """Or a link with another student's code would enroll anybody who opens it."""
    portal.services.answers["GET", "/api/prices/barber"] = price(discount=489_000, total=0, installments=[])
    await browser.sign_in()
    shown = await browser.get(FORM, params={"code": "FREE"})
    assert (shown.status_code, shown.headers["location"]) == (303, f"{ITEM}?code=FREE")
    assert "Pay by card here" not in (await browser.get(ITEM, params={"code": "FREE"})).text
    portal.services.answers["GET", "/api/prices/barber"] = price()
    portal.services.answers["POST", CREATE] = new_intent(clientSecret=None, paymentIntentId=None)
    assert (await opened(browser)).json() == {"location": "https://school.test/enroll/success?program=barber"}


async def test_memberships_and_plans_have_no_card_form(browser: Browser, portal: Portal) -> None:
    item = offer("student", "membership", monthly_price=49.00, tier="student", price=49.00, amount=4900)
    portal.services.answers["GET", "/api/catalog"] = page(item, offer("barber"))
    portal.services.answers["GET", "/api/prices/student"] = price(subtotal=4_900, total=4_900)
    await browser.sign_in()
    assert (await browser.get("/enroll/items/student/card")).status_code == 303
    assert (await browser.get("/enroll/items/no-such/card")).status_code == 404
    assert "Pay by card here" not in (await browser.get("/enroll/items/student")).text
    assert "Pay by card here" not in (await browser.get(ITEM, params={"payment": "plan"})).text
    assert "Pay by card here" in (await browser.get(ITEM)).text


async def test_without_javascript_stripes_page_is_offered(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    shown = await browser.get(FORM)
    assert "needs JavaScript" in shown.text and re.search(r'<form[^>]* id="card-form" hidden>', shown.text)
    answer = await browser.submit(shown, ITEM)
    assert (answer.status_code, answer.headers["location"]) == (303, "https://pay.test/c/cs_test_1")
    assert f'href="{ITEM}?payment=plan"' in shown.text


async def test_hostile_texts_stay_texts(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", "/api/catalog"] = page(offer("barber", name=HOSTILE))
    await browser.sign_in()
    shown = await browser.get(FORM, params={"code": HOSTILE})
    assert shown.status_code == 200 and "<script>alert" not in shown.text and "<img src=x" not in shown.text
    assert (await browser.get(FORM, params={"code": "x" * 101})).status_code == 404


async def test_stripes_origins_are_allowed_on_this_page_only(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    shown = await browser.get(FORM)
    policy = directives(shown)
    assert policy["script-src"] == "'self' https://js.stripe.com https://*.js.stripe.com"
    assert policy["connect-src"] == "'self' https://api.stripe.com"
    assert policy["frame-src"] == "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com"
    assert policy["style-src"] == "'self'" and "unsafe" not in shown.headers["content-security-policy"]
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert '<script src="https://js.stripe.com/endive/stripe.js" defer></script>' in shown.text
    assert 'payment=(self "https://js.stripe.com")' in shown.headers["permissions-policy"]
    assert shown.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
    assert (shown.headers["cache-control"], shown.headers["x-frame-options"]) == ("no-store", "DENY")
    assert not re.search(r"<[^>]* (style|on\w+)=|<script>|<style|javascript:", shown.text)
    assert "secret" not in shown.text
    for path in ("/", ITEM, SUCCESS, "/dashboard", "/no-such-page"):
        other = await browser.get(path)
        assert "js.stripe.com" not in other.headers["content-security-policy"], path
        assert directives(other)["script-src"] == directives(other)["connect-src"] == "'self'", path
        assert "payment=()" in other.headers["permissions-policy"], path


async def test_a_stand_in_is_allowed_at_its_own_origin() -> None:
    portal = Portal(stripe_js_url=f"{SANDBOX}/v3/")
    async with portal.browser() as browser:
        await browser.sign_in()
        shown = await browser.get(FORM)
    await portal.close()
    policy = directives(shown)
    assert policy["script-src"] == policy["connect-src"] == f"'self' {SANDBOX}"
    assert "frame-src" not in policy and "stripe.com" not in policy["script-src"]


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "https://x.test/; script-src *", "https://x.test/?a=b c"])
def test_a_url_that_would_change_the_policy_is_refused(url: str, portal: Portal) -> None:
    with pytest.raises(ValueError, match="URL of a script"):
        ApiSettings(**{**portal.settings.model_dump(), "stripe_js_url": url})


async def test_the_secret_that_stripe_appends_is_removed_from_the_address(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    back = {
        "program": "barber",
        "payment_intent": "pi_1",
        "payment_intent_client_secret": "pi_1_secret_x",
        "redirect_status": "succeeded",
    }
    with capture_logs() as logs:
        answer = await browser.get(SUCCESS, params=back)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{SUCCESS}?program=barber&payment_intent=pi_1"
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    assert "secret_x" not in str(logs) and "secret_x" not in answer.text


@pytest.mark.parametrize(
    ("status", "stripe_status", "phase"),
    [
        ("awaiting_payment", "succeeded", "waiting"),  # no event has confirmed it
        ("awaiting_payment", None, "waiting"),
        ("awaiting_payment", "requires_action", "waiting"),
        ("awaiting_payment", "requires_payment_method", "failed"),
        ("awaiting_payment", "canceled", "failed"),
        ("processing", "requires_payment_method", "processing"),
        ("active", "requires_payment_method", "done"),  # the event decides
    ],
)
async def test_the_page_after_the_form_follows_the_purchase(
    browser: Browser, portal: Portal, status: str, stripe_status: str | None, phase: str
) -> None:
    portal.services.answers["GET", "/api/purchases"] = page(purchase(status))
    portal.services.answers["GET", "/api/payments/status/pi_1"] = payment_state(stripe_status)
    await browser.sign_in()
    sent = {"program": "barber", "payment_intent": "pi_1", "redirect_status": "succeeded"}
    for path in (SUCCESS, f"{SUCCESS}/status"):
        answer = await browser.get(path, params=sent)
        assert f'data-phase="{phase}"' in answer.text
        assert ("Try another card" in answer.text) == (phase == "failed")
        assert ("Back to the payment" in answer.text) == (stripe_status == "requires_action")
        polls = phase in ("waiting", "processing") and stripe_status != "requires_action"
        assert ("/enroll/success/status?program=barber&amp;payment_intent=pi_1" in answer.text) == polls


async def test_an_intent_of_another_student_shows_nothing_of_it(browser: Browser, portal: Portal) -> None:
    portal.services.answers["GET", "/api/payments/status/pi_2"] = problem(404, "unknown_payment")
    await browser.sign_in()
    portal.services.answers["GET", "/api/purchases"] = page(purchase("awaiting_payment"))
    answer = await browser.get(SUCCESS, params={"program": "barber", "payment_intent": "pi_2"})
    assert 'data-phase="waiting"' in answer.text and "You are enrolled" not in answer.text
    portal.services.answers["GET", "/api/payments/status/unknown"] = problem(404, "unknown_payment")
    answer = await browser.get(SUCCESS, params={"program": "barber", "payment_intent": "../../admin"})
    assert 'data-phase="waiting"' in answer.text


async def test_who_returns_without_a_session_signs_in_first(browser: Browser) -> None:
    answer = await browser.get(SUCCESS, params={"program": "barber", "payment_intent": "pi_1"})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/sign-in?return_to={SUCCESS}%3Fprogram%3Dbarber%26payment_intent%3Dpi_1"
