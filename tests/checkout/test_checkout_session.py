"""POST /api/create-checkout-session: one page per request, at the catalog's price."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import CREATE, FRONTEND, Service, bearer, wanted

from contracts.enrollment import EnrollmentActivated, EnrollmentEvent, EnrollmentPaused, EnrollmentWithdrawn
from contracts.people import Program

DEAD_STRIPE = "http://127.0.0.1:9"


def enrollment(
    event: type[EnrollmentEvent], student: UUID, revision: int, *, slug: str = "dsp", purchase: UUID | None = None
) -> EnrollmentEvent:
    return event(
        enrollment_id=uuid4(),
        student_id=student,
        program=Program(slug=slug, id="p"),
        purchase_id=purchase,
        revision=revision,
    )


async def test_a_student_gets_a_page(service: Service) -> None:
    student = uuid4()
    answer = await service.buy(student)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["url"]
    (session,) = await service.sandbox.sessions_of(student)
    purchase = await service.purchase(student)
    assert answer.json()["url"] == session.url == purchase["checkout_url"]
    assert (purchase["state"], purchase["stripe_checkout_session_id"]) == ("session_open", session.id)
    assert (session.mode, session.amount_total, session.currency) == ("payment", 489_000, "usd")
    assert session.success_url == (
        FRONTEND + "/enroll/success?session_id={CHECKOUT_SESSION_ID}&program=barber-apprenticeship"
    )
    assert session.cancel_url == f"{FRONTEND}/enroll"
    metadata = metadata_of(session)
    programs = {p["slug"]: p for p in (await service.call("GET", "/api/programs")).json()["items"]}
    assert metadata == {
        "purchase_id": str(purchase["id"]),
        "student_id": str(student),
        "program_id": programs["barber-apprenticeship"]["id"],
        "program_slug": "barber-apprenticeship",
        "program_name": "Barber Apprenticeship",
        "provider": "milady",
        "program_kind": "program",
        "payer": "student",
        "price": "489000",
        "price_currency": "usd",
    }
    await service.sandbox.pay(session.id)
    paid = await service.sandbox.api.checkout.sessions.retrieve_async(session.id)
    assert isinstance(paid.payment_intent, str)
    assert metadata_of(await service.sandbox.api.payment_intents.retrieve_async(paid.payment_intent)) == metadata


async def test_it_is_published_once_and_only_with_its_page(service: Service) -> None:
    student = uuid4()
    url = (await service.buy(student)).json()["url"]
    assert (await service.buy(student)).json()["url"] == url
    (event,) = await service.published(student, "purchase.created.v1")
    purchase = await service.purchase(student)
    assert event["purchase_id"] == str(purchase["id"])
    assert event["checkout_url"] == service.app.state.context.pay_link(purchase["id"])
    assert (event["amount"], event["payment_type"], event["payer"]) == (
        {"amount": 489_000, "currency": "usd"},
        "full",
        "student",
    )
    assert event["program"] == {
        "slug": "barber-apprenticeship",
        "id": purchase["program_id"],
        "name": "Barber Apprenticeship",
        "provider": "milady",
        "kind": "program",
        "includes": [],
    }
    assert datetime.fromisoformat(event["expires_at"]) == purchase["expires_at"] > datetime.now(UTC)
    assert "payer_contact" not in event


@pytest.mark.parametrize("price", ["4890", "4890.0", "4890.00", '"4890.00"', '"4890"', "4.89e3", "4890.000000000000"])
async def test_the_right_price(service: Service, price: str) -> None:
    answer = await _priced(service, price)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "price",
    [
        "489000",  # the same in minor units
        '"489000"',
        "48900",
        "489000.01",
        "4889.99",
        "4890.01",
        "48.90",
        "0",
        "999999999999999",
    ],
)
async def test_a_wrong_price_gets_the_right_one(service: Service, price: str) -> None:
    answer = await _priced(service, price)
    assert answer.status_code == 409, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["code"], problem["amount"], problem["currency"]) == ("price_mismatch", 489_000, "usd")
    assert '"price":4890.00,' in answer.text, "a number with the currency's decimals"


@pytest.mark.parametrize("price", ["4890.001", '"4890.001"', "4890.0000000000000000001"])
async def test_a_price_with_more_decimals_than_the_currency(service: Service, price: str) -> None:
    """A float would swallow the difference of the last one."""
    answer = await _priced(service, price)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_decimals")


@pytest.mark.parametrize(
    "price",
    [
        "null",
        "true",
        "[4890]",
        "{}",
        "NaN",
        "1e99999999999999999999",
        "9" * 5000,
        "-4890",
        "1e999999",
        "1e-999999",
        "99999999999999999999999999",
        '"4,890.00"',
        '"$4890"',
        '"NaN"',
        '"Infinity"',
        '" 4890"',
        '"٤٨٩٠"',
        '""',
    ],
)
async def test_an_invalid_price(service: Service, price: str) -> None:
    answer = await _priced(service, price)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def _priced(service: Service, price: str) -> Any:
    raw = f'{{"programName": "B", "programSlug": "barber-apprenticeship", "price": {price}, "paymentType": "full"}}'
    return await service.call("POST", CREATE, raw=raw, headers=bearer("student", uuid4()))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "{",
        '{"programSlug": "dsp"}',
        '{"programSlug": "dsp", "price": 4325, "paymentType": "half"}',
        '{"programSlug": "", "price": 4325, "paymentType": "full"}',
        '{"programSlug": 5, "price": 4325, "paymentType": "full"}',
        "[" * 100_000,
    ],
)
async def test_an_invalid_request(service: Service, body: str) -> None:
    answer = await service.call("POST", CREATE, raw=body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_program(service: Service) -> None:
    answer = await service.buy(uuid4(), wanted("surgery"))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_program")


async def test_a_trailing_slash_is_the_same_path(service: Service) -> None:
    student = uuid4()
    first = await service.call("POST", f"{CREATE}/", json=wanted(), headers=bearer("student", student))
    assert first.json() == (await service.buy(student)).json()


async def test_a_bad_token_is_not_a_guest(service: Service) -> None:
    answer = await service.call("POST", CREATE, json=wanted(), headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401


async def test_a_guest_becomes_a_student(service: Service) -> None:
    headers = {"Idempotency-Key": f"guest-{uuid4()}"}
    first = await service.buy(None, wanted("cpr", 575), headers=headers)
    assert first.status_code == 200, first.text
    assert (await service.buy(None, wanted("cpr", 575), headers=headers)).json() == first.json()
    (purchase,) = await service.rows("SELECT * FROM purchases WHERE checkout_url = :url", url=first.json()["url"])
    assert len(await service.sandbox.sessions_of(purchase["student_id"])) == 1
    other = await service.buy(None, wanted("cpr", 575))
    assert other.json()["url"] != first.json()["url"], "another guest"


async def test_guests_can_be_disallowed(service: Service) -> None:
    app = service.app_with(allow_guest_checkout=False)
    answer = await service.call("POST", CREATE, app=app, json=wanted())
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert (await service.call("POST", CREATE, app=app, json=wanted(), headers=bearer("student", uuid4()))).is_success


async def test_an_idempotency_key_belongs_to_one_request(service: Service) -> None:
    student, headers = uuid4(), {"Idempotency-Key": f"key-{uuid4()}"}
    first = await service.buy(student, headers=headers)
    again = await service.buy(student, headers=headers)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    other = await service.buy(student, wanted("dsp", 4325), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_enrolled_students_are_not_charged_again(service: Service) -> None:
    student = uuid4()
    await service.publish(enrollment(EnrollmentActivated, student, 2))
    await service.publish(enrollment(EnrollmentWithdrawn, student, 1))  # late: an older word
    for _ in range(2):
        answer = await service.buy(student, wanted("dsp", 4325))
        assert (answer.status_code, answer.json()["code"]) == (409, "already_enrolled")
        await service.publish(enrollment(EnrollmentPaused, student, 3))
    assert (await service.fund(student)).json()["code"] == "already_enrolled"
    assert await service.purchases(student) == []
    assert await service.sandbox.sessions_of(student) == []
    assert (await service.buy(student, wanted("hvac", 5000))).status_code == 200, "another program"
    await service.publish(enrollment(EnrollmentWithdrawn, student, 4))
    assert (await service.buy(student, wanted("dsp", 4325))).status_code == 200


async def test_who_has_paid_waits_for_the_enrollment(service: Service) -> None:
    student = uuid4()
    await service.buy(student, wanted("dsp", 4325))
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id)
    before_we_hear = await service.buy(student, wanted("dsp", 4325))
    assert (before_we_hear.status_code, before_we_hear.json()["code"]) == (409, "payment_in_progress")
    replaced = await service.buy(student, wanted("dsp", 4325, paymentType="plan"))
    assert replaced.json()["code"] == "payment_in_progress", "a paid session cannot be closed"
    await service.deliver_stripe_events(student)
    purchase = await service.purchase(student)
    assert purchase["state"] == "paid"
    assert (await service.buy(student, wanted("dsp", 4325))).json()["code"] == "payment_in_progress"
    await service.publish(enrollment(EnrollmentActivated, student, 1, purchase=purchase["id"]))
    assert (await service.buy(student, wanted("dsp", 4325))).json()["code"] == "already_enrolled"
    await service.publish(enrollment(EnrollmentWithdrawn, student, 2, purchase=purchase["id"]))
    assert (await service.buy(student, wanted("dsp", 4325))).status_code == 200, "may come back"


async def test_a_pending_bank_debit_is_in_progress(service: Service) -> None:
    student = uuid4()
    await service.buy(student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id, method="us_bank_account", account="failing")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "processing"
    assert (await service.buy(student)).json()["code"] == "payment_in_progress"
    paid = await service.sandbox.api.checkout.sessions.retrieve_async(session.id)
    await service.sandbox.operate(f"/payment_intents/{paid.payment_intent}/fail")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "failed"
    assert (await service.buy(student)).status_code == 200


async def test_a_refunded_student_may_buy_again(service: Service) -> None:
    student = uuid4()
    await service.buy(student)
    (session,) = await service.sandbox.sessions_of(student)
    paid = await service.sandbox.pay(session.id)
    intent = await service.sandbox.api.payment_intents.retrieve_async(paid["payment_intent"])
    await service.sandbox.operate(f"/charges/{intent.latest_charge}/refund")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "withdrawn"
    assert (await service.buy(student)).status_code == 200


async def test_new_contacts_are_published(service: Service) -> None:
    student = uuid4()

    async def buy(slug: str, price: int, **claims: Any) -> None:
        headers = bearer("student", student, **claims)
        assert (await service.call("POST", CREATE, json=wanted(slug, price), headers=headers)).status_code == 200

    await buy("dsp", 4325, email="ada@example.org", name="Ada")
    await buy("hvac", 5000, email="ada@example.org", name="Ada")
    await buy("cpr", 575, email="ada@example.org")
    assert await service.published(student, "student.updated.v1") == [
        {"student_id": str(student), "contact": {"email": "ada@example.org", "name": "Ada"}}
    ]
    (session, *_) = await service.sandbox.sessions_of(student)
    customer = await service.sandbox.api.customers.retrieve_async(str(session.customer))
    assert (customer.email, customer.name) == ("ada@example.org", "Ada")
    await buy("barber-apprenticeship", 4890, email="lovelace@example.org", name="Ada")
    assert [s["contact"]["email"] for s in await service.published(student, "student.updated.v1")] == [
        "ada@example.org",
        "lovelace@example.org",
    ]


async def test_an_invalid_email_address_prevents_nothing(service: Service) -> None:
    student = uuid4()
    headers = bearer("student", student, email="not an address")
    assert (await service.call("POST", CREATE, json=wanted(), headers=headers)).status_code == 200
    assert await service.published(student, "student.updated.v1") == []


async def test_nothing_is_lost_while_stripe_is_unavailable(service: Service) -> None:
    student = uuid4()
    app = service.app_with(stripe_api_base=DEAD_STRIPE, stripe_retries=0)
    assert (await service.buy(student, app=app)).json()["code"] == "stripe_unavailable"
    assert await service.purchases(student) == [], "not even a customer yet"
    await service.create_customer(student)
    answer = await service.buy(student, app=app)
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    waiting = await service.purchase(student)
    assert waiting["state"] == "created"
    assert await service.published(student, "purchase.created.v1") == [], "a purchase without a page is not published"
    assert (await service.buy(student)).status_code == 200
    assert (await service.purchase(student))["id"] == waiting["id"]
    assert len(await service.published(student, "purchase.created.v1")) == 1


async def test_a_slow_stripe_times_out(service: Service) -> None:
    student = uuid4()
    await service.sandbox.faults(api_delay_seconds=600)
    async with asyncio.timeout(60):
        answer = await service.buy(student, app=service.app_with(stripe_timeout_seconds=0.2, stripe_retries=0))
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    await service.sandbox.faults()


async def test_a_wrong_api_key_is_temporary(service: Service) -> None:
    student = uuid4()
    app = service.app_with(stripe_api_key="sk_test_wrong", stripe_retries=0)
    assert (await service.buy(student, app=app)).json()["code"] == "stripe_unavailable"
    assert (await service.buy(student)).status_code == 200


async def test_a_price_too_small_for_installments(service: Service) -> None:
    slug = f"small-{uuid4().hex[:6]}"
    assert (await service.admin("POST", "/api/admin/programs", slug=slug, name="X", price=1.99)).status_code == 201
    plan = await service.buy(uuid4(), wanted(slug, "1.99", paymentType="plan"))
    assert (plan.status_code, plan.json()["code"]) == (422, "amount_not_payable")
    assert (await service.buy(uuid4(), wanted(slug, "1.99"))).status_code == 200


async def test_a_rejected_purchase_has_failed(service: Service) -> None:
    """The next attempt is a new purchase. (Here Stripe rejects another body under the same key.)"""
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(lose_answers=1)
    assert (await service.buy(student, app=service.app_with(stripe_retries=0))).status_code == 503
    await service.rows(
        "UPDATE purchases SET session_params = session_params || CAST(:other AS jsonb) "
        "WHERE student_id = :student RETURNING id",
        other='{"locale": "fr"}',
        student=student,
    )
    refused = await service.buy(student)
    assert (refused.status_code, refused.json()["code"]) == (502, "payment_refused")
    assert (await service.purchase(student))["state"] == "failed"
    assert (await service.buy(student)).status_code == 200


async def test_openapi_describes_the_body(service: Service) -> None:
    document = service.app.openapi()
    body = document["paths"][CREATE]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = document["components"]["schemas"][body["$ref"].rsplit("/", 1)[-1]]["properties"]
    assert set(fields) == {"programName", "programSlug", "price", "paymentType", "promotionCode"}
    assert [each["type"] for each in fields["price"]["anyOf"]] == ["number", "string"]
