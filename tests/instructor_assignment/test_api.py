"""The API and who may do what, with the API's own restricted login."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.caseload import assign
from tests.databases import api_database
from tests.instructor_assignment.harness import ADMIN, Service, Student, new_program

LIST = "/api/admin/instructors"


async def test_mine_is_mine(service: Service) -> None:
    program = new_program()
    ada = await service.add(program, "Ada")
    me, other = Student(program), Student(program)
    await service.deliver(me.paid(), other.paid())
    response = await service.call("GET", "/api/instructors/mine", role="student", subject=me.id)
    assert response.status_code == 200
    (item,) = response.json()["items"]
    assert response.json()["next"] is None
    assert item["student_id"] == str(me.id)
    assert (item["program_slug"], item["status"]) == (program.slug, "assigned")
    assert item["instructor"] == {"id": ada, "name": "Ada", "specialty": None, "avatar": None}
    assert (await service.call("GET", "/api/instructors/mine/", role="student", subject=uuid4())).json()["items"] == []
    assert (await service.call("GET", "/api/instructors/mine", role="admin")).json()["items"] == [], (
        "own assignments only, for staff as well"
    )


async def test_a_waiting_student_has_no_instructor(service: Service) -> None:
    me = Student(new_program())
    await service.deliver(me.paid())
    (item,) = (await service.call("GET", "/api/instructors/mine", role="student", subject=me.id)).json()["items"]
    assert (item["status"], item["instructor"]) == ("waiting", None)


async def test_admins_see_all_assignments_case_managers_their_caseload_and_students_none(service: Service) -> None:
    program = new_program()
    students = [Student(program) for _ in range(3)]
    await service.deliver(*(student.paid() for student in students))
    path = f"/api/admin/instructor-assignments?program_slug={program.slug}&status=waiting&limit=2"
    assert (await service.call("GET", path, role="case_manager")).json()["items"] == [], "not in the caseload"
    await assign(service.database, "instructor-assignment", ADMIN, *(student.id for student in students))
    first = (await service.call("GET", path, role="case_manager")).json()
    rest = (await service.call("GET", f"{path}&cursor={first['next']}", role="admin")).json()
    assert {item["student_id"] for item in first["items"] + rest["items"]} == {str(s.id) for s in students}
    refused = await service.call("GET", path, role="student", subject=students[0].id)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("role", ["student", "specialist", "case_manager"])
async def test_only_admins_manage_instructors(service: Service, role: str) -> None:
    sent = {"program_slug": "p", "name": "n", "capacity": 1}
    for method, path in (
        ("GET", LIST),
        ("POST", LIST),
        ("PATCH", f"{LIST}/{uuid4()}"),
        ("DELETE", f"{LIST}/{uuid4()}"),
    ):
        response = await service.call(method, path, role=role, json=sent)
        assert response.status_code == 403, (method, path)


async def test_a_key_makes_one_instructor(service: Service) -> None:
    program = new_program()
    sent = {"program_slug": program.slug, "name": "Ada", "capacity": 3, "specialty": "All of it", "avatar": "/a.svg"}
    first = await service.call("POST", LIST, json=sent, key="k-1")
    again = await service.call("POST", LIST, json=sent, key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = await service.call("POST", LIST, json={**sent, "name": "Ben"}, key="k-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    listed = (await service.call("GET", f"{LIST}?program_slug={program.slug}")).json()["items"]
    assert [item["name"] for item in listed] == ["Ada"]


async def test_a_change_affects_only_the_fields_sent(service: Service) -> None:
    program = new_program()
    ada = await service.add(program, "Ada", 3)
    changed = await service.call("PATCH", f"{LIST}/{ada}", json={"specialty": "Fades", "name": "Ada L."})
    row = changed.json()
    assert (row["name"], row["specialty"], row["capacity"], row["is_active"]) == ("Ada L.", "Fades", 3, True)
    assert (await service.call("PATCH", f"{LIST}/{ada}", json={"specialty": None})).json()["specialty"] is None
    assert (await service.call("PATCH", f"{LIST}/{ada}", json={})).status_code == 200
    for wrong in ({"program_slug": "other"}, {"capacity": -1}, {"name": ""}, {"name": None}, {"is_active": None}):
        response = await service.call("PATCH", f"{LIST}/{ada}", json=wrong)
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request"), wrong
    unknown = await service.call("PATCH", f"{LIST}/{uuid4()}", json={"capacity": 1})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_instructor")


async def test_a_school_starts_with_instructors(service: Service) -> None:
    items = (await service.call("GET", f"{LIST}?is_active=true&limit=200")).json()["items"]
    by_program: dict[str, list[str]] = {}
    for item in items:
        by_program.setdefault(item["program_slug"], []).append(item["name"])
    assert len(by_program["barber-apprenticeship"]) == 2
    assert all(len(by_program[slug]) == 1 for slug in ("dsp", "hvac", "cpr"))
    seeds = [item for item in items if not item["program_slug"].startswith("program-")]
    assert all(item["specialty"] and item["avatar"] for item in seeds)


async def test_the_login_of_the_api_reads_and_updates_only_permitted_rows(service: Service) -> None:
    program = new_program()
    await service.add(program, "Ada")
    me, other = Student(program), Student(program)
    await service.deliver(me.paid(), other.paid())
    api = api_database(service.server)
    count = text("SELECT count(*) FROM ai_instructor_assignments WHERE program_slug = :slug")
    change = text("UPDATE ai_instructor_assignments SET revision = revision + 1 WHERE program_slug = :slug")
    slug = {"slug": program.slug}
    try:
        async with api.transaction() as db:
            assert (await db.execute(count, slug)).scalar_one() == 0, "no setting, no rows"
        async with api.transaction_of(student_id=me.id, role="student") as db:
            assert (await db.execute(count, slug)).scalar_one() == 1
            assert (await db.execute(change, slug)).rowcount == 0, "a student updates nothing, not even their own"
        await assign(service.database, "instructor-assignment", ADMIN, me.id)
        async with api.transaction_of(student_id=ADMIN, role="case_manager") as db:
            assert (await db.execute(count, slug)).scalar_one() == 1
            assert (await db.execute(change, slug)).rowcount == 0
        async with api.transaction_of(student_id=ADMIN, role="admin") as db:
            assert (await db.execute(change, slug)).rowcount == 2
        for forbidden in (
            "INSERT INTO ai_instructor_assignments (id) VALUES (gen_random_uuid())",
            "DELETE FROM ai_instructor_assignments",
            "UPDATE ai_instructor_assignments SET student_id = gen_random_uuid()",
            "DELETE FROM facts",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                async with api.transaction_of(student_id=ADMIN, role="admin") as db:
                    await db.execute(text(forbidden))
    finally:
        await api.close()


async def test_it_is_ready(service: Service) -> None:
    assert (await service.call("GET", "/readyz")).json() == {"status": "ready"}
