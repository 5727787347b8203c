"""Contacts of students who have never signed in: staff add them."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.checkout.service import CASE_MANAGER, Service, bearer


def path(student: object) -> str:
    return f"/api/admin/students/{student}/contact"


async def put(service: Service, student: UUID, *, role: str = "admin", **body: Any) -> Any:
    return await service.call("PUT", path(student), json=body, headers=bearer(role, CASE_MANAGER))


@pytest.mark.parametrize("role", ["case_manager", "admin"])
async def test_staff_add_a_contact(service: Service, role: str) -> None:
    student = uuid4()
    await service.assign(student)
    answer = await put(service, student, role=role, email="ada@example.org", name="Ada Lovelace")
    assert (answer.status_code, answer.json()) == (200, {"email": "ada@example.org", "name": "Ada Lovelace"})
    (event,) = await service.published(student, "student.updated.v1")
    assert event["contact"] == {"email": "ada@example.org", "name": "Ada Lovelace"}


async def test_the_same_contact_again_is_no_event(service: Service) -> None:
    student = uuid4()
    for _ in range(2):
        assert (await put(service, student, email="ada@example.org", name="Ada")).status_code == 200
    assert len(await service.published(student, "student.updated.v1")) == 1


async def test_a_new_address_keeps_the_name(service: Service) -> None:
    student = uuid4()
    await put(service, student, email="ada@example.org", name="Ada")
    answer = await put(service, student, email="lovelace@example.org")
    assert answer.json() == {"email": "lovelace@example.org", "name": "Ada"}
    events = await service.published(student, "student.updated.v1")
    assert events[-1]["contact"] == {"email": "lovelace@example.org", "name": "Ada"}


@pytest.mark.parametrize(("role", "status"), [("student", 403), ("specialist", 403)])
async def test_nobody_else_may(service: Service, role: str, status: int) -> None:
    student = uuid4()
    answer = await service.call("PUT", path(student), json={"email": "a@b.example"}, headers=bearer(role, student))
    assert (answer.status_code, answer.json()["code"]) == (status, "forbidden")
    assert await service.rows("SELECT 1 FROM contacts WHERE student_id = :id", id=student) == []
    assert (await service.call("PUT", path(student), json={"email": "a@b.example"})).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "not an address"},
        {"email": "ada@example.org", "name": ""},
        {"email": "ada@example.org", "name": "  "},
        {"email": "ada@example.org", "name": "Ada\nBcc: all@example.org"},
        {"email": "ada@example.org", "name": "Ada\x00"},
        {"email": "ada@example.org", "name": "A" * 201},
        {"email": "ada@example.org", "nmae": "Ada"},
        {"email": f"{'a' * 250}@example.org"},
    ],
)
async def test_an_invalid_contact_is_refused(service: Service, body: dict[str, Any]) -> None:
    answer = await put(service, uuid4(), **body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_an_invalid_id_is_refused(service: Service) -> None:
    answer = await service.call("PUT", path("7"), json={"email": "a@b.example"}, headers=bearer("admin", uuid4()))
    assert answer.status_code == 422


async def search(service: Service, email: str, *, role: str = "admin") -> Any:
    return await search_by(service, role=role, email=email)


async def search_by(service: Service, *, role: str = "admin", **body: str) -> Any:
    return await service.call("POST", "/api/admin/students/search", json=body, headers=bearer(role, uuid4()))


async def test_an_admin_finds_students_by_address(service: Service) -> None:
    students, address = sorted((uuid4(), uuid4()), key=str), f"{uuid4().hex}@example.org"
    for student in students:
        await put(service, student, email=address)
    answer = await search(service, address.upper())
    assert answer.json() == {
        "items": [{"student_id": str(student), "name": None} for student in students],
        "next": None,
    }
    assert (await search(service, f"x{address}")).json()["items"] == []


async def test_an_admin_finds_students_by_a_part_of_the_name(service: Service) -> None:
    student, other, part = uuid4(), uuid4(), uuid4().hex
    await put(service, student, email="kim@example.org", name=f"Kim Q{part}_%")
    await put(service, other, email="lee@example.org", name=f"Lee Q{part}x")
    found = (await search_by(service, name=f"q{part}_".upper())).json()["items"]
    assert found == [{"student_id": str(student), "name": f"Kim Q{part}_%"}]
    assert len((await search_by(service, name=f"q{part}")).json()["items"]) == 2


@pytest.mark.parametrize("body", [{}, {"name": "K"}, {"name": "Kim\x00"}, {"name": "Kim", "email": "kim@example.org"}])
async def test_a_search_has_one_criterion(service: Service, body: dict[str, str]) -> None:
    assert (await search_by(service, **body)).status_code == 422


@pytest.mark.parametrize("role", ["student", "specialist", "case_manager"])
async def test_nobody_else_searches(service: Service, role: str) -> None:
    assert (await search(service, "ada@example.org", role=role)).status_code == 403
