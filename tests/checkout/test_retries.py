"""Crashes, retries and concurrent requests: one purchase and one session."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.service import CREATE, FUND, Service, bearer, wanted
from tests.waiting import until


async def test_a_lost_answer(service: Service) -> None:
    """Stripe has created the session, and its answer is lost: the retry finds the same session."""
    student = uuid4()
    await service.create_customer(student)
    app = service.app_with(stripe_retries=0)
    await service.sandbox.faults(lose_answers=1)
    lost = await service.buy(student, app=app)
    assert (lost.status_code, lost.json()["code"]) == (503, "stripe_unavailable")
    assert (await service.purchase(student))["state"] == "created"
    (made,) = await service.sandbox.sessions_of(student)
    retried = await service.buy(student, app=app)
    assert retried.json()["url"] == made.url
    assert len(await service.sandbox.sessions_of(student)) == 1
    assert (await service.purchase(student))["stripe_checkout_session_id"] == made.id


async def test_the_sdk_retries_under_the_same_key(service: Service) -> None:
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(lose_answers=1)
    assert (await service.buy(student)).status_code == 200
    assert len(await service.sandbox.sessions_of(student)) == 1


async def test_a_request_that_dies_between_commit_and_answer(service: Service) -> None:
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(api_delay_seconds=600)
    dying = asyncio.create_task(service.buy(student))
    (made,) = await until(lambda: service.sandbox.sessions_of(student))
    dying.cancel()
    await asyncio.wait([dying])
    assert (await service.purchase(student))["state"] == "created"
    await service.sandbox.faults()
    assert (await until(lambda: _url(service, student))) == made.url
    assert len(await service.sandbox.sessions_of(student)) == 1
    assert len(await service.published(student, "purchase.created.v1")) == 1


async def _url(service: Service, student: UUID) -> str | None:
    answer = await service.buy(student)  # 503 while Stripe is still at the first request (409 under the same key)
    return str(answer.json()["url"]) if answer.status_code == 200 else None


async def test_the_same_body_is_sent_again(service: Service) -> None:
    """A changed front end URL must not change the body under the same idempotency key."""
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(lose_answers=1)
    assert (await service.buy(student, app=service.app_with(stripe_retries=0))).status_code == 503
    moved = service.app_with(frontend_url="https://moved.example")
    assert (await service.buy(student, app=moved)).status_code == 200
    (session,) = await service.sandbox.sessions_of(student)
    assert str(session.cancel_url).startswith("https://school.example")


async def test_concurrent_requests_create_one_purchase(service: Service) -> None:
    student = uuid4()
    answers = await asyncio.gather(*(service.buy(student) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["url"] for answer in answers}) == 1
    assert len(await service.purchases(student)) == 1
    assert len(await service.sandbox.sessions_of(student)) == 1
    assert len(await service.published(student, "purchase.created.v1")) == 1


async def test_concurrent_requests_for_different_things(service: Service) -> None:
    """In any order of their successes, one page remains that can be paid."""
    student = uuid4()
    bodies = [wanted(paymentType=kind) for kind in ("full", "plan", "full", "plan")]
    answers = await asyncio.gather(*(service.buy(student, body) for body in bodies))
    assert {answer.status_code for answer in answers} <= {200, 409, 503}, [a.text for a in answers]
    assert 200 in {answer.status_code for answer in answers}
    open_ones = [s for s in await service.sandbox.sessions_of(student) if s.status == "open"]
    assert len(open_ones) == 1
    states = sorted(row["state"] for row in await service.purchases(student))
    assert states.count("session_open") == 1 and set(states) <= {"session_open", "expired"}


async def test_another_payment_type_closes_the_first_page(service: Service) -> None:
    student = uuid4()
    first = (await service.buy(student)).json()["url"]
    second = (await service.buy(student, wanted(paymentType="plan"))).json()["url"]
    assert second != first
    statuses = {s.url or "closed": str(s.status) for s in await service.sandbox.sessions_of(student)}
    assert statuses[second] == "open"
    assert sorted(statuses.values()) == ["expired", "open"]
    assert [row["state"] for row in await service.purchases(student)] == ["expired", "session_open"]


async def test_a_purchase_without_an_answer_is_closed_as_well(service: Service) -> None:
    """Its session may exist: it is found by its key and closed before the other one is opened."""
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(lose_answers=1)
    assert (await service.buy(student, app=service.app_with(stripe_retries=0))).status_code == 503
    assert (await service.buy(student, wanted(paymentType="plan"))).status_code == 200
    assert sorted(str(s.status) for s in await service.sandbox.sessions_of(student)) == ["expired", "open"]


async def test_an_expired_page(service: Service) -> None:
    student = uuid4()
    first = (await service.buy(student)).json()["url"]
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    second = (await service.buy(student)).json()["url"]
    assert second != first
    await service.deliver_stripe_events(student)
    assert [row["state"] for row in await service.purchases(student)] == ["expired", "session_open"]


async def test_an_expired_page_whose_event_has_arrived(service: Service) -> None:
    student = uuid4()
    await service.buy(student)
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.operate(f"/sessions/{session.id}/expire")
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "expired"
    assert (await service.buy(student)).status_code == 200


async def test_a_declined_card_leaves_the_page_open(service: Service) -> None:
    student = uuid4()
    first = (await service.buy(student)).json()["url"]
    (session,) = await service.sandbox.sessions_of(student)
    assert (await service.sandbox.pay(session.id, card="4000000000000002"))["status"] == "declined"
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "session_open"
    assert (await service.buy(student)).json()["url"] == first


async def test_a_purchase_with_a_forgotten_key_is_abandoned(service: Service) -> None:
    student = uuid4()
    await service.create_customer(student)
    assert (await service.buy(student, app=service.app_with(stripe_api_base="http://127.0.0.1:9"))).status_code == 503
    await service.rows(
        "UPDATE purchases SET created_at = now() - interval '1 day' WHERE student_id = :student RETURNING id",
        student=student,
    )
    assert (await service.buy(student)).status_code == 200
    assert [row["state"] for row in await service.purchases(student)] == ["expired", "session_open"]


async def test_a_session_that_stripe_no_longer_has(service: Service) -> None:
    """Another account, or deleted test data."""
    student = uuid4()
    await service.buy(student)
    await service.rows(
        "UPDATE purchases SET stripe_checkout_session_id = :gone WHERE student_id = :student RETURNING id",
        gone=f"cs_gone_{uuid4().hex}",
        student=student,
    )
    assert (await service.buy(student)).status_code == 200
    assert [row["state"] for row in await service.purchases(student)] == ["expired", "session_open"]


async def test_the_webhook_may_be_faster_than_the_answer(service: Service) -> None:
    student = uuid4()
    await service.create_customer(student)
    await service.sandbox.faults(lose_answers=1)
    assert (await service.buy(student, app=service.app_with(stripe_retries=0))).status_code == 503
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"
    assert (await service.buy(student)).json()["code"] == "payment_in_progress"


@pytest.mark.parametrize("path", [CREATE, FUND])
async def test_an_idempotency_key_and_a_lost_answer(service: Service, path: str) -> None:
    """The key is freed by the failure, and the retry under it finds the purchase."""
    student = uuid4()
    headers = {"Idempotency-Key": f"key-{uuid4()}"}
    body: dict[str, Any] = wanted()
    headers |= bearer("student", student)
    if path == FUND:
        body = {"studentId": str(student), "programId": "p", "programSlug": "dsp", "fundingSource": "WRG"}
        headers |= bearer("case_manager", uuid4())
    await service.sandbox.faults(lose_answers=1)
    app = service.app_with(stripe_retries=0)
    assert (await service.call("POST", path, app=app, json=body, headers=headers)).status_code == 503
    answer = await service.call("POST", path, app=app, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    if path == FUND:
        assert answer.json()["sessionId"] == (await service.invoice(student)).id
    else:
        assert len(await service.sandbox.sessions_of(student)) == 1
    assert len(await service.purchases(student)) == 1


async def test_a_guests_idempotency_key_and_a_lost_answer(service: Service) -> None:
    headers = {"Idempotency-Key": f"guest-{uuid4()}"}
    await service.sandbox.faults(lose_answers=1)
    app = service.app_with(stripe_retries=0)
    assert (await service.buy(None, app=app, headers=headers)).status_code == 503
    url = (await service.buy(None, app=app, headers=headers)).json()["url"]
    (purchase,) = await service.rows("SELECT student_id FROM purchases WHERE checkout_url = :url", url=url)
    assert len(await service.sandbox.sessions_of(purchase["student_id"])) == 1
    assert len(await service.purchases(purchase["student_id"])) == 1
