"""Buying a membership: by tier or slug, monthly or yearly, with or without a promotion code."""

from __future__ import annotations

from typing import Any, cast
from uuid import uuid4

import pytest
import stripe
from tests.checkout.membership_steps import PATH, Member, refused
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import FRONTEND, bearer


async def _session(member: Member, id: str) -> stripe.checkout.Session:
    return await member.sandbox.api.checkout.sessions.retrieve_async(id, {"expand": ["line_items"]})


async def test_a_month_at_a_time(member: Member) -> None:
    answer = await member.buy("student")
    assert answer.status_code == 200
    session = await _session(member, answer.json()["sessionId"])
    assert (session.mode, session.url, session.amount_total) == ("subscription", answer.json()["url"], 1_900)
    assert session.success_url == f"{FRONTEND}/membership?session_id={{CHECKOUT_SESSION_ID}}"
    assert session.customer, "the student's own customer"
    methods = session.to_dict()["payment_method_types"]
    assert "affirm" not in methods and "card" in methods
    (line,) = session.line_items.data if session.line_items else []
    assert line.price and line.price.recurring and line.price.recurring.interval == "month"
    purchase = await member.service.purchase(member.id)
    assert (purchase["payment_flow"], purchase["tier"], purchase["interval"]) == ("membership", "student", "month")
    assert (purchase["program_slug"], purchase["amount"]) == ("membership", 1_900)

    assert refused(await member.call("GET", "/current")) == (404, "no_membership")
    await member.sandbox.pay(session.id)
    await member.catch_up()
    subscription = await member.subscription()
    metadata = metadata_of(subscription)
    assert (metadata["tier"], metadata["program_kind"]) == ("student", "membership")
    assert metadata["program_slug"] == "membership"
    assert "price" not in metadata, "it has no price that could be paid up"
    assert (await member.service.purchase(member.id))["state"] == "paid"
    assert await member.standing() == ("active", None)
    assert (await member.current())["access"] is False, "the enrollment's event has not arrived yet"
    await member.enrollment()
    current = await member.current()
    assert {name: current[name] for name in ("tier", "interval", "status", "access", "paused")} == {
        "tier": "student",
        "interval": "month",
        "status": "active",
        "access": True,
        "paused": False,
    }
    assert current["cancel_at_period_end"] is False and current["current_period_end"]


async def test_by_the_year_and_by_slug(member: Member) -> None:
    await member.join("career-membership", interval="year")
    row = await member.row()
    assert (row["tier"], row["interval"], row["stripe_price_id"] is not None) == ("career", "year", True)
    assert await member.invoices() == [("paid", 49_000)]


async def test_one_page_per_request_and_another_for_another(member: Member) -> None:
    first, again = await member.buy("student"), await member.buy("student-membership")
    assert first.json() == again.json()
    other = await member.buy("student", interval="year")
    assert other.json()["sessionId"] != first.json()["sessionId"]
    assert (await _session(member, first.json()["sessionId"])).status == "expired"
    key = {"Idempotency-Key": str(uuid4())}
    body = {"membership": "student", "interval": "year"}
    assert (await member.call("POST", json=body, headers=key)).json() == other.json()
    replayed = await member.call("POST", json=body, headers=key)
    assert (replayed.json(), replayed.headers["Idempotent-Replayed"]) == (other.json(), "true")
    changed = await member.call("POST", json={"membership": "career"}, headers=key)
    assert refused(changed) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"membership": "platinum"}, 404, "unknown_membership"),
        ({"membership": "fsd"}, 404, "unknown_membership"),
        ({"membership": "stu\x00dent"}, 404, "unknown_membership"),
        ({"membership": "student", "interval": "week"}, 422, "invalid_request"),
        ({"membership": "student", "promotion_code": "NOSUCHCODE"}, 404, "unknown_promotion"),
        ({}, 422, "invalid_request"),
    ],
)
async def test_what_is_not_on_sale(member: Member, body: dict[str, Any], status: int, code: str) -> None:
    assert refused(await member.call("POST", json=body)) == (status, code)
    assert await member.service.purchases(member.id) == []


async def test_a_token_is_required(member: Member) -> None:
    for method, path in (("POST", PATH), ("GET", PATH), ("GET", f"{PATH}/current"), ("POST", f"{PATH}/x/pause")):
        assert (await member.service.call(method, path, json={"membership": "student"})).status_code == 401


async def test_there_is_at_most_one(member: Member) -> None:
    await member.join("student")
    for wanted in ("student", "career"):
        answer = await member.buy(wanted)
        assert refused(answer) == (409, "already_enrolled")
        assert "change" in answer.json()["detail"]


async def test_paid_but_not_enrolled_yet(member: Member) -> None:
    answer = await member.buy("student")
    await member.sandbox.pay(answer.json()["sessionId"])
    await member.catch_up()
    assert refused(await member.buy("career")) == (409, "payment_in_progress")


async def test_a_code_takes_its_discount_off_the_first_invoice(member: Member) -> None:
    code = f"HELLO{uuid4().hex[:8].upper()}"
    made = await member.service.admin("POST", "/api/admin/promotions", code=code, percent_off=50, kinds=["membership"])
    assert made.status_code == 201, made.text
    answer = await member.buy("career", promotion_code=code)
    assert answer.status_code == 200, answer.text
    session = await _session(member, answer.json()["sessionId"])
    assert (session.amount_subtotal, session.amount_total) == (4_900, 2_450), "Stripe's page shows it"
    (event,) = await member.service.published(member.id, "purchase.created.v1")
    assert (event["discount"]["amount"], event["promotion_code"]) == (2_450, code)
    await member.sandbox.pay(session.id)
    await member.catch_up()
    await member.later(32 * 86_400)
    await member.catch_up()
    assert await member.invoices() == [("paid", 2_450), ("paid", 4_900)]
    assert await member.standing() == ("active", None)


async def test_a_free_first_month(member: Member) -> None:
    code = f"FREE{uuid4().hex[:8].upper()}"
    await member.service.admin("POST", "/api/admin/promotions", code=code, percent_off=100)
    await member.join("student", promotion_code=code)
    assert await member.standing() == ("active", None)
    await member.later(32 * 86_400)
    await member.catch_up()
    assert await member.invoices() == [("paid", 0), ("paid", 1_900)]


async def test_an_operators_price_is_used_if_it_is_the_catalogs(member: Member) -> None:
    prices = member.sandbox.api.prices

    async def price(amount: int, **recurring: Any) -> str:
        data = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Student"}, "recurring": recurring}
        return (await prices.create_async(cast(Any, data))).id

    right = await price(19_000, interval="year")
    app = member.service.app_with(stripe_price_student_annual=right, stripe_prices=("student/month=price_none",))
    body = {"membership": "student", "interval": "year"}
    answer = await member.call("POST", json=body, app=app)
    assert answer.status_code == 200, answer.text
    session = await _session(member, answer.json()["sessionId"])
    assert session.line_items and session.line_items.data[0].price and session.line_items.data[0].price.id == right

    for wrong in (await price(20_000, interval="year"), await price(19_000, interval="month")):
        other = Member(member.service)
        app = other.service.app_with(stripe_price_student_annual=wrong)
        assert refused(await other.call("POST", json=body, app=app)) == (503, "price_not_set_up")
    app = member.service.app_with(stripe_price_student_annual="price_of_another_account")
    assert refused(await Member(member.service).call("POST", json=body, app=app)) == (502, "payment_refused")


async def test_without_stripe(member: Member) -> None:
    app = member.service.app_with(stripe_api_key="")
    answer = await member.call("POST", json={"membership": "student"}, app=app)
    assert refused(answer) == (503, "stripe_not_configured")


async def test_a_student_lists_their_own_and_staff_all(member: Member) -> None:
    await member.join("student")
    (mine,) = (await member.call("GET")).json()["items"]
    assert (mine["student_id"], mine["tier"], mine["status"]) == (str(member.id), "student", "active")
    stranger = uuid4()
    for role, who in (("student", stranger), ("specialist", stranger)):
        answer = await member.service.call("GET", PATH, headers=bearer(role, who))
        assert answer.json() == {"items": [], "next": None}
    await member.service.assign(member.id, stranger)
    for role in ("admin", "case_manager"):
        answer = await member.service.call(
            "GET", f"{PATH}/?student_id={member.id}", headers=bearer(role, stranger), follow_redirects=False
        )
        assert [each["id"] for each in answer.json()["items"]] == [mine["id"]]
        everyone = await member.service.call("GET", f"{PATH}?limit=1", headers=bearer(role, stranger))
        assert len(everyone.json()["items"]) == 1
