"""What the API shows and to whom, with the API's own restricted login; and the way without a provider's API."""

from __future__ import annotations

import csv
import io
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.milady_integration.service import ADMIN, COURSES, Sandbox, Service, Student, new_program

from contracts.people import Contact, Program
from kit.db.database import Database
from milady_integration.bulk_import import harmless

BARBER = Program(slug="barber-apprenticeship", id="prog-barber", name="Barber Apprenticeship", provider="milady")
ADMIN_API = "/api/admin/milady"


async def enrolled(service: Service, program: Program = BARBER) -> Student:
    student = Student(program)
    await service.hear(student.paid())
    await service.work_off()
    return student


async def test_mine_is_mine_with_links(service: Service) -> None:
    me, _ = await enrolled(service), await enrolled(service)
    answer = await service.call("GET", "/api/milady/mine/", role="student", subject=me.id)
    (item,) = answer.json()["items"]
    assert answer.json()["next"] is None
    assert (item["student_id"], item["program_slug"], item["status"]) == (str(me.id), BARBER.slug, "enrolled")
    assert item["milady_enrollment_id"].startswith("men_")
    assert {"title", "url"} == set(item["links"][0])
    assert (await service.call("GET", "/api/milady/mine", role="student", subject=uuid4())).json()["items"] == []


class TestAutoEnroll:
    PATH = "/api/milady/auto-enroll"

    async def test_enrols_whom_the_facts_say_active_and_again_is_the_same(
        self, service: Service, sandbox: Sandbox
    ) -> None:
        student = Student(BARBER)
        await service.hear(student.paid())
        for program in (BARBER.slug, BARBER.id):
            body = {"studentId": str(student.id), "programId": program}
            answer = await service.call("POST", self.PATH, role="case_manager", json=body)
            assert answer.status_code == 200, answer.text
            assert (answer.json()["ok"], answer.json()["status"]) == (True, "wanted")
        await service.work_off()
        answer = await service.call("POST", self.PATH, json=body, key="again")
        assert answer.json()["status"] == "enrolled"
        assert answer.json()["miladyEnrollmentId"] == (await service.place(student))["milady_enrollment_id"]
        assert sandbox.enrollments(student.id) == ["active"]

    async def test_serves_a_program_before_its_enrollments_were_looked_through(self, service: Service) -> None:
        program = new_program(provider=None)
        student = Student(program)
        await service.hear(student.paid())
        await service.call("PUT", f"{ADMIN_API}/programs/{program.slug}", json={"title": "T", "courses": COURSES})
        body = {"studentId": str(student.id), "programId": program.id}
        assert (await service.call("POST", self.PATH, role="case_manager", json=body)).json()["status"] == "wanted"
        await service.work_off()
        assert await service.status(student) == "enrolled"
        assert await service.said(student) == ["enrolled"]

    async def test_tries_again_what_was_refused(self, service: Service, sandbox: Sandbox) -> None:
        student = Student(BARBER)
        await service.hear(student.paid())
        sandbox.faults({"kind": "status", "status": 403, "requests": 1})
        await service.work_off()
        assert await service.status(student) == "failed"
        body = {"studentId": str(student.id), "programId": BARBER.slug}
        assert (await service.call("POST", self.PATH, role="case_manager", json=body)).json()["status"] == "wanted"
        await service.work_off()
        assert sandbox.enrollments(student.id) == ["active"]

    async def test_refuses_what_is_not_paid(self, service: Service, sandbox: Sandbox) -> None:
        started, under_way, refunded = Student(BARBER), Student(BARBER), Student(BARBER)
        await service.hear(started.starts(), under_way.pending(), refunded.paid(), refunded.refunded())
        for student in (started, under_way, refunded):
            body = {"studentId": str(student.id), "programId": BARBER.slug}
            answer = await service.call("POST", self.PATH, role="case_manager", json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "not_paid")
        await service.work_off()
        assert [sandbox.enrollments(student.id) for student in (started, under_way, refunded)] == [[], [], []]

    async def test_knows_what_it_does_not_know(self, service: Service) -> None:
        student = Student(new_program(provider=None))
        await service.hear(student.paid())
        for body, code in (
            ({"studentId": str(student.id), "programId": student.program.slug}, "unknown_program"),
            ({"studentId": str(student.id), "programId": BARBER.slug}, "unknown_enrollment"),
            ({"studentId": "somebody", "programId": "nothing"}, "unknown_program"),
        ):
            answer = await service.call("POST", self.PATH, role="case_manager", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, code)
        invalid = await service.call("POST", self.PATH, role="case_manager", json={"studentId": ""})
        assert invalid.status_code == 422

    @pytest.mark.parametrize("role", ["student", "specialist"])
    async def test_is_for_staff(self, service: Service, role: str) -> None:
        answer = await service.call("POST", self.PATH, role=role, json={"studentId": "s", "programId": "p"})
        assert answer.status_code == 403


@pytest.mark.parametrize("role", ["student", "specialist", "case_manager"])
async def test_only_admins_decide_by_hand(service: Service, role: str) -> None:
    for method, path in (
        ("GET", f"{ADMIN_API}/export.csv"),
        ("POST", f"{ADMIN_API}/confirm"),
        ("POST", f"{ADMIN_API}/retry"),
        ("PUT", f"{ADMIN_API}/programs/x"),
    ):
        sent = {"studentId": "s", "programSlug": "p", "miladyEnrollmentId": "m", "title": "t"}
        assert (await service.call(method, path, role=role, json=sent)).status_code == 403, path
    listed = await service.call("GET", f"{ADMIN_API}/programs", role=role)
    assert listed.status_code == (200 if role == "case_manager" else 403)  # a 404 of auto-enroll points there


async def test_staff_see_what_failed_and_how_often_it_was_tried(service: Service, sandbox: Sandbox) -> None:
    program = new_program()
    down, no = Student(program), Student(program)
    await service.hear(no.paid())
    sandbox.faults({"kind": "status", "status": 422})
    await service.work_off()
    sandbox.faults({"kind": "status", "status": 503})
    await service.hear(down.paid())
    await service.work_off(rounds=2)
    path = f"{ADMIN_API}/enrollments?program_slug={program.slug}"
    items = (await service.call("GET", path, role="case_manager")).json()["items"]
    found = {item["student_id"]: item for item in items}
    assert (found[str(no.id)]["status"], found[str(no.id)]["failure"]) == ("failed", "ordered_fault")
    waiting = found[str(down.id)]
    assert (waiting["status"], waiting["step"], waiting["attempts"]) == ("wanted", "enroll", 2)
    assert waiting["last_error"] == "Unwell: http 503"
    failed = (await service.call("GET", f"{path}&status=failed")).json()["items"]
    assert [item["student_id"] for item in failed] == [str(no.id)]


async def test_programs_can_be_seen_and_changed(service: Service) -> None:
    program = new_program()
    path = f"{ADMIN_API}/programs/{program.slug}"
    saved = await service.call("PUT", path, json={"title": "T", "courses": COURSES, "program_id": program.id})
    assert saved.json()["courses"] == COURSES
    listed = {row["program_slug"]: row for row in (await service.call("GET", f"{ADMIN_API}/programs")).json()["items"]}
    assert listed[program.slug]["program_id"] == program.id
    assert len(listed["barber-apprenticeship"]["courses"]) == 3
    changed = await service.call("PUT", path, json={"title": "U", "courses": [], "is_active": False})
    assert (changed.json()["title"], changed.json()["program_id"]) == ("U", program.id)
    assert (await service.call("PUT", path, json={"title": ""})).status_code == 422


async def test_the_logins_of_the_api_see_and_change_only_what_they_may(service: Service) -> None:
    program = new_program()
    me, _other = await enrolled(service, program), await enrolled(service, program)
    api = Database(service.server.api_url)
    slug = {"slug": program.slug}
    change = text("UPDATE milady_enrollments SET reason = 'changed' WHERE program_slug = :slug")

    async def count(student_id: object, role: str) -> list[int]:
        async with api.transaction_of(student_id=student_id, role=role) as db:  # type: ignore[arg-type]
            return [
                (await db.execute(text(f"SELECT count(*) FROM {t} WHERE program_slug = :slug"), slug)).scalar_one()
                for t in ("enrollments", "milady_enrollments")
            ]

    try:
        assert await count(None, "") == [0, 0]
        assert await count(me.id, "student") == [1, 1]
        assert await count(ADMIN, "specialist") == [0, 0]
        assert await count(ADMIN, "case_manager") == await count(ADMIN, "admin") == [2, 2]
        async with api.transaction_of(student_id=me.id, role="student") as db:
            assert (await db.execute(change, slug)).rowcount == 0, "a student changes nothing, not even their own"
        for forbidden in (
            "UPDATE enrollments SET wish = NULL",
            "SELECT * FROM facts",
            "DELETE FROM milady_enrollments",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                async with api.transaction_of(student_id=ADMIN, role="admin") as db:
                    await db.execute(text(forbidden))
    finally:
        await api.close()


class TestByHand:
    async def test_export_confirm_withdraw(self, by_hand: Service, sandbox: Sandbox) -> None:
        program = new_program()
        student, gone = Student(program), Student(program)
        await by_hand.hear(student.paid(), gone.paid(), gone.refunded())
        await by_hand.work_off()
        assert [await by_hand.status(s) for s in (student, gone)] == ["manual", "withdrawn"]
        assert await self._exported(by_hand, "enroll", program) == [str(student.id)]

        told = {"studentId": str(student.id), "programSlug": program.slug}
        missing = await by_hand.call("POST", f"{ADMIN_API}/confirm", json=told)
        assert missing.status_code == 422
        link = {"title": "Course", "url": "https://milady.test/c"}
        confirmed = {**told, "miladyEnrollmentId": "CIMA-77", "links": [link]}
        for _ in range(2):
            answer = await by_hand.call("POST", f"{ADMIN_API}/confirm", json=confirmed)
            assert (answer.status_code, answer.json()["status"]) == (200, "enrolled"), answer.text
        other = await by_hand.call("POST", f"{ADMIN_API}/confirm", json={**told, "miladyEnrollmentId": "CIMA-78"})
        assert (other.status_code, other.json()["code"]) == (409, "already_enrolled")
        assert (await by_hand.place(student))["links"] == [link]
        assert await self._exported(by_hand, "enroll", program) == []

        early = await by_hand.call("POST", f"{ADMIN_API}/confirm", json={**told, "withdrawn": True})
        assert (early.status_code, early.json()["code"]) == (409, "not_withdrawn")
        await by_hand.hear(student.refunded())
        assert await by_hand.status(student) == "enrolled", "it is, until a human has ended it"
        assert await self._exported(by_hand, "withdraw", program) == [str(student.id)]
        done = await by_hand.call("POST", f"{ADMIN_API}/confirm", json={**told, "withdrawn": True})
        assert done.json()["status"] == "withdrawn"
        assert await by_hand.said(student) == ["enrolled", "withdrawn"]
        assert await self._exported(by_hand, "withdraw", program) == []
        assert sandbox.requests() == []

    async def test_a_place_that_nobody_has(self, by_hand: Service) -> None:
        body = {"studentId": str(uuid4()), "programSlug": "barber-apprenticeship", "miladyEnrollmentId": "x"}
        answer = await by_hand.call("POST", f"{ADMIN_API}/confirm", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_enrollment")

    async def test_the_export_is_no_formula(self, by_hand: Service) -> None:
        program = new_program()
        student = Student(program, contact=Contact(email="+1@x.org", name='=HYPERLINK("http://evil","x")\r\n@SUM(1)'))
        await by_hand.hear(student.paid())
        answer = await by_hand.call("GET", f"{ADMIN_API}/export.csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        (row,) = [r for r in csv.DictReader(io.StringIO(answer.text)) if r["student_ref"] == str(student.id)]
        assert row["name"] == '\'=HYPERLINK("http://evil","x")  @SUM(1)'
        assert row["email"] == "'+1@x.org"

    async def test_steps_from_before_the_switch_are_handed_over(
        self, service: Service, by_hand: Service, sandbox: Sandbox
    ) -> None:
        fresh, doubtful = Student(new_program()), Student(new_program())
        await service.hear(doubtful.paid())
        sandbox.faults({"kind": "acts_then_times_out", "seconds": 1, "requests": 1})
        await service.work_off(rounds=1)
        await service.hear(fresh.paid())
        await by_hand.work_off()
        assert await by_hand.status(fresh) == "manual"
        assert (await by_hand.place(doubtful))["failure"] == "handed_over", "a human has to look what Milady has done"

    async def test_an_api_that_comes_takes_over_on_request(
        self, service: Service, by_hand: Service, sandbox: Sandbox
    ) -> None:
        student = Student(new_program())
        await by_hand.hear(student.paid())
        await service.call("POST", f"{ADMIN_API}/retry", json={"studentId": str(student.id)})
        await service.work_off()
        assert sandbox.enrollments(student.id) == ["active"]

    @staticmethod
    async def _exported(service: Service, action: str, program: Program) -> list[str]:
        answer = await service.call("GET", f"{ADMIN_API}/export.csv?action={action}")
        rows = csv.DictReader(io.StringIO(answer.text))
        return [row["student_ref"] for row in rows if row["program_slug"] == program.slug]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1", "\r=1", "\n=1", "|x", "＝1"])
def test_a_formula_is_a_text(cell: str) -> None:
    assert harmless(cell).startswith("'")
    assert not set(harmless(cell)) & set("\t\r\n")


@pytest.mark.parametrize("cell", ["Sam Student", "sam@example.org", "O'Neil", "Ann-Marie", ""])
def test_a_name_stays_a_name(cell: str) -> None:
    assert harmless(cell) == cell


async def test_documents_are_served(service: Service) -> None:
    assert "/api/milady/auto-enroll" in (await service.call("GET", "/openapi.json")).json()["paths"]
    channels = (await service.call("GET", "/asyncapi.json")).json()["channels"]
    assert {"milady-integration.payments", "milady-integration.purchases"} <= channels.keys()
