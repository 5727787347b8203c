"""Buying courses, bundles, and with promotion codes; what a bundle has in common with its parts."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import FRONTEND, Service, bearer

from contracts.enrollment import EnrollmentActivated
from contracts.people import Program, enrollment_uuid

COURSE = "barbering-safety"
BUNDLE = "dp-and-fsd"


async def buy(service: Service, student: UUID, course: str, **more: Any) -> httpx.Response:
    return await service.call(
        "POST", "/api/checkout", json={"courseId": course, **more}, headers=bearer("student", student)
    )


async def session_of(service: Service, student: UUID) -> Any:
    return (await service.sandbox.sessions_of(student))[0]


async def promotion(service: Service, **body: Any) -> str:
    code = f"C{uuid4().hex[:12].upper()}"
    answer = await service.admin("POST", "/api/admin/promotions", code=code, **body)
    assert answer.status_code == 201, answer.text
    return code


async def enroll(service: Service, student: UUID, slug: str) -> None:
    await service.publish(
        EnrollmentActivated(
            enrollment_id=enrollment_uuid(student, slug),
            student_id=student,
            program=Program(slug=slug, id="p"),
            revision=1,
        )
    )


async def test_a_course(service: Service) -> None:
    student = uuid4()
    answer = await buy(service, student, COURSE)
    assert answer.status_code == 200 and set(answer.json()) == {"url"}
    session = await session_of(service, student)
    assert session.url == answer.json()["url"]
    assert session.success_url == f"{FRONTEND}/courses/{COURSE}?success=1"
    assert session.cancel_url == f"{FRONTEND}/courses/{COURSE}?canceled=1"
    purchase = await service.purchase(student)
    assert purchase["terms_version"] == "1"
    assert purchase["terms_accepted_at"] is not None


async def test_the_terms_that_were_accepted(service: Service) -> None:
    student = uuid4()
    assert (await buy(service, student, COURSE, termsVersion="2026-03")).status_code == 200
    assert (await service.purchase(student))["terms_version"] == "2026-03"


async def test_refusals(service: Service) -> None:
    student = uuid4()
    assert (await service.call("POST", "/api/checkout", json={"courseId": COURSE})).status_code == 401
    unknown = await buy(service, student, "nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_course")
    await enroll(service, student, COURSE)
    enrolled = await buy(service, student, COURSE)
    assert (enrolled.status_code, enrolled.json()["code"]) == (400, "already_enrolled")
    assert await service.purchases(student) == []


async def test_the_metadata_of_a_bundle_names_its_parts(service: Service) -> None:
    student = uuid4()
    assert (await buy(service, student, BUNDLE)).status_code == 200
    session = await session_of(service, student)
    assert session.amount_total == 89_900
    assert {name for name in metadata_of(session) if name.startswith("includes_")} == {"includes_1", "includes_2"}
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    purchase = await service.purchase(student)
    assert (purchase["state"], sorted(purchase["covers"])) == ("paid", ["dp", "fsd"])


async def test_a_bundle_that_contains_an_enrollment(service: Service) -> None:
    student = uuid4()
    await enroll(service, student, "dp")
    answer = await buy(service, student, BUNDLE)
    assert (answer.status_code, answer.json()["code"]) == (400, "already_enrolled")


async def test_a_part_instead_of_the_bundle_closes_the_bundle(service: Service) -> None:
    """They give the same enrollment: only one of them can be paid."""
    student = uuid4()
    await buy(service, student, BUNDLE)
    await buy(service, student, "fsd")
    assert [(row["program_slug"], row["state"]) for row in await service.purchases(student)] == [
        (BUNDLE, "expired"),
        ("fsd", "session_open"),
    ]


async def test_a_bundle_and_its_parts_at_once(service: Service) -> None:
    student = uuid4()
    answers = await asyncio.gather(*(buy(service, student, course) for course in (BUNDLE, "dp", "fsd") * 2))
    assert {answer.status_code for answer in answers} <= {200, 409, 503}, [a.text for a in answers]
    open_ones = [row for row in await service.purchases(student) if row["state"] in ("created", "session_open")]
    covered = [slug for row in open_ones for slug in row["covers"]]
    assert len(covered) == len(set(covered)), "no enrollment can be paid twice"


async def test_a_code_takes_its_discount_off_the_page(service: Service) -> None:
    student, code = uuid4(), await promotion(service, percent_off=25)
    assert (await buy(service, student, COURSE, promotionCode=code.lower())).status_code == 200
    session = await session_of(service, student)
    assert (session.amount_subtotal, session.total_details.amount_discount, session.amount_total) == (7900, 1975, 5925)
    purchase = await service.purchase(student)
    assert (purchase["list_price"], purchase["amount"], purchase["promotion_code"]) == (7900, 5925, code)
    (created,) = await service.published(student, "purchase.created.v1")
    assert (created["discount"], created["promotion_code"]) == ({"amount": 1975, "currency": "usd"}, code)
    (used,) = await service.rows("SELECT status FROM redemptions WHERE student_id = :student", student=student)
    assert used["status"] == "reserved"
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    (used,) = await service.rows("SELECT status FROM redemptions WHERE student_id = :student", student=student)
    assert used["status"] == "redeemed"


async def test_an_expired_page_releases_the_use(service: Service) -> None:
    first, second, code = uuid4(), uuid4(), await promotion(service, percent_off=25, most_uses=1)
    await buy(service, first, COURSE, promotionCode=code)
    refused = await buy(service, second, COURSE, promotionCode=code)
    assert (refused.status_code, refused.json()["code"]) == (409, "promotion_used_up")
    session = await session_of(service, first)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    await service.deliver_stripe_events(first)
    assert (await buy(service, second, COURSE, promotionCode=code)).status_code == 200


async def test_a_full_discount_is_a_page_without_a_payment(service: Service) -> None:
    student, code = uuid4(), await promotion(service, percent_off=100)
    assert (await buy(service, student, COURSE, promotionCode=code)).status_code == 200
    session = await session_of(service, student)
    assert session.amount_total == 0
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"


async def test_a_full_discount_needs_no_intent(service: Service) -> None:
    student, code = uuid4(), await promotion(service, percent_off=100)
    answer = await service.call(
        "POST",
        "/api/payments/create-intent",
        json={"itemId": COURSE, "promotionCode": code},
        headers=bearer("student", student),
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["clientSecret"], body["paymentIntentId"], body["amount"]) == (None, None, 0)
    assert body["breakdown"] == {
        "subtotal": 7900,
        "discount": 7900,
        "total": 0,
        "currency": "usd",
        "promotion_code": code,
    }
    assert await service.published(student, "payment.succeeded.v1") == [], "a request does not say that it is paid"
    await service.perform(student, "free_payment")
    (paid,) = await service.published(student, "payment.succeeded.v1")
    assert (paid["amount"]["amount"], paid["method"], paid["refs"]) == (0, "promotion", {"manual": body["purchaseId"]})


async def test_a_code_that_expires_before_the_job_is_performed_was_valid(service: Service) -> None:
    student, code = uuid4(), await promotion(service, percent_off=100)
    wanted = {"itemId": COURSE, "promotionCode": code}
    answer = await service.call("POST", "/api/payments/create-intent", json=wanted, headers=bearer("student", student))
    assert answer.status_code == 200, answer.text
    expired = "UPDATE promotion_codes SET valid_until = now() WHERE code = :code RETURNING code"
    assert await service.rows(expired, code=code) == [{"code": code}]
    await service.perform(student, "free_payment")
    assert len(await service.published(student, "payment.succeeded.v1")) == 1


async def test_one_use_left_and_fifty_buyers(service: Service) -> None:
    code = await promotion(service, amount_off=1000, currency="usd", most_uses=1)
    students = [uuid4() for _ in range(50)]

    async def create(student: UUID) -> httpx.Response:
        return await service.call(
            "POST",
            "/api/payments/create-intent",
            json={"itemId": COURSE, "promotionCode": code},
            headers=bearer("student", student),
        )

    answers = await asyncio.gather(*(create(student) for student in students))
    won = [answer.json() for answer in answers if answer.status_code == 200]
    assert [body["amount"] for body in won] == [6900]
    assert {answer.json()["code"] for answer in answers if answer.status_code != 200} == {"promotion_used_up"}
    (row,) = await service.rows("SELECT uses FROM promotion_codes WHERE code = :code", code=code)
    assert row["uses"] == 1


async def test_a_membership_cannot_be_paid_by_intent(service: Service) -> None:
    answer = await service.call(
        "POST",
        "/api/payments/create-intent",
        json={"itemId": "student-membership"},
        headers=bearer("student", uuid4()),
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "use_memberships")
