"""The API and who may do what, with the API's own restricted login; and the manual mode."""

from __future__ import annotations

import csv
import io
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.caseload import assign
from tests.databases import api_database
from tests.milady_integration.harness import ADMIN, COURSES, Sandbox, Service, Student, new_program

from contracts.checkout import StudentUpdated
from contracts.people import Contact, Program
from kit.http.csv_documents import escape_formula

BARBER = Program(slug="barber-apprenticeship", id="prog-barber", name="Barber Apprenticeship", provider="milady")
ADMIN_API = "/api/admin/milady"


async def enrolled(service: Service, program: Program = BARBER) -> Student:
    student = Student(program)
    await service.deliver(student.paid())
    await service.run_jobs()
    return student


async def test_mine_is_mine_with_links(service: Service) -> None:
    me, _ = await enrolled(service), await enrolled(service)
    response = await service.call("GET", "/api/milady/mine/", role="student", subject=me.id)
    (item,) = response.json()["items"]
    assert response.json()["next"] is None
    assert (item["student_id"], item["program_slug"], item["status"]) == (str(me.id), BARBER.slug, "enrolled")
    assert item["milady_enrollment_id"].startswith("men_")
    assert {"title", "url"} == set(item["links"][0])
    assert (await service.call("GET", "/api/milady/mine", role="student", subject=uuid4())).json()["items"] == []


class TestAutoEnroll:
    PATH = "/api/milady/auto-enroll"

    async def test_enrolls_an_active_student_and_can_be_repeated(self, service: Service, sandbox: Sandbox) -> None:
        student = Student(BARBER)
        await service.deliver(student.paid())
        await assign(service.database, "milady-integration", ADMIN, student.id)
        for program in (BARBER.slug, BARBER.id):
            body = {"studentId": str(student.id), "programId": program}
            response = await service.call("POST", self.PATH, role="case_manager", json=body)
            assert response.status_code == 200, response.text
            assert (response.json()["ok"], response.json()["status"]) == (True, "wanted")
        await service.run_jobs()
        response = await service.call("POST", self.PATH, json=body, key="again")
        assert response.json()["status"] == "enrolled"
        assert (
            response.json()["miladyEnrollmentId"]
            == (await service.provider_enrollment(student))["milady_enrollment_id"]
        )
        assert sandbox.enrollments(student.id) == ["active"]

    async def test_enrolls_in_a_program_whose_enrollments_were_not_adopted_yet(self, service: Service) -> None:
        program = new_program(provider=None)
        student = Student(program)
        await service.deliver(student.paid())
        await assign(service.database, "milady-integration", ADMIN, student.id)
        await service.call("PUT", f"{ADMIN_API}/programs/{program.slug}", json={"title": "T", "courses": COURSES})
        body = {"studentId": str(student.id), "programId": program.id}
        assert (await service.call("POST", self.PATH, role="case_manager", json=body)).json()["status"] == "wanted"
        await service.run_jobs()
        assert await service.status(student) == "enrolled"
        assert await service.published(student) == ["enrolled"]

    async def test_retries_a_refused_enrollment(self, service: Service, sandbox: Sandbox) -> None:
        student = Student(BARBER)
        await service.deliver(student.paid())
        sandbox.faults({"kind": "status", "status": 403, "requests": 1})
        await service.run_jobs()
        assert await service.status(student) == "failed"
        await assign(service.database, "milady-integration", ADMIN, student.id)
        body = {"studentId": str(student.id), "programId": BARBER.slug}
        assert (await service.call("POST", self.PATH, role="case_manager", json=body)).json()["status"] == "wanted"
        await service.run_jobs()
        assert sandbox.enrollments(student.id) == ["active"]

    async def test_refuses_an_enrollment_that_is_not_paid_for(self, service: Service, sandbox: Sandbox) -> None:
        started, pending, refunded = Student(BARBER), Student(BARBER), Student(BARBER)
        await service.deliver(started.starts(), pending.pending(), refunded.paid(), refunded.refunded())
        for student in (started, pending, refunded):
            await assign(service.database, "milady-integration", ADMIN, student.id)
            body = {"studentId": str(student.id), "programId": BARBER.slug}
            response = await service.call("POST", self.PATH, role="case_manager", json=body)
            assert (response.status_code, response.json()["code"]) == (409, "not_paid")
        await service.run_jobs()
        assert [sandbox.enrollments(student.id) for student in (started, pending, refunded)] == [[], [], []]

    async def test_unknown_programs_and_enrollments_are_a_404(self, service: Service) -> None:
        student = Student(new_program(provider=None))
        await service.deliver(student.paid())
        for body, code in (
            ({"studentId": str(student.id), "programId": student.program.slug}, "unknown_program"),
            ({"studentId": str(student.id), "programId": BARBER.slug}, "unknown_enrollment"),
            ({"studentId": "somebody", "programId": "nothing"}, "unknown_program"),
        ):
            response = await service.call("POST", self.PATH, role="case_manager", json=body)
            assert (response.status_code, response.json()["code"]) == (404, code)
        invalid = await service.call("POST", self.PATH, role="case_manager", json={"studentId": ""})
        assert invalid.status_code == 422

    async def test_of_another_case_managers_student_nothing_is_found(self, service: Service) -> None:
        student = Student(BARBER)
        await service.deliver(student.paid())
        await assign(service.database, "milady-integration", uuid4(), student.id)
        body = {"studentId": str(student.id), "programId": BARBER.slug}
        response = await service.call("POST", self.PATH, role="case_manager", json=body)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_enrollment")

    @pytest.mark.parametrize("role", ["student", "specialist"])
    async def test_is_for_staff(self, service: Service, role: str) -> None:
        response = await service.call("POST", self.PATH, role=role, json={"studentId": "s", "programId": "p"})
        assert response.status_code == 403


@pytest.mark.parametrize("role", ["student", "specialist", "case_manager"])
async def test_only_admins_manage_enrollments(service: Service, role: str) -> None:
    for method, path in (
        ("GET", f"{ADMIN_API}/export.csv"),
        ("POST", f"{ADMIN_API}/confirm"),
        ("POST", f"{ADMIN_API}/retry"),
        ("PUT", f"{ADMIN_API}/programs/x"),
    ):
        sent = {"studentId": "s", "programSlug": "p", "miladyEnrollmentId": "m", "title": "t"}
        assert (await service.call(method, path, role=role, json=sent)).status_code == 403, path
    listed = await service.call("GET", f"{ADMIN_API}/programs", role=role)
    assert listed.status_code == (
        200 if role == "case_manager" else 403
    )  # the detail of auto-enroll's 404 refers to it


async def test_staff_see_failures_and_attempts(service: Service, sandbox: Sandbox) -> None:
    program = new_program()
    unavailable, refused = Student(program), Student(program)
    await service.deliver(refused.paid())
    sandbox.faults({"kind": "status", "status": 422})
    await service.run_jobs()
    sandbox.faults({"kind": "status", "status": 503})
    await service.deliver(unavailable.paid())
    await service.run_jobs(rounds=2)
    path = f"{ADMIN_API}/enrollments?program_slug={program.slug}"
    assert (await service.call("GET", path, role="case_manager")).json()["items"] == [], "not in the caseload"
    await assign(service.database, "milady-integration", ADMIN, refused.id, unavailable.id)
    items = (await service.call("GET", path, role="case_manager")).json()["items"]
    found = {item["student_id"]: item for item in items}
    assert (found[str(refused.id)]["status"], found[str(refused.id)]["failure"]) == ("failed", "ordered_fault")
    waiting = found[str(unavailable.id)]
    assert (waiting["status"], waiting["step"], waiting["attempts"]) == ("wanted", "enroll", 2)
    assert waiting["last_error"] == "ProviderError: HTTP 503"
    failed = (await service.call("GET", f"{path}&status=failed")).json()["items"]
    assert [item["student_id"] for item in failed] == [str(refused.id)]


async def test_programs_are_listed_and_changed(service: Service) -> None:
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


async def test_the_login_of_the_api_reads_and_updates_only_permitted_rows(service: Service) -> None:
    program = new_program()
    me, _other = await enrolled(service, program), await enrolled(service, program)
    api = api_database(service.server)
    slug = {"slug": program.slug}
    change = text("UPDATE provider_enrollments SET reason = 'changed' WHERE program_slug = :slug")

    async def count(student_id: object, role: str) -> list[int]:
        async with api.transaction_of(student_id=student_id, role=role) as db:  # type: ignore[arg-type]
            return [
                (await db.execute(text(f"SELECT count(*) FROM {t} WHERE program_slug = :slug"), slug)).scalar_one()
                for t in ("enrollments", "provider_enrollments")
            ]

    try:
        assert await count(None, "") == [0, 0]
        assert await count(me.id, "student") == [1, 1]
        assert await count(ADMIN, "specialist") == [0, 0]
        assert await count(ADMIN, "admin") == [2, 2]
        assert await count(ADMIN, "case_manager") == [0, 0]
        await assign(service.database, "milady-integration", ADMIN, me.id)
        assert await count(ADMIN, "case_manager") == [1, 1]
        async with api.transaction_of(student_id=me.id, role="student") as db:
            assert (await db.execute(change, slug)).rowcount == 0, "a student updates nothing, not even their own"
        for forbidden in (
            "UPDATE enrollments SET desired_state = NULL",
            "DELETE FROM facts",
            "DELETE FROM provider_enrollments",
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
        await by_hand.deliver(student.paid(), gone.paid(), gone.refunded())
        await by_hand.run_jobs()
        assert [await by_hand.status(s) for s in (student, gone)] == ["manual", "withdrawn"]
        assert await self._exported(by_hand, "enroll", program) == [str(student.id)]

        request = {"studentId": str(student.id), "programSlug": program.slug}
        missing = await by_hand.call("POST", f"{ADMIN_API}/confirm", json=request)
        assert missing.status_code == 422
        link = {"title": "Course", "url": "https://milady.test/c"}
        confirmed = {**request, "miladyEnrollmentId": "CIMA-77", "links": [link]}
        for _ in range(2):
            response = await by_hand.call("POST", f"{ADMIN_API}/confirm", json=confirmed)
            assert (response.status_code, response.json()["status"]) == (200, "enrolled"), response.text
        other = await by_hand.call("POST", f"{ADMIN_API}/confirm", json={**request, "miladyEnrollmentId": "CIMA-78"})
        assert (other.status_code, other.json()["code"]) == (409, "already_enrolled")
        assert (await by_hand.provider_enrollment(student))["links"] == [link]
        assert await self._exported(by_hand, "enroll", program) == []

        early = await by_hand.call("POST", f"{ADMIN_API}/confirm", json={**request, "withdrawn": True})
        assert (early.status_code, early.json()["code"]) == (409, "not_withdrawn")
        await by_hand.deliver(student.refunded())
        assert await by_hand.status(student) == "enrolled", "until an admin has confirmed the withdrawal"
        assert await self._exported(by_hand, "withdraw", program) == [str(student.id)]
        done = await by_hand.call("POST", f"{ADMIN_API}/confirm", json={**request, "withdrawn": True})
        assert done.json()["status"] == "withdrawn"
        assert await by_hand.published(student) == ["enrolled", "withdrawn"]
        assert await self._exported(by_hand, "withdraw", program) == []
        assert sandbox.requests() == []

    async def test_an_unknown_enrollment_cannot_be_confirmed(self, by_hand: Service) -> None:
        body = {"studentId": str(uuid4()), "programSlug": "barber-apprenticeship", "miladyEnrollmentId": "x"}
        response = await by_hand.call("POST", f"{ADMIN_API}/confirm", json=body)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_enrollment")

    async def test_the_export_has_the_contact_of_a_sponsored_student(self, by_hand: Service) -> None:
        student = Student(new_program())
        contact = Contact(email="ann@example.org", name="Ann Student")
        await by_hand.deliver(student.paid(payer="sponsor"), StudentUpdated(student_id=student.id, contact=contact))
        response = await by_hand.call("GET", f"{ADMIN_API}/export.csv")
        (row,) = [r for r in csv.DictReader(io.StringIO(response.text)) if r["student_ref"] == str(student.id)]
        assert (row["name"], row["email"]) == ("Ann Student", "ann@example.org")

    async def test_the_export_contains_no_formula(self, by_hand: Service) -> None:
        program = new_program()
        student = Student(program, contact=Contact(email="+1@x.org", name='=HYPERLINK("http://evil","x")\r\n@SUM(1)'))
        await by_hand.deliver(student.paid())
        response = await by_hand.call("GET", f"{ADMIN_API}/export.csv")
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        assert response.headers["cache-control"] == "no-store"
        (row,) = [r for r in csv.DictReader(io.StringIO(response.text)) if r["student_ref"] == str(student.id)]
        assert row["name"] == '\'=HYPERLINK("http://evil","x")  @SUM(1)'
        assert row["email"] == "'+1@x.org"

    async def test_steps_from_before_the_switch_are_left_to_an_admin(
        self, service: Service, by_hand: Service, sandbox: Sandbox
    ) -> None:
        fresh, doubtful = Student(new_program()), Student(new_program())
        await service.deliver(doubtful.paid())
        sandbox.faults({"kind": "acts_then_times_out", "seconds": 0, "requests": 1})
        await service.run_jobs(rounds=1)
        await service.deliver(fresh.paid())
        await by_hand.run_jobs()
        assert await by_hand.status(fresh) == "manual"
        assert (await by_hand.provider_enrollment(doubtful))["failure"] == "handed_over", (
            "an admin has to check what Milady has done"
        )

    async def test_a_retry_with_an_api_takes_over_a_manual_enrollment(
        self, service: Service, by_hand: Service, sandbox: Sandbox
    ) -> None:
        student = Student(new_program())
        await by_hand.deliver(student.paid())
        await service.call("POST", f"{ADMIN_API}/retry", json={"studentId": str(student.id)})
        await service.run_jobs()
        assert sandbox.enrollments(student.id) == ["active"]

    @staticmethod
    async def _exported(service: Service, action: str, program: Program) -> list[str]:
        response = await service.call("GET", f"{ADMIN_API}/export.csv?action={action}")
        rows = csv.DictReader(io.StringIO(response.text))
        return [row["student_ref"] for row in rows if row["program_slug"] == program.slug]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "  =1", "\t=1", "\r=1", "\n=1", "|x", "＝1"])
def test_a_formula_is_escaped(cell: str) -> None:
    assert escape_formula(cell).startswith("'")
    assert not set(escape_formula(cell)) & set("\t\r\n")


@pytest.mark.parametrize("cell", ["Sam Student", "sam@example.org", "O'Neil", "Ann-Marie", ""])
def test_a_name_is_not_changed(cell: str) -> None:
    assert escape_formula(cell) == cell
