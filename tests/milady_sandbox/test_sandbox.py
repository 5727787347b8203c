"""The milady sandbox. tests/milady_integration covers its faults over a real connection."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import httpx
import pytest

import milady_sandbox

ENROLLMENT = {"student_ref": "s-1", "program": "barber", "course_ids": ["milady-barber-practice"], "name": "Sam"}


async def enroll(sandbox: httpx.AsyncClient, key: str = "k", **other: Any) -> httpx.Response:
    return await sandbox.post("/v1/enrollments", json={**ENROLLMENT, **other}, headers={"Idempotency-Key": key})


async def test_an_enrollment_is_created_read_listed_and_withdrawn(sandbox: httpx.AsyncClient) -> None:
    created = (await enroll(sandbox)).json()
    assert created["links"] == [
        {
            "title": "Standard Barbering: Practical Skills",
            "url": f"https://milady.test/learn/{created['id']}/milady-barber-practice",
        }
    ]
    assert (await sandbox.get(f"/v1/enrollments/{created['id']}")).json() == created
    assert (await sandbox.get("/v1/enrollments?student_ref=s-1")).json() == {"items": [created]}
    assert (await sandbox.get("/v1/enrollments?student_ref=s-2")).json() == {"items": []}
    first = (await sandbox.post(f"/v1/enrollments/{created['id']}/withdraw")).json()
    again = (await sandbox.post(f"/v1/enrollments/{created['id']}/withdraw")).json()
    assert first == again
    assert (first["status"], first["links"]) == ("withdrawn", [])


async def test_a_key_creates_one_enrollment(sandbox: httpx.AsyncClient) -> None:
    first, again = await enroll(sandbox), await enroll(sandbox)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = await enroll(sandbox, name="Other")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert (await enroll(sandbox, key="k2")).json()["id"] != first.json()["id"]


async def test_a_rejected_request_releases_its_key(sandbox: httpx.AsyncClient) -> None:
    rejected = await enroll(sandbox, course_ids=["unknown"])
    assert (rejected.status_code, rejected.json()["error"]["code"]) == (422, "unknown_course")
    assert (await enroll(sandbox)).status_code == 201


@pytest.mark.parametrize("invalid", [{"student_ref": ""}, {"email": "nobody"}, {"more": 1}, {"course_ids": "x"}])
async def test_invalid_requests_are_rejected(sandbox: httpx.AsyncClient, invalid: dict[str, Any]) -> None:
    response = await enroll(sandbox, **invalid)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


async def test_the_bearer_key_and_the_idempotency_key_are_required(sandbox: httpx.AsyncClient) -> None:
    for header in (b"Bearer wrong", b"key", b"", b"Bearer k\xe9"):
        response = await sandbox.get("/v1/courses", headers={b"Authorization": header})
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
    missing = await sandbox.post("/v1/enrollments", json=ENROLLMENT)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "idempotency_key_missing")
    assert (await sandbox.get("/v1/enrollments/nobody")).status_code == 404


async def test_faults_affect_the_given_requests_and_can_be_cleared(sandbox: httpx.AsyncClient) -> None:
    faults = {"faults": [{"kind": "status", "status": 503, "requests": 2}, {"kind": "rate_limit", "methods": ["GET"]}]}
    assert (await sandbox.put("/sandbox/api/faults", json=faults)).status_code == 200
    statuses = [(await sandbox.get("/v1/courses")).status_code for _ in range(4)]
    assert statuses == [503, 503, 429, 429]
    assert (await enroll(sandbox)).status_code == 201, "only GET is limited"
    assert [f["kind"] for f in (await sandbox.get("/sandbox/api/faults")).json()["faults"]] == ["rate_limit"]
    await sandbox.put("/sandbox/api/faults", json={"faults": []})
    assert (await sandbox.get("/v1/courses")).status_code == 200
    assert (await sandbox.put("/sandbox/api/faults", json={"faults": [{"kind": "meteor"}]})).status_code == 422


async def test_requests_and_enrollments_are_listed_and_reset(sandbox: httpx.AsyncClient) -> None:
    created = (await enroll(sandbox)).json()
    (sent,) = (await sandbox.get("/sandbox/api/requests")).json()["items"]
    assert (sent["method"], sent["idempotency_key"], sent["status"]) == ("POST", "k", 201)
    (enrollment,) = (await sandbox.get("/sandbox/api/enrollments")).json()["items"]
    assert (enrollment["id"], enrollment["name"]) == (created["id"], "Sam")
    assert (await sandbox.post("/sandbox/api/reset")).status_code == 204
    assert (await sandbox.get("/sandbox/api/enrollments")).json() == {"items": []}


async def test_pages(sandbox: httpx.AsyncClient) -> None:
    created = (await enroll(sandbox)).json()
    home = await sandbox.get("/")
    assert (home.status_code, home.headers["location"]) == (303, "/sandbox")
    assert "Milady sandbox" in (await sandbox.get("/sandbox")).text
    course = created["links"][0]["url"].removeprefix("https://milady.test")
    assert "Practical Skills" in (await sandbox.get(course)).text
    assert (await sandbox.get(course + "x")).status_code == 404
    await sandbox.post(f"/v1/enrollments/{created['id']}/withdraw")
    assert (await sandbox.get(course)).status_code == 403


def test_it_imports_no_other_part() -> None:
    (folder,) = milady_sandbox.__path__
    for file in Path(folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"kit", "contracts", "milady_integration"}, file
