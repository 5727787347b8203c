"""Who can see which receipt, and what a later download includes."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert
from tests.checkout.pdf_text import text_of
from tests.checkout.service import CASE_MANAGER, Service, bearer, wanted
from tests.checkout.test_receipts import bought, only, paid
from tests.databases import api_database

from checkout.payments.tables import payments, refunds
from checkout.receipts.settings import IssuerSettings
from contracts.money import usd


async def _receipt(service: Service, **other: Any) -> tuple[UUID, dict[str, Any]]:
    """A student, and the document of their payment."""
    student, purchase = await bought(service, **other)
    await service.deliver(paid(student, purchase))
    return student, await only(service, purchase)


async def _payment(service: Service, document: dict[str, Any], **other: Any) -> UUID:
    """Adds the payment's row."""
    id = uuid4()
    row = {
        "id": id,
        "purchase_id": document["purchase_id"],
        "student_id": document["student_id"],
        "item_slug": "dsp",
        "item_name": "DSP",
        "item_kind": "program",
        "payer": "student",
        "amount": 432_500,
        "currency": "usd",
        "status": "succeeded",
        "refs": document["refs"],
        **other,
    }
    async with service.database.transaction() as db:
        await db.execute(insert(payments).values(**row))
    return id


async def _refund(service: Service, payment: UUID, document: dict[str, Any], amount: int, status: str) -> None:
    async with service.database.transaction() as db:
        await db.execute(
            insert(refunds).values(
                payment_id=payment, purchase_id=document["purchase_id"], student_id=document["student_id"],
                amount=amount, currency="usd", reason="asked", origin="admin", requested_by="x", status=status,
            )
        )  # fmt: skip


async def _get(service: Service, path: str, role: str, caller: UUID) -> Any:
    return await service.call("GET", path, headers=bearer(role, caller))


async def test_the_owner_downloads_it(service: Service) -> None:
    student, document = await _receipt(service)
    answer = await _get(service, f"/api/receipts/{document['id']}/pdf", "student", student)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.headers["content-disposition"] == f'attachment; filename="receipt-{document["number"]}.pdf"'
    assert "private" in answer.headers["cache-control"]
    assert document["number"] in text_of(answer.content)
    again = await _get(service, f"/api/receipts/{document['id']}/pdf/", "student", student)
    assert again.content == answer.content


async def test_the_method_and_the_balance(service: Service) -> None:
    student = uuid4()
    assert (await service.buy(student, wanted("cpr", 575))).status_code == 200
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    (receipt,) = (await _get(service, "/api/receipts", "student", student)).json()["items"]
    assert receipt["method"] == "Visa ending in 4242"
    assert receipt["balance"] == {"paid": 57_500, "total": 57_500, "due": 0, "currency": "usd"}
    text = text_of((await _get(service, receipt["pdf"], "student", student)).content)
    assert "by Visa ending in 4242" in text
    assert "Paid so far, of 575.00 USD 575.00 USD Balance 0.00 USD" in text


async def test_what_is_left_of_several_payments(service: Service) -> None:
    student, purchase = await bought(service, installments=3)
    for amount in (300_000, 100_000):
        await service.deliver(paid(student, purchase, amount=usd(amount)))
    receipts = (await _get(service, "/api/receipts", "student", student)).json()["items"]
    assert [each["balance"]["due"] for each in receipts] == [32_500, 32_500], "to date"
    text = text_of((await _get(service, receipts[0]["pdf"], "student", student)).content)
    assert "Paid so far, of 4,325.00 USD 4,000.00 USD Balance 325.00 USD" in text


async def test_the_receipt_of_a_payment(service: Service) -> None:
    student, document = await _receipt(service)
    payment = document["payment_id"]
    for role, caller in (("student", student), ("admin", uuid4())):
        answer = await _get(service, f"/api/payments/{payment}/receipt", role, caller)
        assert document["number"] in text_of(answer.content)
    unpaid = await _payment(service, document, refs=["pi_of_nothing"], status="failed")
    answer = await _get(service, f"/api/payments/{unpaid}/receipt", "student", student)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_receipt")


async def test_a_later_download_includes_refunds(service: Service) -> None:
    student, document = await _receipt(service)
    payment = await _payment(service, document)
    await _refund(service, payment, document, 10_000, "succeeded")
    await _refund(service, payment, document, 77_700, "pending")
    await _refund(service, payment, document, 88_800, "failed")
    answer = await _get(service, f"/api/receipts/{document['id']}/pdf", "student", student)
    text = text_of(answer.content)
    assert "-100.00 USD Net paid after refunds 4,225.00 USD" in text
    assert "777.00" not in text and "888.00" not in text
    (event,) = await service.published(student, "receipt.issued.v1")
    assert event["number"] == document["number"], "the number stays, and nothing is published again"


@pytest.mark.parametrize("role", ["student", "specialist"])
async def test_another_students_receipt_is_not_found(service: Service, role: str) -> None:
    _, document = await _receipt(service)
    payment = await _payment(service, document)
    for path in (f"/api/receipts/{document['id']}/pdf", f"/api/payments/{payment}/receipt"):
        answer = await _get(service, path, role, uuid4())
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_receipt")
        assert (await service.call("GET", path)).status_code == 401
    assert (await _get(service, "/api/receipts", role, uuid4())).json() == {"items": [], "next": None}
    assert (await service.call("GET", "/api/receipts")).status_code == 401


@pytest.mark.parametrize("role", ["case_manager", "admin"])
async def test_staff_see_all(service: Service, role: str) -> None:
    student, document = await _receipt(service)
    await service.assign(student)
    assert (await _get(service, f"/api/receipts/{document['id']}/pdf", role, CASE_MANAGER)).status_code == 200
    found = (await _get(service, f"/api/receipts?student_id={student}", role, CASE_MANAGER)).json()["items"]
    assert [each["id"] for each in found] == [str(document["id"])]


async def test_unknown_receipts(service: Service) -> None:
    for path in (f"/api/receipts/{uuid4()}/pdf", f"/api/payments/{uuid4()}/receipt"):
        assert (await _get(service, path, "admin", uuid4())).status_code == 404
    assert (await _get(service, "/api/receipts/R-2026-000001/pdf", "admin", uuid4())).status_code == 422


async def test_the_list_is_paged_and_filtered(service: Service) -> None:
    student, purchase = await bought(service, installments=3)
    for amount in (300, 200, 100):
        await service.deliver(paid(student, purchase, amount=usd(amount)))
    _, other = await bought(service, student_id=student, program_slug="hvac")
    await service.deliver(paid(student, other))
    first = (await _get(service, "/api/receipts?limit=3", "student", student)).json()
    rest = (await _get(service, f"/api/receipts?limit=3&cursor={first['next']}", "student", student)).json()
    items = [*first["items"], *rest["items"]]
    assert (len(first["items"]), len(items), rest["next"]) == (3, 4, None)
    newest = items[0]
    assert set(newest) == {
        "id", "kind", "number", "purchase_id", "payment_id", "student_id", "program", "amount", "issued_at",
        "created_at", "pdf", "method", "balance",
    }  # fmt: skip
    assert newest["amount"] == {"amount": 432_500, "currency": "usd"}
    assert newest["pdf"] == f"/api/receipts/{newest['id']}/pdf"
    of_one = (await _get(service, f"/api/receipts?purchase_id={purchase}", "student", student)).json()["items"]
    assert [each["amount"]["amount"] for each in of_one] == [100, 200, 300]
    assert (await _get(service, "/api/receipts?kind=invoice", "student", student)).json()["items"] == []
    of_number = (await _get(service, f"/api/receipts?number={newest['number']}", "admin", uuid4())).json()["items"]
    assert [each["id"] for each in of_number] == [newest["id"]]
    other_student = await _get(service, f"/api/receipts?number={newest['number']}", "student", uuid4())
    assert other_student.json()["items"] == []
    assert (await _get(service, "/api/receipts?kind=poem", "student", student)).status_code == 422


async def test_the_api_cannot_write_documents(service: Service) -> None:
    api = api_database(service.server)
    try:
        with pytest.raises(Exception, match="permission denied"):
            async with api.transaction() as db:
                await db.exec_driver_sql("UPDATE documents SET number = 'mine'")
    finally:
        await api.close()


def test_the_issuer_comes_from_the_settings() -> None:
    issuer = IssuerSettings(
        seller_name="Elevate", seller_address="12 Main Street | Springfield, IL\nUSA", seller_tax_id="",
        invoice_terms="Net 30", receipt_prefix="RC",
    ).issuer  # fmt: skip
    assert issuer.seller.address == ("12 Main Street", "Springfield, IL", "USA")
    assert (issuer.seller.tax_id, issuer.invoice_terms, issuer.receipt_prefix) == (None, "Net 30", "RC")
    assert IssuerSettings(seller_name="").issuer.seller.name == "The school"
    with pytest.raises(ValueError):
        IssuerSettings(invoice_prefix="no lower case")
