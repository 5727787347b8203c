"""Nobody pays twice for one enrollment, and no code is used beyond its limit or reserved forever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from tests.checkout.installment_steps import School
from tests.checkout.service import CREATE, FRONTEND, Service, bearer, major, wanted
from tests.checkout.test_courses import COURSE, buy, promotion, session_of

from checkout.stripe_client import StripeUnavailable


async def intent(service: Service, student: UUID, item: str = COURSE, **more: Any) -> httpx.Response:
    body = {"itemId": item, **more}
    return await service.call("POST", "/api/payments/create-intent", json=body, headers=bearer("student", student))


async def pay(service: Service, intent_id: str, **choice: Any) -> dict[str, Any]:
    return await service.sandbox.operate(f"/payment_intents/{intent_id}/pay", **choice)


async def test_a_debit_that_failed_leaves_its_intent_open(service: Service) -> None:
    """At Stripe the intent can be paid again, so it stays the only thing that can be paid."""
    student = uuid4()
    first = (await intent(service, student)).json()
    debit = {"method": "us_bank_account", "email": "ada@example.org", "name": "Ada"}
    assert (await pay(service, first["paymentIntentId"], **debit))["status"] == "processing"
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "processing"
    await service.sandbox.operate(f"/payment_intents/{first['paymentIntentId']}/fail")
    await service.deliver_stripe_events(student)
    again = await intent(service, student)
    assert again.status_code == 200, again.text
    assert again.json()["paymentIntentId"] == first["paymentIntentId"]
    page = await buy(service, student, COURSE)
    assert page.status_code == 200, page.text
    closed = await service.sandbox.api.payment_intents.retrieve_async(first["paymentIntentId"])
    assert closed.status == "canceled", "or both could be paid"
    await service.deliver_stripe_events(student)
    assert [row["state"] for row in await service.purchases(student)] == ["failed", "session_open"]


async def test_an_intent_whose_debit_has_failed_is_canceled_later(service: Service) -> None:
    student, code = uuid4(), await promotion(service, percent_off=10, most_uses=1)
    made = (await intent(service, student, promotionCode=code)).json()
    debit = {"method": "us_bank_account", "email": "ada@example.org", "name": "Ada"}
    await pay(service, made["paymentIntentId"], **debit)
    await service.deliver_stripe_events(student)
    await service.perform(student, "intent_expiry")  # a day later the debit is still pending
    await service.sandbox.operate(f"/payment_intents/{made['paymentIntentId']}/fail")
    await service.deliver_stripe_events(student)
    await service.perform(student, "intent_expiry")
    assert (await service.sandbox.api.payment_intents.retrieve_async(made["paymentIntentId"])).status == "canceled"
    assert (await service.purchase(student))["state"] == "expired"
    (row,) = await service.rows("SELECT uses FROM promotion_codes WHERE code = :code", code=code)
    assert row["uses"] == 0


async def test_a_free_purchase_cannot_be_replaced(service: Service) -> None:
    """Its enrollment follows: another page would be paid for nothing, and its code's use would be released."""
    student, code = uuid4(), await promotion(service, percent_off=100, most_uses=1)
    assert (await intent(service, student, promotionCode=code)).status_code == 200
    page = await buy(service, student, COURSE)
    assert (page.status_code, page.json()["code"]) == (409, "payment_in_progress")
    (row,) = await service.rows("SELECT uses FROM promotion_codes WHERE code = :code", code=code)
    assert row["uses"] == 1
    await service.perform(student, "intent_expiry")
    assert (await service.purchase(student))["state"] == "awaiting_payment", "its success was published"


async def test_a_page_that_was_never_opened_releases_its_use(service: Service) -> None:
    """Stripe was unavailable, and the student did not return: no event will end the purchase."""
    student, other, code = uuid4(), uuid4(), await promotion(service, percent_off=25, most_uses=1)
    # a discount's coupon comes before the purchase; the session after it
    await service.create_customer(student)
    body = {"courseId": COURSE, "promotionCode": code}
    stripe = service.app.state.stripe
    asked = stripe.create_session

    async def away(*_: Any, **__: Any) -> Any:

        raise StripeUnavailable("gone")

    stripe.create_session = away
    answer = await service.call("POST", "/api/checkout", json=body, headers=bearer("student", student))
    stripe.create_session = asked
    assert answer.status_code == 503
    assert (await service.purchase(student))["state"] == "created"
    refused = await buy(service, other, COURSE, promotionCode=code)
    assert (refused.status_code, refused.json()["code"]) == (409, "promotion_used_up")
    await service.perform(student)
    assert (await service.purchase(student))["state"] == "expired"
    assert (await buy(service, other, COURSE, promotionCode=code)).status_code == 200


async def test_the_expiry_does_not_close_an_open_page(service: Service) -> None:
    student = uuid4()
    await buy(service, student, COURSE)
    await service.perform(student)
    assert (await service.purchase(student))["state"] == "session_open"


async def test_a_bundle_after_many_of_its_parts(service: Service) -> None:
    """Each of their open pages is closed."""
    student, tag = uuid4(), uuid4().hex[:6]
    slugs = [f"part-{tag}-{n}" for n in range(7)]
    for slug in slugs:
        body = {"kind": "course", "slug": slug, "name": slug, "price": 10}
        assert (await service.admin("POST", "/api/admin/items", **body)).status_code == 201
    bundle = {"kind": "bundle", "slug": f"all-{tag}", "name": "All", "price": 50, "includes": slugs}
    assert (await service.admin("POST", "/api/admin/items", **bundle)).status_code == 201
    for slug in slugs:
        assert (await buy(service, student, slug)).status_code == 200
    answer = await buy(service, student, f"all-{tag}")
    assert answer.status_code == 200, answer.text
    states = [row["state"] for row in await service.purchases(student)]
    assert states == ["expired"] * 7 + ["session_open"]


async def test_terms_are_stored_also_for_an_open_page(service: Service) -> None:
    student = uuid4()
    assert (await service.buy(student, wanted("cpr", 575))).status_code == 200
    assert (await service.purchase(student))["terms_version"] is None
    assert (await buy(service, student, "cpr", termsVersion="7")).status_code == 200
    (*_, last) = await service.purchases(student)
    assert (last["state"], last["terms_version"]) == ("session_open", "7")
    assert last["terms_accepted_at"] is not None


async def test_a_rejection_that_stripe_replays(service: Service) -> None:
    """A rejected cancellation must not be replayed for the next one."""
    student = uuid4()
    made = (await intent(service, student)).json()
    debit = {"method": "us_bank_account", "email": "ada@example.org", "name": "Ada"}
    await pay(service, made["paymentIntentId"], **debit)
    refused = await buy(service, student, COURSE)
    assert (refused.status_code, refused.json()["code"]) == (409, "payment_in_progress")
    await service.sandbox.operate(f"/payment_intents/{made['paymentIntentId']}/fail")
    assert (await buy(service, student, COURSE)).status_code == 200


async def test_guests_and_codes_with_a_limit_per_student(service: Service) -> None:
    """Guests are not identified: such a code would have no limit."""
    code = await promotion(service, percent_off=25, most_per_student=1)
    answer = await service.buy(None, wanted("cpr", 575, promotionCode=code))
    assert (answer.status_code, answer.json()["code"]) == (409, "promotion_not_for_guests")
    assert (await service.buy(uuid4(), wanted("cpr", 575, promotionCode=code))).status_code == 200
    everybodys = await promotion(service, percent_off=25, most_uses=5)
    assert (await service.buy(None, wanted("cpr", 575, promotionCode=everybodys))).status_code == 200


async def test_ones_own_referral_code_as_a_guest(service: Service) -> None:
    made = await service.call("POST", "/api/referral-code", headers=bearer("student", uuid4()))
    answer = await service.buy(None, wanted("cpr", 575, promotionCode=made.json()["code"]))
    assert (answer.status_code, answer.json()["code"]) == (409, "promotion_not_for_guests")


async def test_an_id_of_another_system_in_a_page(service: Service) -> None:
    id = f"Maths 101/é?x#{uuid4().hex[:6]}"
    made = await service.admin(
        "POST",
        "/api/admin/payments/products",
        product_type="course",
        product_id=id,
        product_name="Maths",
        price=99,
        currency="usd",
    )
    assert made.status_code == 201, made.text
    student = uuid4()
    assert (await buy(service, student, id)).status_code == 200
    session = await session_of(service, student)
    assert session.success_url == f"{FRONTEND}/courses/{quote(id, safe='')}?success=1"


@pytest.mark.parametrize("amount", ["$1", "", "499.00", "49900", 499.5])
@pytest.mark.parametrize("path", ["create-payment", "create-intent"])
async def test_an_invalid_amount(service: Service, path: str, amount: object) -> None:
    """An amount is an integer of minor units."""
    body = {"track": "dp", "itemId": "dp", "amount": amount}
    answer = await service.call("POST", f"/api/payments/{path}", json=body, headers=bearer("student", uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "url",
    [
        "https://school.example/a b",
        "https://school.example/\n",
        " https://school.example/",
        "https://school.example/\x7f",
    ],
)
async def test_an_invalid_url(service: Service, url: str) -> None:
    body = {"track": "dp", "success_url": url, "cancel_url": f"{FRONTEND}/x"}
    path = "/api/payments/create-checkout-session"
    answer = await service.call("POST", path, json=body, headers=bearer("student", uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (422, "redirect_not_allowed")


async def test_an_enrollment_with_a_forgotten_key_leaves_nothing_to_be_paid(school: School) -> None:
    """Its installments can be paid one by one, whether or not the first answer arrived."""
    stripe = school.app.state.stripe
    asked = stripe.create_intent

    async def away(*_: Any, **__: Any) -> Any:
        raise StripeUnavailable("gone")

    stripe.create_intent = away
    assert (await school.enroll()).status_code == 503
    stripe.create_intent = asked
    await school.service.rows(
        "UPDATE purchases SET created_at = now() - interval '1 day' WHERE student_id = :student RETURNING id",
        student=school.student,
    )
    (first, *_) = await school.installments()
    assert (await school.enroll("barber-apprenticeship")).status_code == 201
    page = await school.call("POST", CREATE, json=wanted())
    assert page.status_code == 200, page.text
    paid = await school.call("POST", f"/api/payments/schedules/{first['id']}/intent")
    assert (paid.status_code, paid.json()["code"]) == (409, "installment_closed")


async def test_an_expired_page_releases_nothing_that_is_paid(service: Service) -> None:
    student = uuid4()
    await buy(service, student, COURSE)
    await service.sandbox.pay((await session_of(service, student)).id)
    await service.deliver_stripe_events(student)
    await service.perform(student, "page_expiry")
    assert (await service.purchase(student))["state"] == "paid"


@pytest.mark.parametrize("currency, price", [("jpy", 5000), ("eur", 5000), ("kwd", 5000)])
async def test_other_currencies(service: Service, currency: str, price: int) -> None:
    slug, student = f"c-{uuid4().hex[:8]}", uuid4()
    body = {"kind": "course", "slug": slug, "name": "X", "price": major(price, currency), "currency": currency}
    assert (await service.admin("POST", "/api/admin/items", **body)).status_code == 201
    page = await buy(service, student, slug)
    assert page.status_code == 200, page.text
    session = await session_of(service, student)
    assert (session.amount_total, session.currency) == (price, currency)
    assert set(session.allowed_payment_method_types or []) == {"card", "link"}
    made = await intent(service, student, slug, amount=price, currency=currency.upper())
    assert (made.status_code, made.json()["amount"]) == (200, price), made.text
    await pay(service, made.json()["paymentIntentId"])
    await service.deliver_stripe_events(student)
    assert [row["state"] for row in await service.purchases(student)] == ["expired", "paid"]


@pytest.mark.parametrize("cents", [1, 49])
async def test_less_than_stripe_takes(service: Service, cents: int) -> None:
    student, code = uuid4(), await promotion(service, amount_off=7900 - cents, currency="usd", most_uses=1)
    for answer in (
        await buy(service, student, COURSE, promotionCode=code),
        await intent(service, student, promotionCode=code),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "amount_not_payable")
    assert await service.purchases(student) == []
    (row,) = await service.rows("SELECT uses FROM promotion_codes WHERE code = :code", code=code)
    assert row["uses"] == 0


async def test_a_code_that_is_changed_while_it_is_used(service: Service) -> None:
    """Stripe is called between the quote and the commit; the code as it is at the commit counts."""
    student, code = uuid4(), await promotion(service, percent_off=90)
    stripe = service.app.state.stripe
    asked = stripe.coupon

    async def slowly(**sent: Any) -> Any:
        changed = await service.admin("PATCH", f"/api/admin/promotions/{code}", percent_off=10)
        assert changed.status_code == 200
        return await asked(**sent)

    stripe.coupon = slowly
    refused = await buy(service, student, COURSE, promotionCode=code)
    stripe.coupon = asked
    assert (refused.status_code, refused.json()["code"]) == (409, "promotion_changed")
    assert await service.purchases(student) == []
    assert (await buy(service, student, COURSE, promotionCode=code)).status_code == 200
    assert (await service.purchase(student))["amount"] == 7110


@pytest.mark.parametrize("change", [{"price": 99}, {"active": False}])
async def test_an_item_that_is_changed_while_it_is_bought(service: Service, change: dict[str, Any]) -> None:
    slug, student = f"c-{uuid4().hex[:8]}", uuid4()
    body = {"kind": "course", "slug": slug, "name": "X", "price": 50}
    assert (await service.admin("POST", "/api/admin/items", **body)).status_code == 201
    stripe = service.app.state.stripe
    asked = stripe.create_customer

    async def slowly(**sent: Any) -> Any:
        assert (await service.admin("PATCH", f"/api/admin/items/{slug}", **change)).status_code == 200
        return await asked(**sent)

    stripe.create_customer = slowly
    refused = await buy(service, student, slug)
    stripe.create_customer = asked
    assert (refused.status_code, refused.json()["code"]) == (409, "price_changed")
    assert await service.purchases(student) == []


async def test_a_customer_that_stripe_no_longer_has(service: Service) -> None:
    """Deleted manually, another account, or deleted test data."""
    student = uuid4()
    customer = await service.create_customer(student)
    await service.sandbox.api.customers.delete_async(customer)
    assert (await buy(service, student, COURSE)).status_code == 200
    assert (await intent(service, student, "dp")).status_code == 200
    (row,) = await service.rows("SELECT * FROM customers WHERE student_id = :student", student=student)
    assert row["stripe_customer_id"] != customer


async def test_with_tax_a_track_is_paid_in_full(service: Service) -> None:
    student = uuid4()
    app = service.app_with(stripe_tax=True)
    answer = await service.call(
        "POST", "/api/checkout", json={"courseId": "dp"}, headers=bearer("student", student), app=app
    )
    assert answer.status_code == 200, answer.text
    session = await session_of(service, student)
    (line,) = (await service.purchase(student))["session_params"]["line_items"]
    assert line["price_data"]["tax_behavior"] == "exclusive", "not the account's default"
    assert session.amount_total > 49_900
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"


@pytest.mark.parametrize("by", ["page", "intent"])
async def test_paid_while_it_is_replaced(service: Service, by: str) -> None:
    """Whichever is first: what is paid stays the only thing that can be paid."""
    for delay in (0.0, 0.005, 0.01, 0.02, 0.03):
        student = uuid4()
        if by == "page":
            await buy(service, student, COURSE)
            path = f"/sessions/{(await session_of(service, student)).id}/pay"
        else:
            path = f"/payment_intents/{(await intent(service, student)).json()['paymentIntentId']}/pay"

        async def pays(path: str = path, delay: float = delay) -> bool:
            await asyncio.sleep(delay)
            with suppress(AssertionError):  # it was closed before
                return bool((await service.sandbox.operate(path, email="ada@example.org"))["status"] != "declined")
            return False

        code = await promotion(service, percent_off=10)
        paid, other = await asyncio.gather(pays(), buy(service, student, COURSE, promotionCode=code))
        assert other.status_code == (409 if paid else 200), other.text
        open_ones = [s for s in await service.sandbox.sessions_of(student) if s.status == "open"]
        assert len(open_ones) == (0 if paid else 1)
        await service.deliver_stripe_events(student)
        states = [row["state"] for row in await service.purchases(student)]
        assert states == (["paid"] if paid else ["expired", "session_open"])
