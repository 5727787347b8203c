"""What the processes print: no personal data, no secrets, no bodies."""

from __future__ import annotations

import json

from tests.journeys.school import School


async def test_nobody_is_named_in_any_log(school: School) -> None:
    student = school.student("Wilhelmina Unmistakable")
    await student.pay(await student.checkout(), card="4000000000000002")
    await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")
    await student.mailed("welcome", "receipt")
    identity = school.stack.identity
    forbidden = [
        "Unmistakable",
        student.person.email,
        "@example.com",
        identity.stripe_api_key,
        identity.stripe_webhook_secret,
        identity.jwt_secret,
        identity.milady_api_key,
    ]
    services = [log for log in (school.stack.folder / "logs").glob("*.log") if "sandbox" not in log.name]
    assert len(services) > 15
    for log in services:
        written = log.read_text()
        found = [word for word in forbidden if word in written]
        assert not found, f"{log.name} says {found}"


async def test_every_line_of_a_service_is_one_json_object(school: School) -> None:
    for log in (school.stack.folder / "logs").glob("*.log"):
        if "sandbox" in log.name or log.name.endswith(".migrate.log"):
            continue
        for line in log.read_text().splitlines():
            told = json.loads(line)
            assert {"service", "role", "event", "level", "timestamp"} <= told.keys(), line
