"""Payments of other systems whose metadata is cheaper than the catalog: they open nothing."""

from __future__ import annotations

from uuid import uuid4

import pytest
from tests.checkout.external_steps import events_about, external_intent, external_page
from tests.checkout.payment_steps import standing
from tests.checkout.service import Service, bearer, wanted

UNDERPAID = ("pending", "underpaid")


@pytest.mark.parametrize("stated", [{"price": "50"}, {"price": "0"}, {}, {"price": "489000", "price_currency": "jpy"}])
async def test_the_price_of_our_purchase_is_that_of_its_row(service: Service, stated: dict[str, str]) -> None:
    student = uuid4()
    assert (await service.buy(student, wanted())).status_code == 200
    purchase = await service.purchase(student)
    named = {"student_id": str(student), "purchase_id": str(purchase["id"]), "program_slug": purchase["program_slug"]}
    intent = await external_intent(service, named | stated, amount=50)
    await service.deliver(*await events_about(service, intent))
    assert await standing(service, student) == UNDERPAID
    row = await service.purchase(student)
    assert (row["state"], row["amount"], row["shortfall"]) == ("processing", 489_000, 488_950)
    assert len(await service.published(student, "purchase.recorded.v1")) == 1


@pytest.mark.parametrize("price", ["50", "0"])
async def test_the_price_of_an_unknown_purchase_id_is_the_catalogs(service: Service, price: str) -> None:
    student = uuid4()
    named = {"student_id": str(student), "program_slug": "barber-apprenticeship", "purchase_id": str(uuid4())}
    named["price"] = price
    intent = await external_intent(service, named, amount=50)
    await service.deliver(*await events_about(service, intent))
    assert await standing(service, student) == UNDERPAID


@pytest.mark.parametrize("own_id", [False, True])
async def test_a_membership_for_fifty_cents(service: Service, own_id: bool) -> None:
    student = uuid4()
    named = {"student_id": str(student), "program_slug": "student-membership", "program_kind": "membership"}
    if own_id:
        named["purchase_id"] = str(uuid4())
    intent = await external_intent(service, named, amount=50)
    await service.deliver(*await events_about(service, intent))
    assert await standing(service, student) == UNDERPAID


async def test_a_monthly_membership_for_fifty_cents(service: Service) -> None:
    student = uuid4()
    named = {"student_id": str(student), "program_slug": "student-membership", "program_kind": "membership"}
    session = await external_page(service, named, amount=50, mode="subscription")
    await service.deliver(*await events_about(service, session))
    assert await standing(service, student) == UNDERPAID
    assert (await service.purchase(student))["shortfall"] == 1_850


async def test_our_membership_costs_the_price_of_its_row(service: Service) -> None:
    student = uuid4()
    body = {"membership": "student"}
    answer = await service.call("POST", "/api/memberships", json=body, headers=bearer("student", student))
    assert answer.status_code == 200, answer.text
    purchase = await service.purchase(student)
    named = {
        "student_id": str(student),
        "purchase_id": str(purchase["id"]),
        "program_slug": purchase["program_slug"],
        "program_kind": "membership",
    }
    intent = await external_intent(service, named, amount=50)
    await service.deliver(*await events_about(service, intent))
    assert await standing(service, student) == UNDERPAID
    assert (await service.purchase(student))["shortfall"] == 1_850
