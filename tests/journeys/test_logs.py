"""The logs: no personal data, no secrets, no bodies, one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path

from tests.journeys.harness import School

from devstack.services import SERVICES


def logs(school: School) -> list[Path]:
    found = [school.stack.folder / "logs" / f"{service.package}.log" for service in SERVICES]
    assert all("started" in log.read_text() for log in found)
    return found


async def test_no_log_contains_personal_data_or_secrets(school: School) -> None:
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
        identity.jwt_private_key.splitlines()[1],
        identity.oidc_client_secret,
        identity.session_secret,
        identity.milady_api_key,
        identity.pay_link_secret,
    ]
    for log in logs(school):
        text = log.read_text()
        found = [word for word in forbidden if word in text]
        assert not found, f"{log.name} contains {found}"


async def test_every_line_of_a_service_log_is_a_json_object(school: School) -> None:
    for log in logs(school):
        for line in log.read_text().splitlines():
            record = json.loads(line)
            assert {"service", "role", "event", "level", "timestamp"} <= record.keys(), line
