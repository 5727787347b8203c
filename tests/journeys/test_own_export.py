"""A student reads what every service with rows of theirs stores about them, and nobody else's."""

from __future__ import annotations

from tests.journeys.harness import School

SERVICES = ("checkout", "enrollment", "instructor_assignment", "milady_integration", "notifications")


async def test_every_service_returns_a_students_own_rows(school: School) -> None:
    student, other = school.student(), school.student("Somebody Else")
    for each in (student, other):
        await each.buys()
    for each in (student, other):
        await each.mailed("receipt")
        await each.enrollment_becomes("active")
    found = {service: await student.get(service, "/api/me/export") for service in SERVICES}
    assert {each["student_id"] for each in found.values()} == {str(student.id)}
    assert str(other.id) not in str(found)
    assert str(other.person.email) not in str(found)
    tables = found["checkout"]["tables"]
    assert len(tables["purchases"]) == 1 and tables["payments"] and tables["documents"]
    assert len(found["enrollment"]["tables"]["enrollments"]) == 1
    for service, each in found.items():
        assert "facts" in each["omitted"], service
