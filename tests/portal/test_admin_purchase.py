"""An admin's page of a purchase: what happened, and canceling it, accepting what was paid, and collecting it again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.portal.documented_samples import HOSTILE, sample, schema_of
from tests.portal.documented_services import PURCHASE_ID, problem
from tests.portal.harness import Browser, Portal

PATH = f"/admin/purchases/{PURCHASE_ID}"
OVERVIEW = f"/api/enrollments/{PURCHASE_ID}/payment"
TIMELINE = f"/api/admin/purchases/{PURCHASE_ID}/timeline"
APIS = {
    "cancel": f"/api/admin/enrollments/{PURCHASE_ID}/cancel",
    "accept": f"/api/admin/purchases/{PURCHASE_ID}/accept",
    "resume-collection": f"/api/admin/payments/schedules/{PURCHASE_ID}/resume-collection",
}


def overview(**other: Any) -> dict[str, Any]:
    found: dict[str, Any] = sample(schema_of("GET", OVERVIEW))
    empty: dict[str, Any] = {"schedules": [], "payments": [], "refunds": [], "next_due": None, "reason": None}
    sums = {"amount": 489_000, "paid": 122_250, "refunded": 22_250, "due": 366_750, "shortfall": 0, "currency": "usd"}
    return {**found, **empty, **sums, "payment_plan": None, "collection_stopped": None, **other}


@pytest.fixture(autouse=True)
async def administration(browser: Browser, portal: Portal) -> None:
    await browser.sign_in("admin")
    portal.services.answers["GET", OVERVIEW] = overview()
    portal.services.answers["GET", TIMELINE] = {"purchase_id": PURCHASE_ID, "events": []}
    for path in APIS.values():
        portal.services.answers["POST", path] = sample(schema_of("POST", path))


async def test_only_what_applies_is_offered(browser: Browser, portal: Portal) -> None:
    shown = (await browser.get(PATH)).text
    assert f"{PATH}/cancel" in shown and f"{PATH}/accept" not in shown and f"{PATH}/resume-collection" not in shown
    stopped = overview(reason="underpaid", shortfall=100, collection_stopped="overpaid")
    portal.services.answers["GET", OVERVIEW] = stopped
    shown = (await browser.get(PATH)).text
    assert f"{PATH}/accept" in shown and f"{PATH}/resume-collection" in shown
    portal.services.answers["GET", OVERVIEW] = problem(404, "unknown_enrollment")
    assert f"{PATH}/" not in (await browser.get(PATH)).text
    assert (await browser.get(f"{PATH}/cancel")).status_code == 404


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ({"refund": "policy", "refund_amount": "5"}, {}),
        ({"refund": "none"}, {"refund_amount": "0"}),
        ({"refund": "amount", "refund_amount": " 1,000.00 "}, {"refund_amount": "1000.00"}),
    ],
)
async def test_a_cancellation_sends_the_chosen_refund(
    browser: Browser, portal: Portal, form: dict[str, str], sent: dict[str, str]
) -> None:
    asked = await browser.get(f"{PATH}/cancel")
    assert "$1,000.00" in asked.text and "This cannot be undone" in asked.text
    assert not portal.services.sent("POST", APIS["cancel"]), "asking changes nothing"
    done = await browser.submit(asked, f"{PATH}/cancel", reason=" Moved away. ", **form)
    assert (done.status_code, done.headers["location"]) == (303, f"{PATH}?done=cancel")
    (request,) = portal.services.sent("POST", APIS["cancel"])
    assert json.loads(request.content) == {"reason": "Moved away.", **sent}
    assert "The purchase was canceled." in (await browser.get(done.headers["location"])).text


@pytest.mark.parametrize("typed", ["", "all", "-1", "1e3", "NaN", "10.005"])
async def test_what_is_no_amount_is_not_refunded(browser: Browser, portal: Portal, typed: str) -> None:
    asked = await browser.get(f"{PATH}/cancel")
    form = {"reason": HOSTILE, "refund": "amount", "refund_amount": typed}
    refused = await browser.submit(asked, f"{PATH}/cancel", **form)
    assert refused.status_code == 422 and "write an amount like 1,222.50" in refused.text
    assert "<script>alert" not in refused.text and 'value="amount" checked' in refused.text, "what was typed is kept"
    assert (await browser.submit(asked, f"{PATH}/cancel", reason="x", refund="everything")).status_code == 422
    assert not portal.services.sent("POST", APIS["cancel"])


@pytest.mark.parametrize(
    ("act", "body"), [("accept", b'{"reason":"The rest is waived."}'), ("resume-collection", b"{}")]
)
async def test_an_act_is_explained_done_and_its_refusal_displayed(
    browser: Browser, portal: Portal, act: str, body: bytes
) -> None:
    asked = await browser.get(f"{PATH}/{act}")
    assert "money is refunded" in asked.text
    done = await browser.submit(asked, f"{PATH}/{act}", reason=" The rest is waived. ")
    assert done.headers["location"] == f"{PATH}?done={act}"
    (request,) = portal.services.sent("POST", APIS[act])
    assert request.content == body
    portal.services.answers["POST", APIS[act]] = problem(409, "refused", "It is not underpaid.")
    refused = await browser.submit(asked, f"{PATH}/{act}", reason="x")
    assert refused.status_code == 422 and "It is not underpaid." in refused.text


async def test_no_other_role_and_no_other_site_changes_a_purchase(browser: Browser, portal: Portal) -> None:
    form = {"reason": "x", "refund": "none"}
    for act in APIS:
        assert (await browser.post(f"{PATH}/{act}", form)).status_code == 403, "without the token of the session"
    assert (await browser.get(f"{PATH}/refund")).status_code == 404
    for role in ("student", "case_manager", "specialist"):
        async with portal.browser() as other:
            await other.sign_in(role)
            for act in APIS:
                assert (await other.get(f"{PATH}/{act}")).status_code == 403
                assert (await other.post(f"{PATH}/{act}", form)).status_code == 403
    assert not [each for each in portal.services.requests if each.method == "POST"]


async def test_the_story_and_the_sums_are_asked_for_together(browser: Browser, portal: Portal) -> None:
    portal.services.answer_together(2)
    assert (await browser.get(PATH)).status_code == 200
