"""The provider's sandbox keeps its own promises. (Its faults are proved with the client, over a real connection.)"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import httpx
import pytest

import milady_sandbox

WANTED = {"student_ref": "s-1", "program": "barber", "course_ids": ["milady-barber-practice"], "name": "Sam"}


async def enroll(sandbox: httpx.AsyncClient, key: str = "k", **other: Any) -> httpx.Response:
    return await sandbox.post("/v1/enrollments", json={**WANTED, **other}, headers={"Idempotency-Key": key})


async def test_an_enrollment_can_be_opened_read_listed_and_ended(sandbox: httpx.AsyncClient) -> None:
    opened = (await enroll(sandbox)).json()
    assert opened["links"] == [
        {
            "title": "Standard Barbering: Practical Skills",
            "url": f"https://milady.test/learn/{opened['id']}/milady-barber-practice",
        }
    ]
    assert (await sandbox.get(f"/v1/enrollments/{opened['id']}")).json() == opened
    assert (await sandbox.get("/v1/enrollments?student_ref=s-1")).json() == {"items": [opened]}
    assert (await sandbox.get("/v1/enrollments?student_ref=s-2")).json() == {"items": []}
    first = (await sandbox.post(f"/v1/enrollments/{opened['id']}/withdraw")).json()
    again = (await sandbox.post(f"/v1/enrollments/{opened['id']}/withdraw")).json()
    assert first == again
    assert (first["status"], first["links"]) == ("withdrawn", [])


async def test_one_key_is_one_enrollment(sandbox: httpx.AsyncClient) -> None:
    first, again = await enroll(sandbox), await enroll(sandbox)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = await enroll(sandbox, name="Other")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert (await enroll(sandbox, key="k2")).json()["id"] != first.json()["id"]


async def test_a_refusal_leaves_its_key_free(sandbox: httpx.AsyncClient) -> None:
    refused = await enroll(sandbox, course_ids=["unheard-of"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "unknown_course")
    assert (await enroll(sandbox)).status_code == 201


@pytest.mark.parametrize("wrong", [{"student_ref": ""}, {"email": "nobody"}, {"more": 1}, {"course_ids": "x"}])
async def test_what_does_not_fit_is_refused(sandbox: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    answer = await enroll(sandbox, **wrong)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


async def test_the_key_to_the_api_and_the_idempotency_key_are_needed(sandbox: httpx.AsyncClient) -> None:
    for header in (b"Bearer wrong", b"key", b"", b"Bearer k\xe9"):
        answer = await sandbox.get("/v1/courses", headers={b"Authorization": header})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
    missing = await sandbox.post("/v1/enrollments", json=WANTED)
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "idempotency_key_missing")
    assert (await sandbox.get("/v1/enrollments/nobody")).status_code == 404


async def test_faults_last_as_ordered_and_can_be_cleared(sandbox: httpx.AsyncClient) -> None:
    order = {"faults": [{"kind": "status", "status": 503, "requests": 2}, {"kind": "rate_limit", "methods": ["GET"]}]}
    assert (await sandbox.put("/sandbox/api/faults", json=order)).status_code == 200
    statuses = [(await sandbox.get("/v1/courses")).status_code for _ in range(4)]
    assert statuses == [503, 503, 429, 429]
    assert (await enroll(sandbox)).status_code == 201, "only GET is limited"
    assert [f["kind"] for f in (await sandbox.get("/sandbox/api/faults")).json()["faults"]] == ["rate_limit"]
    await sandbox.put("/sandbox/api/faults", json={"faults": []})
    assert (await sandbox.get("/v1/courses")).status_code == 200
    assert (await sandbox.put("/sandbox/api/faults", json={"faults": [{"kind": "meteor"}]})).status_code == 422


async def test_what_happened_can_be_seen_and_forgotten(sandbox: httpx.AsyncClient) -> None:
    opened = (await enroll(sandbox)).json()
    (seen,) = (await sandbox.get("/sandbox/api/requests")).json()["items"]
    assert (seen["method"], seen["idempotency_key"], seen["status"]) == ("POST", "k", 201)
    (enrollment,) = (await sandbox.get("/sandbox/api/enrollments")).json()["items"]
    assert (enrollment["id"], enrollment["name"]) == (opened["id"], "Sam")
    assert (await sandbox.post("/sandbox/api/reset")).status_code == 204
    assert (await sandbox.get("/sandbox/api/enrollments")).json() == {"items": []}


async def test_pages_for_people(sandbox: httpx.AsyncClient) -> None:
    opened = (await enroll(sandbox)).json()
    home = await sandbox.get("/")
    assert (home.status_code, home.headers["location"]) == (303, "/sandbox")
    assert "Milady sandbox" in (await sandbox.get("/sandbox")).text
    course = opened["links"][0]["url"].removeprefix("https://milady.test")
    assert "Practical Skills" in (await sandbox.get(course)).text
    assert (await sandbox.get(course + "x")).status_code == 404
    await sandbox.post(f"/v1/enrollments/{opened['id']}/withdraw")
    assert (await sandbox.get(course)).status_code == 403


def test_it_stands_alone() -> None:
    (folder,) = milady_sandbox.__path__
    for file in Path(folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"kit", "contracts", "milady_integration"}, file
