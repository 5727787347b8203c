"""Figures, statements, receipts and verification of a purchase with a co-pay."""

from __future__ import annotations

from typing import Any

import pytest
from tests.checkout.co_pay_steps import (
    CO_PAY,
    SHARE,
    by_hand,
    funded,
    sponsor_pays,
    sponsors,
    student_pays,
    students,
)
from tests.checkout.installment_steps import School
from tests.checkout.verification_steps import verify_rows


async def test_figures_of_sponsors_have_no_co_pays(school: School) -> None:
    code = f"S{school.student.hex[:8].upper()}"
    made = await school.admin(
        "POST", "/api/admin/sponsors", json={"code": code, "name": "Works", "finance_email": "f@x.org"}
    )
    assert made.status_code == 201, made.text
    await funded(school, fundingSource=code)
    token = (await school.admin("POST", f"/api/admin/sponsors/{code}/link")).json()["url"].rsplit("/", 1)[1]

    async def statement(**query: Any) -> list[tuple[str, int]]:
        answer = await school.service.call("GET", f"/api/sponsor-statements/{token}", params=query, app=school.app)
        assert answer.status_code == 200, answer.text
        return [(each["state"], each["amount"]) for each in answer.json()["items"]]

    async def funding() -> tuple[int, int, int]:
        return await funding_by(school, code)

    async def receivable() -> list[int]:
        listed = (await school.admin("GET", "/api/admin/receivables")).json()["items"]
        return [each["amount"] for each in listed if each["funding_source"] == code]

    assert (await statement(), await receivable()) == ([("awaiting_payment", SHARE)], [SHARE])
    assert await statement(open=True, sort="-amount") == [("awaiting_payment", SHARE)]
    assert await funding() == (SHARE, 0, SHARE)
    await sponsor_pays(school)
    assert (await statement(), await receivable()) == ([("paid", SHARE)], [])
    assert await statement(open=True) == []
    assert await funding() == (SHARE, SHARE, 0)
    await student_pays(school)
    assert (await statement(), await funding()) == ([("paid", SHARE)], (SHARE, SHARE, 0))


async def test_nothing_of_a_co_pay_that_is_being_processed_is_the_sponsors(school: School) -> None:
    await funded(school, fundingSource="OJT")
    await sponsor_pays(school)
    before = await funding_by(school, "OJT")
    answer = await school.call("POST", f"/api/payments/schedules/{(await students(school))['id']}/intent")
    await school.pay(answer.json()["stripe_client_secret"], method="us_bank_account")
    await school.deliver()
    assert await school.statuses() == ["paid", "processing"]
    assert await funding_by(school, "OJT") == before


async def funding_by(school: School, code: str) -> tuple[int, int, int]:
    """Funded, paid and due."""
    listed = await school.admin("GET", "/api/admin/caseload/funding")
    (own,) = [each for each in listed.json()["items"] if each["funding_source"] == code]
    return own["amount"], own["paid"], own["due"]


@pytest.mark.parametrize("by_check", [True, False])
async def test_receipts_are_about_the_share_of_who_has_paid(school: School, by_check: bool) -> None:
    await funded(school, studentName="Ada Lovelace", studentEmail="ada@example.org")
    if by_check:
        body = {"payment_method": "check", "transaction_reference": f"k-{school.student}"}
        assert (await school.admin("POST", by_hand(await sponsors(school)), json=body)).status_code == 200
        await school.deliver()
    else:
        await sponsor_pays(school)
    await student_pays(school)
    rows = await school.service.rows(
        "SELECT d.kind, d.content FROM documents d JOIN purchases p ON p.id = d.purchase_id WHERE p.student_id = :s"
        " ORDER BY d.created_at, d.serial",
        s=school.student,
    )
    sums = [(row["kind"], row["content"]["paid"]["amount"], row["content"]["total"]["amount"]) for row in rows]
    assert sums == [("invoice" if by_check else "receipt", SHARE, SHARE), ("receipt", CO_PAY, CO_PAY)]
    assert "ada@example.org" not in str(rows[0]["content"]["buyer"])
    assert rows[1]["content"]["buyer"] == {"name": "Ada Lovelace", "email": "ada@example.org"}
    assert [row["content"]["funding_source"] for row in rows] == ["WIOA", None]


async def test_verification_finds_a_co_pay_that_was_changed(school: School) -> None:
    await funded(school)
    await sponsor_pays(school)
    id = str((await students(school))["id"])

    async def differences(*, repair: bool = False) -> set[str | None]:
        report = await verify_rows(school.service, repair=repair)
        return {each.column for each in report.differences if each.row == id}

    assert await differences() == set()
    await school.service.rows("UPDATE installments SET amount = 1 WHERE id = :id RETURNING 1", id=id)
    assert await differences(repair=True) == {"amount"}
    assert (await students(school))["amount"] == CO_PAY


async def test_verification_raises_no_share_of_a_purchase_whose_co_pay_is_gone(school: School) -> None:
    await funded(school)
    id = (await school.service.purchase(school.student))["id"]
    await school.service.rows("UPDATE purchases SET co_pay = NULL WHERE id = :id RETURNING 1", id=id)
    await verify_rows(school.service, repair=True)
    assert [row["amount"] for row in await school.installments()] == [SHARE, CO_PAY]
