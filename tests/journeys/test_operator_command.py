"""`bursar` beside a running system: what it prints, and how it exits."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.journeys.harness import School, unique
from tests.waiting import until

from bursar.verification import SERVICES
from devstack.stack import Stack


async def bursar(stack: Stack, *arguments: str, columns: int = 200) -> tuple[int, str]:
    """The exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("bursar"),
        *arguments,
        env={**os.environ, "BURSAR_STACK": str(stack.description), "COLUMNS": str(columns)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def as_json(stack: Stack, *arguments: str) -> Any:
    code, output = await bursar(stack, *arguments, "--json")
    assert code == 0, output
    return json.loads(output)


async def test_the_timeline_of_a_purchase_names_every_hop(school: School) -> None:
    student = school.student()
    await student.buys()
    await student.milady_becomes("enrolled")
    await student.mailed("receipt")
    enrollment = await student.enrollment_becomes("active")
    purchase = enrollment["purchase_id"]

    async def complete() -> str | None:
        code, output = await bursar(school.stack, "timeline", purchase, "--all")
        wanted = ("payment.succeeded.v1", "enrollment.activated.v1", "milady.enrolled.v1", "notification.sent.v1")
        return output if code == 0 and all(type_ in output for type_ in wanted) else None

    printed = await until(complete, seconds=30, what="the timeline")
    assert str(student.person.email) not in printed
    found = await as_json(school.stack, "timeline", purchase)
    times = [datetime.fromisoformat(event["time"]) for event in found["events"]]
    assert times == sorted(times)


async def test_who_created_a_promotion_is_an_audit_record(school: School) -> None:
    admin = school.staff("admin")
    body = {"code": unique("AUDIT").upper(), "percent_off": 10}
    answer = await admin.post("checkout", "/api/admin/promotions", body)
    assert answer.is_success, answer.text

    async def recorded() -> list[Any] | None:
        return await as_json(school.stack, "audit", "--actor", str(admin.id)) or None

    (record,) = await until(recorded, seconds=30, what="the audit record")
    assert (record["action"], record["service"]) == ("promotion.created", "checkout")
    assert (await bursar(school.stack, "verify-audit"))[0] == 0


async def test_doctor_asks_every_process(school: School) -> None:
    code, output = await bursar(school.stack, "doctor")
    findings = json.loads((await bursar(school.stack, "doctor", "--json"))[1])
    asked = {finding["subject"] for finding in findings if finding["process"] == "notifications"}
    assert {"mail server", "clock", "relay.broker", "consumers.consumers"} <= asked
    wrong = {(each["process"], each["subject"]) for each in findings if each["outcome"] != "ok"}
    assert code == (1 if wrong else 0), output
    assert not [each for each in wrong if each[1] != "bursar_queue_messages"], output


async def test_the_invariant_holds_for_a_student_who_has_paid(school: School) -> None:
    student = school.student()
    await student.buys()
    await student.mailed("receipt")
    found = await as_json(school.stack, "verify", "--student", str(student.id))
    assert (found["holds"], found["invariant"]["students"], found["invariant"]["items"]) == (True, 1, [])


async def test_the_rows_of_every_service_are_those_of_their_facts(school: School) -> None:
    """Also those that the other journeys have left."""
    student = school.student()
    await student.buys()
    await student.mailed("receipt")
    _, output = await bursar(school.stack, "verify", "--json")
    found = json.loads(output)
    assert found["invariant"]["students"] > 0
    assert found["services"].keys() == set(SERVICES)
    assert {name: each["differences"] for name, each in found["services"].items() if not each["holds"]} == {}


async def test_the_chain_of_audit_records_holds(school: School) -> None:
    assert (await as_json(school.stack, "verify-audit"))["holds"] is True


async def test_errors_are_one_line(school: School, tmp_path: Path) -> None:
    code, output = await bursar(school.stack, "timeline", "../../admin")
    assert code == 1
    assert output.startswith("bursar: reporting: ")
    code, output = await bursar(school.stack, "--stack", str(tmp_path / "none.json"), "doctor")
    assert (code, len(output.splitlines())) == (2, 1), output
