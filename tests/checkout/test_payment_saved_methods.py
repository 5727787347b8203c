"""Saved payment methods and the billing portal."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
from tests.checkout.payment_steps import read
from tests.checkout.service import FRONTEND, Service, bearer

METHODS = "/api/payments/methods"
PORTAL = "/api/payments/billing-portal"


async def _save(service: Service, student: UUID, method: str = "pm_card_visa") -> str:
    customer = await service.create_customer(student)
    attached = await service.sandbox.api.payment_methods.attach_async(method, {"customer": customer})
    return attached.id


async def _listed(service: Service, student: UUID) -> list[dict[str, Any]]:
    answer = await read(service, f"{METHODS}/", by=student)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def _do(service: Service, student: UUID | None, method: str, path: str, **sent: Any) -> httpx.Response:
    headers = bearer("student", student) if student else {}
    return await service.call(method, path, headers=headers, **sent)


async def test_list_default_and_remove_saved_methods(service: Service) -> None:
    student = uuid4()
    assert await _listed(service, student) == [], "no customer yet"
    visa, mastercard = await _save(service, student), await _save(service, student, "pm_card_mastercard")
    bank = await _save(service, student, "pm_usBankAccount")
    listed = {each["id"]: each for each in await _listed(service, student)}
    assert set(listed) == {visa, mastercard, bank}
    expected = {"type": "card", "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034, "default": False}
    assert listed[visa] == {"id": visa, **expected}
    assert (listed[bank]["type"], listed[bank]["last4"], listed[bank]["brand"]) == ("us_bank_account", "6789", None)

    for chosen in (visa, mastercard, mastercard):
        answer = await _do(service, student, "POST", f"{METHODS}/{chosen}/default")
        assert (answer.status_code, answer.json()["id"], answer.json()["default"]) == (200, chosen, True)
        assert [each["id"] for each in await _listed(service, student) if each["default"]] == [chosen]

    assert (await _do(service, student, "DELETE", f"{METHODS}/{mastercard}")).status_code == 204
    left = await _listed(service, student)
    assert {each["id"] for each in left} == {visa, bank}
    assert not any(each["default"] for each in left)
    assert (await _do(service, student, "DELETE", f"{METHODS}/{mastercard}")).status_code == 404


async def test_another_students_method_is_not_found(service: Service) -> None:
    student, other = uuid4(), uuid4()
    theirs = await _save(service, other)
    for asked in (theirs, "pm_unknown"):
        for who in (student, await _with_customer(service)):
            for method, path in (("POST", f"{METHODS}/{asked}/default"), ("DELETE", f"{METHODS}/{asked}")):
                answer = await _do(service, who, method, path)
                assert (answer.status_code, answer.json()["code"]) == (404, "unknown_payment_method")
    assert [each["id"] for each in await _listed(service, other)] == [theirs]
    assert (await _do(service, student, "DELETE", f"{METHODS}/pm-odd!")).status_code == 422
    assert (await _do(service, None, "GET", METHODS)).status_code == 401


async def _with_customer(service: Service) -> UUID:
    student = uuid4()
    await service.create_customer(student)
    return student


async def test_the_billing_portal(service: Service) -> None:
    student = uuid4()
    answer = await _do(service, student, "POST", f"{PORTAL}/")
    assert answer.status_code == 200, answer.text
    assert answer.json()["url"].startswith(service.sandbox.url)
    (row,) = await service.rows("SELECT * FROM customers WHERE student_id = :id", id=student)
    again = await _do(service, student, "POST", PORTAL, json={"return_url": f"{FRONTEND}/me"})
    assert again.status_code == 200
    assert await service.rows("SELECT * FROM customers WHERE student_id = :id", id=student) == [row]
    refused = await _do(service, student, "POST", PORTAL, json={"return_url": "https://evil.example/"})
    assert (refused.status_code, refused.json()["code"]) == (422, "redirect_not_allowed")
    assert (await _do(service, None, "POST", PORTAL)).status_code == 401


async def test_without_stripe_the_answer_is_503(service: Service) -> None:
    student = await _with_customer(service)
    await service.sandbox.faults(fail_requests=100)
    for method, path in (("GET", METHODS), ("POST", PORTAL), ("DELETE", f"{METHODS}/pm_1")):
        answer = await _do(service, student, method, path)
        assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    await service.sandbox.faults()
    none = service.app_with(stripe_api_key="")
    answer = await _do(service, student, "GET", METHODS, app=none)
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_not_configured")
