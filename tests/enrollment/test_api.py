"""GET /api/enrollments: students see their own, case managers their caseload, admins all; the database enforces it."""

from __future__ import annotations

from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.caseload import assign
from tests.deliveries import deliver, envelope
from tests.ledger.payment_histories import paid_by_card
from tests.tokens import bearer

from contracts.people import Program
from enrollment import consumers
from kit.db.database import Database

ANN, BOB, STAFF = uuid4(), uuid4(), uuid4()
CONSUMER = consumers.payments()


async def enrollment(database: Database, student: UUID, slug: str) -> None:
    """A paid enrollment, created by an event."""
    purchase = uuid4()
    for n, event in enumerate(paid_by_card(1)):
        refs = event.refs.model_copy(
            update={"payment_intent": f"pi_{purchase}", "charge": None, "checkout_session": None}
        )
        own = event.model_copy(
            update={
                "refs": refs,
                "student_id": student,
                "purchase_id": purchase,
                "program": Program(slug=slug, id=slug),
            }
        )
        await deliver(database, CONSUMER, "enrollment", envelope(f"{purchase}/{n}", own))


@pytest.fixture
async def client(database: Database, api: httpx.AsyncClient) -> httpx.AsyncClient:
    for student, slug in ((ANN, "barber-apprenticeship"), (ANN, "cpr"), (BOB, "cpr")):
        await enrollment(database, student, slug)
    return api


async def items(client: httpx.AsyncClient, who: UUID, role: str = "student", **query: str) -> list[dict[str, str]]:
    answer = await client.get("/api/enrollments", headers=bearer(who, role), params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, str]] = answer.json()["items"]
    return found


async def test_a_student_sees_only_their_own(client: httpx.AsyncClient) -> None:
    assert {row["program_slug"] for row in await items(client, ANN)} == {"barber-apprenticeship", "cpr"}
    assert [row["student_id"] for row in await items(client, BOB)] == [str(BOB)]
    assert await items(client, BOB, student_id=str(ANN)) == []
    assert await items(client, uuid4()) == []


async def test_admins_see_all_enrollments(client: httpx.AsyncClient) -> None:
    assert len(await items(client, STAFF, "admin")) == 3
    assert len(await items(client, STAFF, "admin", student_id=str(ANN))) == 2


async def test_case_managers_see_their_caseload(client: httpx.AsyncClient, database: Database) -> None:
    mine, other = uuid4(), uuid4()
    assert await items(client, mine, "case_manager") == []
    await assign(database, "enrollment", other, ANN, BOB)
    await assign(database, "enrollment", mine, ANN, revision=2)
    for _ in range(2):  # an event that comes late, or again, changes nothing
        assert {row["student_id"] for row in await items(client, mine, "case_manager")} == {str(ANN)}
        assert {row["student_id"] for row in await items(client, other, "case_manager")} == {str(BOB)}
        await assign(database, "enrollment", other, ANN)
    (bobs,) = await items(client, BOB)
    for path in ("", "/progress"):
        refused = await client.get(f"/api/enrollments/{bobs['id']}{path}", headers=bearer(mine, "case_manager"))
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_enrollment")
    await assign(database, "enrollment", None, ANN, revision=3)
    assert await items(client, mine, "case_manager") == []
    assert len(await items(client, mine, "case_manager", student_id=str(ANN))) == 0


async def test_another_system_reads_all_with_the_scope_and_writes_nothing(
    client: httpx.AsyncClient, api_database: Database
) -> None:
    def system(scope: str) -> dict[str, str]:
        return bearer(uuid4(), "machine", scope=scope)

    answer = await client.get("/api/enrollments", headers=system("enrollments:read"))
    assert len(answer.json()["items"]) == 3
    for scope, path, code in (
        ("payments:read", "", "insufficient_scope"),
        ("enrollments:read", f"/{uuid4()}", "person_required"),
    ):
        refused = await client.get(f"/api/enrollments{path}", headers=system(scope))
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    with pytest.raises(DBAPIError, match="read-only"):
        async with api_database.transaction_of(student_id=STAFF, role="machine") as db:
            await db.execute(text("UPDATE step_progress SET done_at = now()"))


async def test_specialists_are_not_staff_here(client: httpx.AsyncClient) -> None:
    assert await items(client, STAFF, "specialist") == []


async def test_filters(client: httpx.AsyncClient) -> None:
    assert len(await items(client, STAFF, "admin", program_slug="cpr")) == 2
    assert len(await items(client, STAFF, "admin", status="active", payment_status="paid", source="self_enroll")) == 3
    assert await items(client, STAFF, "admin", status="withdrawn") == []
    bad = await client.get("/api/enrollments", headers=bearer(ANN), params={"status": "gone"})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid_request")


async def test_pages_contain_every_enrollment_once(client: httpx.AsyncClient) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = {"limit": "1"} | ({"cursor": cursor} if cursor else {})
        answer = (await client.get("/api/enrollments/", headers=bearer(STAFF, "admin"), params=query)).json()
        seen += [row["id"] for row in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 3
    for cursor in ("x", "AAAA", "é"):
        bad = await client.get("/api/enrollments", headers=bearer(ANN), params={"cursor": cursor})
        assert (bad.status_code, bad.json()["code"]) == (400, "cursor_invalid")


async def test_filtering_by_kind(client: httpx.AsyncClient) -> None:
    assert len(await items(client, STAFF, "admin", kind="program")) == 3
    assert await items(client, STAFF, "admin", kind="membership") == []
    bad = await client.get("/api/enrollments", headers=bearer(ANN), params={"kind": "yacht"})
    assert bad.status_code == 422


async def test_an_enrollment_can_be_read_by_its_student_and_by_staff(
    client: httpx.AsyncClient, database: Database
) -> None:
    await assign(database, "enrollment", STAFF, BOB)
    (bobs,) = await items(client, BOB)
    for who, role in ((BOB, "student"), (STAFF, "admin"), (STAFF, "case_manager")):
        answer = await client.get(f"/api/enrollments/{bobs['id']}", headers=bearer(who, role))
        assert (answer.status_code, answer.json()) == (200, bobs)


async def test_another_students_enrollment_is_not_found(client: httpx.AsyncClient) -> None:
    (bobs,) = await items(client, BOB)
    for enrollment_id in (bobs["id"], str(uuid4())):
        for path in ("", "/progress"):
            answer = await client.get(f"/api/enrollments/{enrollment_id}{path}", headers=bearer(ANN))
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_enrollment")


async def test_a_token_is_required(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/enrollments")).status_code == 401


async def test_row_level_security_hides_all_rows_without_a_caller(
    client: httpx.AsyncClient, api_database: Database
) -> None:
    count = text("SELECT count(*) FROM enrollments")
    async with api_database.transaction() as db:
        assert await db.scalar(count) == 0
    async with api_database.transaction_of(student_id=ANN, role="student") as db:
        assert await db.scalar(count) == 2
    async with api_database.transaction() as db:
        assert await db.scalar(count) == 0, "a setting outlived its transaction"
