"""Whose rows a case manager sees, and what a stolen case manager's token reads, changes and gains."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.checkout.payment_steps import ask, paid, refused
from tests.checkout.service import CASE_MANAGER, FUND, Service, bearer
from tests.databases import api_database

from checkout.purchases import customers
from checkout.purchases.context import Buyer
from checkout.purchases.customers import create
from kit.http.problems import Problem

LISTS = ("/api/purchases", "/api/receipts", "/api/memberships", "/api/admin/caseload")
CASELOAD = "/api/admin/caseload"


async def by(service: Service, who: UUID, method: str, path: str, **sent: Any) -> httpx.Response:
    return await service.call(method, path, headers=bearer("case_manager", who), **sent)


async def fund(service: Service, who: UUID, student: UUID, slug: str = "dsp", **body: Any) -> httpx.Response:
    body = {"studentId": str(student), "programId": "p-1", "programSlug": slug, "fundingSource": "WIOA", **body}
    return await by(service, who, "POST", FUND, json=body)


async def audited(service: Service, student: UUID) -> list[dict[str, Any]]:
    """Who was given the student, by whom."""
    rows = await service.rows(
        "SELECT convert_from(body, 'UTF8') AS body FROM outbox_messages WHERE routing_key = 'audit.recorded.v1' "
        "ORDER BY id"
    )
    found = [json.loads(row["body"]) for row in rows]
    acts = (each for each in found if each["act"].get("student_id") == str(student))
    return [each for each in acts if each["act"]["action"].startswith("case_manager.")]


async def case_manager_of(service: Service, student: UUID) -> UUID | None:
    rows = await service.rows("SELECT case_manager_id FROM caseload WHERE student_id = :s", s=student)
    return rows[0]["case_manager_id"] if rows else None


async def reads(service: Service, who: UUID, student: UUID) -> bool:
    """Whether any list has a row of the student."""
    found = False
    for path in LISTS:
        answer = await by(service, who, "GET", f"{path}?limit=50")
        assert answer.status_code == 200, (path, answer.text)
        found |= str(student) in answer.text
    return found


async def test_who_asks_a_sponsor_to_pay_gets_the_student(service: Service) -> None:
    me, student = uuid4(), uuid4()
    assert not await reads(service, me, student)
    assert (await fund(service, me, student)).status_code == 200
    assert await reads(service, me, student)
    assert not await reads(service, CASE_MANAGER, student)
    (event,) = await service.published(student, "student.case_manager_changed.v1")
    assert (event["case_manager_id"], event["revision"]) == (str(me), 1)
    (record,) = await audited(service, student)
    assert (record["actor"]["id"], record["act"]["action"]) == (str(me), "case_manager.assigned")
    assert record["act"]["after"] == {"case_manager_id": str(me)}
    assert (await fund(service, me, student)).status_code == 200
    assert len(await audited(service, student)) == 1, "the same request again assigns nobody"


async def test_a_customer_of_a_student_who_was_assigned_meanwhile_stays(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe makes the customer; before it is stored, the student is assigned to another case manager."""
    me, student, made = uuid4(), uuid4(), list[str]()
    await service.assign(student, me)

    async def create_and_assign(*args: Any, **rest: Any) -> str:
        made.append(await create(*args, **rest))
        await service.assign(student)
        return made[-1]

    monkeypatch.setattr(customers, "create", create_and_assign)
    with pytest.raises(Problem) as refusal:
        await service.app.state.customers.ensure(student, Buyer(id=me, role="case_manager", admits=student))
    assert refusal.value.status == 403
    assert not getattr(await service.sandbox.api.customers.retrieve_async(made[0]), "deleted", False)


async def test_a_student_who_pays_themselves_joins_by_a_sponsored_purchase_on_record(service: Service) -> None:
    me, student = uuid4(), uuid4()
    row = await paid(service, student)
    assert (await by(service, me, "GET", f"/api/payments/{row['id']}")).status_code == 404
    assert (await fund(service, me, student)).status_code == 200
    assert (await by(service, me, "GET", f"/api/payments/{row['id']}")).status_code == 200
    (record,) = await audited(service, student)
    assert record["actor"]["id"] == str(me)


@pytest.mark.parametrize("unassigned", [False, True])
async def test_another_case_managers_student_is_not_named_into_the_caseload(service: Service, unassigned: bool) -> None:
    me, other, student = uuid4(), uuid4(), uuid4()
    answer = await fund(service, other, student, studentEmail="ada@example.org", studentName="Ada")
    assert answer.status_code == 200
    if unassigned:
        await service.assign(student, None)
    before = await audited(service, student)
    for sent in ({"slug": "hvac"}, {"slug": "dsp", "studentEmail": "thief@example.org"}):
        refused(await fund(service, me, student, **sent), 403, "not_in_caseload")
    sponsored = {"product_id": "cpr", "user_id": str(student), "funding_source": "WIOA"}
    refused(await by(service, me, "POST", "/api/enrollments", json=sponsored), 403, "not_in_caseload")
    assert not await reads(service, me, student)
    assert await case_manager_of(service, student) == (None if unassigned else other)
    assert await audited(service, student) == before
    assert len(await service.rows("SELECT 1 FROM purchases WHERE student_id = :s", s=student)) == 1
    (contact,) = await service.rows("SELECT email FROM contacts WHERE student_id = :s", s=student)
    assert contact["email"] == "ada@example.org"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"slug": "nothing"}, 404, "unknown_program"),
        ({"fundingSource": "NASA"}, 422, "unknown_funding_source"),
        ({"studentEmail": "thief@example.org"}, 409, "already_enrolled"),
    ],
)
async def test_a_refused_purchase_gives_nobody_the_student(
    service: Service, body: dict[str, Any], status: int, code: str
) -> None:
    me, student = uuid4(), uuid4()
    if code == "already_enrolled":
        body["slug"] = slug = f"program-{uuid4().hex[:8]}"
        await service.admin("POST", "/api/admin/programs", slug=slug, name="X", price=900)
        assert (await paid(service, student, slug=slug, price=900))["status"] == "succeeded"
        await service.rows(
            "INSERT INTO enrollments (student_id, program_slug, enrollment_id, status, revision) "
            "VALUES (:s, :slug, :s, 'active', 1) RETURNING 1",
            s=student,
            slug=slug,
        )
    refused(await fund(service, me, student, **body), status, code)
    assert await case_manager_of(service, student) is None
    assert await audited(service, student) == []
    assert not await reads(service, me, student)
    assert not await service.rows("SELECT 1 FROM contacts WHERE email = 'thief@example.org'")


async def test_without_a_sponsor_only_the_own_caseload_is_enrolled_and_reached(service: Service) -> None:
    me, student = uuid4(), uuid4()
    body = {"product_id": "cpr", "user_id": str(student)}
    refused(await by(service, me, "POST", "/api/enrollments", json=body), 403, "not_in_caseload")
    path = f"/api/admin/students/{student}/contact"
    refused(await by(service, me, "PUT", path, json={"email": "thief@example.org"}), 403, "not_in_caseload")
    assert await service.rows("SELECT 1 FROM purchases WHERE student_id = :s", s=student) == []
    assert await service.rows("SELECT 1 FROM contacts WHERE student_id = :s", s=student) == []
    await service.assign(student, me)
    assert (await by(service, me, "POST", "/api/enrollments", json=body)).status_code == 201
    assert (await by(service, me, "PUT", path, json={"email": "ada@example.org"})).status_code == 200


async def test_a_stolen_token_makes_no_money_of_the_caseload(service: Service) -> None:
    me, student = uuid4(), uuid4()
    row = await paid(service, student)
    await service.assign(student, me)
    refused(await ask(service, row["id"], by=("case_manager", me)), 403, "forbidden")
    asked = {"payment_intent_id": row["stripe_payment_intent_id"], "reason": "mine now"}
    refused(await by(service, me, "POST", "/api/payments/request-refund", json=asked), 404, "unknown_payment")
    assert (await by(service, me, "GET", "/api/payments/methods")).json()["items"] == []
    for path, body in (
        (f"/api/admin/purchases/{row['purchase_id']}/accept", {"reason": "x"}),
        (f"/api/admin/enrollments/{row['purchase_id']}/cancel", {"reason": "x"}),
        ("/api/admin/promotions", {"code": "FREE", "percent_off": 100}),
        ("/api/admin/sponsors", {"code": "ME", "name": "Me", "finance_email": "me@example.org"}),
    ):
        refused(await by(service, me, "POST", path, json=body), 403, "forbidden")
    assert await service.rows("SELECT 1 FROM refunds WHERE student_id = :s", s=student) == []
    assert await service.rows("SELECT 1 FROM refund_requests WHERE student_id = :s", s=student) == []


async def test_nobody_asks_a_sponsor_to_pay_for_themselves(service: Service) -> None:
    me = uuid4()
    refused(await fund(service, me, me), 403, "forbidden")
    assert await service.rows("SELECT 1 FROM purchases WHERE student_id = :s", s=me) == []


async def test_an_admin_assigns_and_unassigns(service: Service) -> None:
    first, second, student = uuid4(), uuid4(), uuid4()
    await paid(service, student)
    path = f"/api/admin/students/{student}/case-manager"
    assert (await service.admin("GET", path)).json() == {"student_id": str(student), "case_manager_id": None}
    for case_manager in (first, first, second, None, first):
        await service.assign(student, case_manager)
        for each in (first, second):
            assert await reads(service, each, student) is (each == case_manager)
        stored = (await service.admin("GET", path)).json()["case_manager_id"]
        assert stored == (None if case_manager is None else str(case_manager))
    events = await service.published(student, "student.case_manager_changed.v1")
    changes = [(each["revision"], each.get("case_manager_id")) for each in events]
    assert changes == [(1, str(first)), (2, str(second)), (3, None), (4, str(first))]
    records = [each["act"] for each in await audited(service, student)]
    actions = ["assigned", "assigned", "unassigned", "assigned"]
    assert [each["action"] for each in records] == [f"case_manager.{each}" for each in actions]
    assert records[1]["before"] == {"case_manager_id": str(first)}
    assert all(each["reason"] == "a test" for each in records)
    own = {"case_manager_id": str(second), "reason": "mine"}
    refused(await by(service, second, "PUT", path, json=own), 403, "forbidden")


async def test_the_caseload_is_listed_in_pages(service: Service) -> None:
    me, students = uuid4(), sorted(uuid4() for _ in range(3))
    for student in students:
        await service.assign(student, me)
    path = "/api/admin/caseload?limit=2"
    first = (await by(service, me, "GET", path)).json()
    rest = (await by(service, me, "GET", f"{path}&cursor={first['next']}")).json()
    assert [each["student_id"] for each in first["items"] + rest["items"]] == [str(each) for each in students]
    assert rest["next"] is None
    found = (await service.admin("GET", f"/api/admin/caseload?case_manager_id={me}")).json()["items"]
    assert len(found) == 3
    elsewhere = await by(service, uuid4(), "GET", f"/api/admin/caseload?case_manager_id={me}")
    assert elsewhere.json()["items"] == []


async def test_a_caseload_is_sorted_by_name_and_filtered_by_item_and_sponsor(service: Service) -> None:
    me, ann, zoe, unnamed = (uuid4() for _ in range(4))
    for student, name, source in ((zoe, "Zoe", "WIOA"), (ann, "Ann", "WRG")):
        named = {"studentName": name, "studentEmail": f"{name.lower()}@example.org", "fundingSource": source}
        assert (await fund(service, me, student, **named)).status_code == 200
    await service.assign(unnamed, me)

    async def listed(query: str) -> list[str]:
        found, cursor = list[str](), ""
        while True:
            page = (await by(service, me, "GET", f"{CASELOAD}?limit=1{query}{cursor}")).json()
            found += [each["student_id"] for each in page["items"]]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    in_order = [str(unnamed), str(ann), str(zoe)]
    assert await listed("") == await listed("&sort=name") == in_order
    assert await listed("&sort=-name") == in_order[::-1]
    assert await listed("&sort=updated_at") == [str(zoe), str(ann), str(unnamed)]
    assert await listed("&funding_source=wrg") == [str(ann)]
    assert await listed("&product=dsp") == [str(ann), str(zoe)]
    assert await listed("&product=cpr") == []
    refused(await by(service, me, "GET", f"{CASELOAD}?sort=email"), 422, "invalid_request")
    refused(await by(service, me, "GET", f"{CASELOAD}?cursor={uuid4()}"), 400, "cursor_invalid")


async def test_funding_is_summed_by_sponsor_and_only_the_own_caseloads(service: Service) -> None:
    me, other, first, second, third = (uuid4() for _ in range(5))
    path = f"{CASELOAD}/funding"
    assert (await by(service, me, "GET", path)).json() == {"items": []}
    for student, slug in ((first, "dsp"), (second, "dsp"), (third, "cpr")):
        assert (await fund(service, me, student, slug)).status_code == 200
    assert (await fund(service, other, uuid4(), fundingSource="WRG")).status_code == 200
    await service.sandbox.operate(f"/invoices/{(await service.invoice(second)).id}/pay")
    await service.deliver_stripe_events(second)
    dsp, cpr = [(await service.purchase(each))["amount"] for each in (second, third)]
    sums = {"amount": 2 * dsp + cpr, "paid": dsp, "due": dsp + cpr}
    wioa = {"funding_source": "WIOA", "currency": "usd", "students": 3, **sums}
    assert (await by(service, me, "GET", path)).json() == {"items": [wioa]}
    mine = (await by(service, me, "GET", "/api/purchases?payer=sponsor&funding_source=wioa&sort=-amount")).json()[
        "items"
    ]
    assert [each["amount"] for each in mine] == sorted((dsp, dsp, cpr), reverse=True)
    for query in ("payer=student", "funding_source=WRG"):
        assert (await by(service, me, "GET", f"/api/purchases?{query}")).json()["items"] == []


async def test_the_database_holds_a_case_managers_requests(service: Service) -> None:
    """Whatever the code says: not in the caseload, no row."""
    me, other, student, new = uuid4(), uuid4(), uuid4(), uuid4()
    await fund(service, other, student)
    api = api_database(service.server)
    insert = "INSERT INTO caseload (student_id, case_manager_id, revision) VALUES (:student, :manager, :revision)"

    async def run(sql: str, role: str = "case_manager", /, **values: object) -> int:
        async with api.transaction_of(student_id=me, role=role) as db:
            return int((await db.execute(text(sql), values)).rowcount)

    for table in ("purchases", "funding_payments", "funding_payment_changes", "installments", "caseload"):
        assert await run(f"SELECT 1 FROM {table} WHERE student_id = :s", s=student) == 0, table
    assert await run("UPDATE purchases SET updated_at = now() WHERE student_id = :s", s=student) == 0
    mine = {"manager": me, "revision": 1}
    assert await run(f"{insert} ON CONFLICT DO NOTHING", student=student, **mine) == 0
    for sql, values in (
        (insert, {"student": student, **mine}),
        (insert, {"student": new, "manager": other, "revision": 1}),
        (insert, {"student": new, "manager": me, "revision": 7}),
        (f"{insert} ON CONFLICT (student_id) DO UPDATE SET case_manager_id = :manager", {"student": student, **mine}),
        ("DELETE FROM caseload", {}),
        ("INSERT INTO contacts (student_id, email, revision) VALUES (:s, 'a@b.c', 1)", {"s": student}),
    ):
        with pytest.raises(DBAPIError):
            await run(sql, **values)
    assert await run("UPDATE caseload SET case_manager_id = :me", me=me) == 0
    for role in ("student", "specialist"):
        assert await run("SELECT 1 FROM purchases WHERE student_id = :s", role, s=student) == 0, role
    await api.close()
    assert await case_manager_of(service, student) == other
    assert await case_manager_of(service, new) is None
