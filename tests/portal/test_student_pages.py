"""A student's own pages: progress, refund requests, payment methods, the membership."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.portal.documented_services import (
    NOW,
    PAYMENT_ID,
    PURCHASE_ID,
    enrollment,
    offer,
    page,
    payment,
    problem,
    purchase,
    refund_request,
)
from tests.portal.harness import Browser, Portal

from kit.http import protocol
from portal.service_client import IDLE_SECONDS

STEP_ID = "44444444-4444-4444-8444-444444444444"
METHODS = "/api/payments/methods"
CURRENT = "/api/memberships/current"


def progress(**other: Any) -> dict[str, Any]:
    done = {"id": PURCHASE_ID, "position": 1, "title": "Read the brief", "done": True, "done_at": NOW}
    following = {"id": STEP_ID, "position": 2, "title": "Draw the plan", "done": False, "done_at": None}
    project = {"id": PURCHASE_ID, "position": 1, "title": "A plan", "status": "unlocked", "steps": [done, following]}
    whole = {"enrollment_id": PURCHASE_ID, "track": "dp", "status": "active", "completed_at": None, "percent": 50}
    return {**whole, "projects": [project], **other}


async def test_a_dashboard_asks_for_everything_at_once_and_for_nothing_twice(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    portal.services.requests.clear()
    portal.services.answer_together(8)
    assert (await browser.get("/dashboard")).status_code == 200
    assert len({each.url.path for each in portal.services.requests}) == len(portal.services.requests) == 8


@pytest.mark.parametrize(("co_pay", "owed"), [(39_000, True), (39_000, False), (None, False)])
async def test_a_student_pays_their_co_pay_and_not_the_sponsors_invoice(
    browser: Browser, portal: Portal, co_pay: int | None, owed: bool
) -> None:
    sponsored = purchase("awaiting_payment", payer="sponsor", funding_source="WIOA", due=489_000, co_pay=co_pay)
    common = {"currency": "usd", "due_at": NOW, "status": "open", "attempts": 0}
    none = {"next_attempt_at": NOW if owed else None, "failure_code": None, "paid_at": None}
    rows = [("full", 489_000 - (co_pay or 0), "https://pay.test/sponsor")]
    rows += [("co_pay", co_pay, "https://pay.test/student")] if co_pay else []
    schedules = [
        {"id": PURCHASE_ID, "position": n, "kind": kind, "amount": amount, "pay_url": url, **common, **none}
        for n, (kind, amount, url) in enumerate(rows, 1)
    ]
    sums = {"price": 4890.00, "amount": 489_000, "shortfall": 0, "paid": 0, "refunded": 0, "due": 489_000}
    portal.services.answers["GET", "/api/purchases"] = page(sponsored)
    portal.services.answers["GET", f"/api/enrollments/{PURCHASE_ID}/payment"] = {
        "enrollment_id": PURCHASE_ID,
        "purchase_id": PURCHASE_ID,
        "payment_plan": None,
        "collected_by": "checkout",
        "currency": "usd",
        "schedules": schedules,
        "payments": [],
        "refunds": [],
        **sums,
        **dict.fromkeys(("reason", "next_due", "collection_stopped")),
    }
    await browser.sign_in()
    shown = (await browser.get("/dashboard")).text
    assert "https://pay.test/sponsor" not in shown and "is not paid yet" not in shown
    assert ("https://pay.test/student" in shown) is owed
    assert ("Your co-pay is $390.00" in shown) is bool(co_pay)
    assert ("When the sponsor has paid" in shown) is bool(co_pay and not owed)


def test_a_connection_is_not_kept_longer_than_the_services_keep_it() -> None:
    """They close it after that, and a request that is on its way would be lost."""
    assert 30 <= IDLE_SECONDS < protocol.IDLE_SECONDS


async def test_an_enrollment_shows_its_progress_and_the_step_to_do_next(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    answers = portal.services.answers
    answers["GET", "/api/enrollments"] = page(enrollment(kind="track", track="dp"))
    answers["GET", f"/api/enrollments/{PURCHASE_ID}/progress"] = progress()
    shown = await browser.get("/dashboard")
    assert "50 %" in shown.text and "Draw the plan (A plan)" in shown.text
    done = f"/api/enrollments/{PURCHASE_ID}/progress/steps/{STEP_ID}/done"
    answers["POST", done] = progress()
    action = f"/dashboard/enrollments/{PURCHASE_ID}/steps/{STEP_ID}"
    assert (await browser.submit(shown, action)).headers["location"] == "/dashboard"
    answers["POST", done] = problem(409, "project_locked", "Finish the project before it.")
    assert "Finish the project before it." in (await browser.submit(shown, action)).text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("pending", "as soon as your payment is confirmed"),
        ("active", "as soon as everything is prepared"),
        ("paused", "A payment is overdue"),
        ("withdrawn", "has ended"),
        ("completed", "You have completed this."),
    ],
)
async def test_every_enrollment_shows_what_comes_next(browser: Browser, portal: Portal, status: str, text: str) -> None:
    await browser.sign_in()
    portal.services.answers["GET", "/api/enrollments"] = page(enrollment(status=status))
    assert text in (await browser.get("/dashboard")).text


async def test_a_refund_request_shows_its_state_and_is_not_made_twice(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    answers = portal.services.answers
    answers["GET", "/api/payments/my-payments"] = {**page(payment()), "payments": []}
    form = f'action="/payments/{PAYMENT_ID}/refund-request"'
    assert form in (await browser.get("/dashboard")).text
    answers["GET", "/api/payments/refund-requests"] = page(refund_request())
    pending = (await browser.get("/dashboard")).text
    assert "Requested on November 22, 2026: pending" in pending and form not in pending
    rejected = refund_request(status="rejected", note="<b>Too late", created_at="2026-11-23T09:00:00Z")
    answers["GET", "/api/payments/refund-requests"] = page(rejected, refund_request(status="approved"))
    text = (await browser.get("/dashboard")).text
    assert "rejected. “&lt;b&gt;Too late”" in text and form in text  # the latest counts, and another one may be made


async def test_payment_methods_are_listed_made_the_default_and_removed(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    card = {"id": "pm_1", "type": "card", "brand": "visa", "last4": "4242", "exp_month": 3, "exp_year": 2030}
    bank = {"id": "pm_2", "type": "us_bank_account", "brand": None, "last4": "6789"}
    answers = portal.services.answers
    answers["GET", METHODS] = page(
        card | {"default": True}, bank | {"exp_month": None, "exp_year": None, "default": False}
    )
    shown = await browser.get("/dashboard/methods")
    assert "Visa ending in 4242" in shown.text and "03/2030" in shown.text and "Us bank account" in shown.text
    assert 'action="/dashboard/methods/pm_1/default"' not in shown.text
    answers["POST", f"{METHODS}/pm_2/default"] = bank | {"exp_month": None, "exp_year": None, "default": True}
    changed = await browser.submit(shown, "/dashboard/methods/pm_2/default")
    assert changed.headers["location"] == "/dashboard/methods?done=default"
    answers["DELETE", f"{METHODS}/pm_1"] = httpx.Response(204)
    removed = await browser.submit(shown, "/dashboard/methods/pm_1/remove")
    assert removed.headers["location"] == "/dashboard/methods?done=removed"
    answers["DELETE", f"{METHODS}/pm_1"] = problem(404, "unknown_payment_method", "There is no such method.")
    assert "There is no such method." in (await browser.submit(shown, "/dashboard/methods/pm_1/remove")).text


async def test_a_payment_method_is_added_at_stripe_and_nowhere_else(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    shown = await browser.get("/dashboard/methods")
    answer = "/api/payments/billing-portal"
    portal.services.answers["POST", answer] = {"url": "https://pay.test/p/session"}
    sent = await browser.submit(shown, "/dashboard/methods/add")
    assert (sent.status_code, sent.headers["location"]) == (303, "https://pay.test/p/session")
    (request,) = portal.services.sent("POST", answer)
    assert json.loads(request.content) == {"return_url": "https://school.test/dashboard/methods"}
    portal.services.answers["POST", answer] = {"url": "https://evil.test/p"}
    assert (await browser.submit(shown, "/dashboard/methods/add")).status_code == 502


def membership(**other: Any) -> dict[str, Any]:
    plain = {"id": PURCHASE_ID, "tier": "student", "interval": "month", "status": "active", "access": True}
    times = {"current_period_end": NOW, "ended_at": None, "resumes_at": None}
    return {**plain, **times, "cancel_at_period_end": False, "paused": False, **other}


@pytest.mark.parametrize(
    ("act", "form", "sent"),
    [
        ("change", {"to": "career/year"}, {"membership": "career", "interval": "year"}),
        ("pause", {"resumes_on": "2027-01-31"}, {"resumes_at": "2027-01-31T00:00:00Z"}),
        ("pause", {"resumes_on": ""}, {}),
        ("cancel", {"at": "period_end"}, {"at": "period_end"}),
        ("cancel", {"at": "now"}, {"at": "now"}),
    ],
)
async def test_a_membership_is_changed(
    browser: Browser, portal: Portal, act: str, form: dict[str, str], sent: dict[str, str]
) -> None:
    await browser.sign_in()
    answers = portal.services.answers
    career = offer("career", "membership", tier="career", monthly_price=39.00, annual_price=390.00)
    answers["GET", "/api/catalog"] = page(offer("student", "membership", tier="student", monthly_price=19.00), career)
    answers["GET", CURRENT] = membership()
    shown = await browser.get("/dashboard/membership")
    assert "390.00 USD each year" in shown.text and "19.00 USD" not in shown.text  # not what it is already
    view = {name: value for name, value in membership().items() if name != "access"}
    answers["POST", f"/api/memberships/{PURCHASE_ID}/{act}"] = view
    action = f"/dashboard/membership/{PURCHASE_ID}/{act}"
    done = await browser.submit(shown, action, **form)
    assert done.headers["location"] == f"/dashboard/membership?done={act}"
    (request,) = portal.services.sent("POST", f"/api/memberships/{PURCHASE_ID}/{act}")
    assert json.loads(request.content) == sent and request.headers["idempotency-key"]
    answers["POST", f"/api/memberships/{PURCHASE_ID}/{act}"] = problem(409, "refused", "Not now.")
    assert "Not now." in (await browser.submit(shown, action, **form)).text


async def test_a_paused_membership_is_resumed(browser: Browser, portal: Portal) -> None:
    await browser.sign_in()
    answers = portal.services.answers
    answers["GET", CURRENT] = problem(404, "no_membership")
    assert "You have no membership." in (await browser.get("/dashboard/membership")).text
    answers["GET", CURRENT] = membership(paused=True, access=False)
    shown = await browser.get("/dashboard/membership")
    answers["POST", f"/api/memberships/{PURCHASE_ID}/resume"] = problem(402, "payment_failed", "The card was declined.")
    refused = await browser.submit(shown, f"/dashboard/membership/{PURCHASE_ID}/resume")
    assert "The card was declined." in refused.text
