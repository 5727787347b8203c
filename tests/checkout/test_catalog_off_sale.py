"""What was taken off sale cannot be bought, resumed or paid any more, and neither can a bundle that contains it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.installment_steps import School
from tests.checkout.service import Service, bearer, wanted
from tests.checkout.test_courses import buy, session_of

from kit.jobs import jobs
from kit.jobs.jobs import Job
from kit.jobs.worker import JobWorker

ITEMS = "/api/admin/items"


async def made(service: Service, kind: str = "course", **fields: Any) -> str:
    slug = f"{kind}-{uuid4().hex[:10]}"
    answer = await service.admin("POST", ITEMS, **{"kind": kind, "slug": slug, "name": "X", "price": 50, **fields})
    assert answer.status_code == 201, answer.text
    return slug


async def withdraw(service: Service, slug: str) -> None:
    """Takes it off sale, and performs what follows from that."""
    assert (await service.admin("DELETE", f"{ITEMS}/{slug}")).status_code == 200
    worker = JobWorker(service.database, "checkout", service.handlers)
    for _ in range(2):  # the second performs what the first has enqueued
        async with service.database.transaction() as db:
            due = (await db.execute(jobs.jobs.select().where(jobs.jobs.c.done_at.is_(None)))).all()
        for row in due:
            if row.kind in ("off_sale", "purchase_close"):
                await worker.attempt(
                    Job(id=row.id, kind=row.kind, key=row.key, payload=row.payload, cause=None, attempt=1)
                )


async def create_intent(service: Service, student: UUID, slug: str) -> Any:
    headers = bearer("student", student)
    return await service.call("POST", "/api/payments/create-intent", json={"itemId": slug}, headers=headers)


async def test_the_open_page_of_an_item_is_closed(service: Service) -> None:
    slug, student = await made(service), uuid4()
    assert (await buy(service, student, slug)).status_code == 200
    await withdraw(service, slug)
    assert (await session_of(service, student)).status == "expired"
    assert (await service.purchase(student))["state"] == "expired"
    assert (await buy(service, student, slug)).json()["code"] == "unknown_course"


async def test_the_open_intent_of_an_item_is_canceled(service: Service) -> None:
    slug, student = await made(service, "product"), uuid4()
    intent = (await create_intent(service, student, slug)).json()["paymentIntentId"]
    await withdraw(service, slug)
    assert (await service.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"
    assert (await service.purchase(student))["state"] == "expired"
    assert (await create_intent(service, student, slug)).json()["code"] == "unknown_item"


async def test_what_was_paid_is_kept(service: Service) -> None:
    slug, student = await made(service), uuid4()
    await buy(service, student, slug)
    await service.sandbox.pay((await session_of(service, student)).id)
    await withdraw(service, slug)
    assert (await service.purchase(student))["state"] == "session_open", "its event has not arrived yet"
    await service.deliver_stripe_events(student)
    assert (await service.purchase(student))["state"] == "paid"


async def test_a_sponsors_page_stays_open(service: Service) -> None:
    slug, student = await made(service, "program"), uuid4()
    assert (await service.fund(student, slug=slug)).status_code == 200
    before = (await service.purchase(student))["state"]
    await withdraw(service, slug)
    assert (await service.purchase(student))["state"] == before


async def test_a_first_installment_that_was_never_paid(school: School) -> None:
    service = school.service
    plan = {"type": "installments", "installments": 3}
    slug = await made(service, payment_plan=plan)
    enrolled = await school.enrolled(slug)
    intent = enrolled["stripe_client_secret"].split("_secret_")[0]
    await withdraw(service, slug)
    await school.run_due()
    assert (await school.sandbox.api.payment_intents.retrieve_async(intent)).status == "canceled"
    assert (await service.purchase(school.student))["state"] == "expired"
    refused = await school.enroll(slug)
    assert (refused.status_code, refused.json()["code"]) == (409, "product_inactive")


async def test_a_bundle_with_a_deactivated_part(service: Service) -> None:
    parts = [await made(service, "track"), await made(service)]
    bundle = await made(service, "bundle", includes=parts)
    page, form = uuid4(), uuid4()
    assert (await buy(service, page, bundle)).status_code == 200
    assert (await create_intent(service, form, bundle)).status_code == 200
    await withdraw(service, parts[1])
    assert (await session_of(service, page)).status == "expired"
    assert [(await service.purchase(student))["state"] for student in (page, form)] == ["expired", "expired"]
    assert (await buy(service, page, bundle)).json()["code"] == "unknown_course"
    assert (await create_intent(service, form, bundle)).json()["code"] == "unknown_item"
    listed = (await service.call("GET", "/api/catalog?kind=bundle&limit=200")).json()["items"]
    assert bundle not in {each["slug"] for each in listed}
    await service.admin("PATCH", f"{ITEMS}/{parts[1]}", active=True)
    assert (await buy(service, page, bundle)).status_code == 200


async def test_a_bundle_with_a_deactivated_part_gives_no_enrollment(school: School) -> None:
    service = school.service
    parts = [await made(service, "track"), await made(service)]
    bundle = await made(service, "bundle", includes=parts)
    await withdraw(service, parts[0])
    refused = await school.enroll(bundle)
    assert (refused.status_code, refused.json()["code"]) == (409, "product_inactive")


async def test_a_part_that_is_deactivated_while_a_page_is_created(service: Service) -> None:
    """The purchase is inserted before or after the part is deactivated: either it is refused or it is closed."""
    parts = [await made(service, "track"), await made(service)]
    bundle = await made(service, "bundle", includes=parts)
    flow = service.app.state.session_flow
    params = flow.params

    async def deactivated_meanwhile(*args: Any) -> Any:
        answer = await params(*args)
        await withdraw(service, parts[0])
        return answer

    flow.params = deactivated_meanwhile
    try:
        answer = await buy(service, uuid4(), bundle)
    finally:
        flow.params = params
    assert (answer.status_code, answer.json()["code"]) == (409, "price_changed")


@pytest.mark.parametrize("kind", ["course", "service", "product", "track", "program"])
async def test_a_subscription_is_a_memberships_plan(service: Service, kind: str) -> None:
    plan = {"type": "subscription", "interval_days": 30}
    body = {"kind": kind, "slug": f"s-{uuid4().hex[:8]}", "name": "S", "price": 50, "payment_plan": plan}
    answer = await service.admin("POST", ITEMS, **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    slug = await made(service, kind)
    answer = await service.admin("PATCH", f"{ITEMS}/{slug}", payment_plan=plan)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    await made(service, "membership", tier=uuid4().hex[:8], payment_plan={"type": "subscription"})


async def test_with_tax_a_payment_intent_is_refused(service: Service) -> None:
    """Stripe adds no tax to an intent; a page, an invoice and a subscription have automatic tax."""
    app = service.app_with(stripe_tax=True)
    slug, student = await made(service), uuid4()
    headers = bearer("student", student)
    for path, body in (
        ("/api/payments/create-intent", {"itemId": slug}),
        ("/api/payments/create-payment", {"track": "fsd"}),
        ("/api/enrollments", {"product_id": slug, "user_id": str(student)}),
    ):
        answer = await service.call("POST", path, json=body, headers=headers, app=app)
        assert (answer.status_code, answer.json()["code"]) == (409, "tax_needs_page"), path
    assert await service.purchases(student) == []
    assert (await service.buy(student, wanted("cpr", 575), app=app)).status_code == 200
    (session,) = await service.sandbox.sessions_of(student)
    assert session.automatic_tax.enabled
