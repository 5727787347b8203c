"""A sponsor reads its own invoices by a link, until an admin revokes it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import text
from tests.checkout.service import PUBLIC, Service, bearer
from tests.databases import api_database


async def _sponsor(service: Service) -> str:
    code = f"S{uuid4().hex[:8].upper()}"
    made = await service.admin("POST", "/api/admin/sponsors", code=code, name=f"{code} Works", finance_email="f@x.org")
    assert made.status_code == 201, made.text
    return code


async def _link(service: Service, code: str) -> str:
    """The token."""
    made = await service.admin("POST", f"/api/admin/sponsors/{code.lower()}/link")
    assert made.status_code == 201, made.text
    prefix = f"{PUBLIC}/sponsor/"
    assert made.json()["url"].startswith(prefix)
    return str(made.json()["url"].removeprefix(prefix))


async def _read(service: Service, token: str, **query: Any) -> httpx.Response:
    return await service.call("GET", f"/api/sponsor-statements/{token}", params=query)


async def test_a_sponsor_sees_its_own_invoices_and_nobody_elses(service: Service) -> None:
    mine, other = await _sponsor(service), await _sponsor(service)
    kim, sam = uuid4(), uuid4()
    named = {"studentName": "Kim Known", "studentEmail": "kim@example.org", "authorizationNumber": "A-17"}
    assert (await service.fund(kim, fundingSource=mine, **named)).status_code == 200
    assert (await service.fund(sam, fundingSource=other)).status_code == 200
    answer = await _read(service, await _link(service, mine))
    assert (answer.status_code, answer.json()["sponsor"]) == (200, f"{mine} Works")
    assert (answer.headers["cache-control"], answer.headers["x-robots-tag"]) == ("no-store", "noindex")
    (shown,) = answer.json()["items"]
    assert (shown["student"], shown["authorization_number"], shown["state"]) == (
        "Kim Known",
        "A-17",
        "awaiting_payment",
    )
    assert (shown["amount"], shown["currency"]) == (432_500, "usd")
    assert shown["pay_url"] == (await service.purchase(kim))["checkout_url"]
    assert "kim@example.org" not in answer.text and str(sam) not in answer.text

    await service.sandbox.operate(f"/invoices/{(await service.invoice(kim)).id}/pay")
    await service.deliver_stripe_events(kim)
    (shown,) = (await _read(service, await _link(service, mine))).json()["items"]
    assert shown["state"] == "paid"


async def test_a_link_ends_when_it_is_replaced_or_revoked(service: Service) -> None:
    code = await _sponsor(service)
    first = await _link(service, code)
    second = await _link(service, code)
    assert (await _read(service, first)).json()["code"] == "unknown_link"
    assert (await _read(service, second)).json() == {"items": [], "next": None, "sponsor": code}
    for _ in range(2):
        assert (await service.admin("DELETE", f"/api/admin/sponsors/{code}/link")).status_code == 204
    assert (await _read(service, second)).status_code == 404
    for wrong in ("x", "%00", "é", "a" * 43):
        assert (await _read(service, wrong)).status_code == 404, wrong
    stored = await service.rows("SELECT 1 FROM sponsor_links WHERE code = :code", code=code)
    assert stored == []


async def test_only_admins_make_links(service: Service) -> None:
    path = f"/api/admin/sponsors/{await _sponsor(service)}/link"
    for role in ("case_manager", "specialist", "student"):
        for method in ("POST", "DELETE"):
            assert (await service.call(method, path, headers=bearer(role, uuid4()))).status_code == 403
    unknown = await service.admin("POST", "/api/admin/sponsors/NOBODY/link")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_sponsor")


async def test_the_login_of_students_reads_no_sponsors_rows_without_its_link(service: Service) -> None:
    """Row-level security asks for the hash: a stolen password and the sponsor's code show nothing."""
    code, student = await _sponsor(service), uuid4()
    await service.fund(student, fundingSource=code)
    await _link(service, code)
    database = api_database(service.server)
    async with database.transaction_of(student_id=uuid4(), role="student") as db:
        await db.execute(text("SELECT set_config('app.sponsor_link', :value, true)"), {"value": code})
        seen = await db.execute(text("SELECT 1 FROM purchases WHERE student_id = :s"), {"s": student})
        assert seen.all() == []
        assert (await db.execute(text("SELECT 1 FROM sponsor_links"))).all() == []
    await database.close()


async def test_a_long_statement_has_pages(service: Service) -> None:
    code = await _sponsor(service)
    for _ in range(3):
        assert (await service.fund(uuid4(), fundingSource=code)).status_code == 200
    token = await _link(service, code)
    first = (await _read(service, token, limit=2)).json()
    rest = (await _read(service, token, limit=2, cursor=first["next"])).json()
    assert (len(first["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)


async def test_a_statement_is_filtered_and_sorted(service: Service) -> None:
    code, kim, sam = await _sponsor(service), uuid4(), uuid4()
    assert (await service.fund(kim, fundingSource=code, authorizationNumber="A-17")).status_code == 200
    assert (await service.fund(sam, fundingSource=code, slug="cpr", authorizationNumber="A-18")).status_code == 200
    token = await _link(service, code)
    await service.sandbox.operate(f"/invoices/{(await service.invoice(sam)).id}/pay")
    await service.deliver_stripe_events(sam)

    async def numbers(**query: Any) -> list[str]:
        return [each["authorization_number"] for each in (await _read(service, token, **query)).json()["items"]]

    assert await numbers() == ["A-18", "A-17"] == (await numbers(sort="created_at"))[::-1]
    assert await numbers(sort="amount") == ["A-18", "A-17"] == (await numbers(sort="-amount"))[::-1]
    assert await numbers(open=True) == await numbers(product="dsp") == await numbers(authorization_number="A-17")
    assert await numbers(open=False) == ["A-18"]
    assert await numbers(open=True) == ["A-17"]
    assert (await _read(service, token, sort="student")).status_code == 422
    other = await _link(service, await _sponsor(service))
    assert (await _read(service, other, authorization_number="A-17")).json()["items"] == []
