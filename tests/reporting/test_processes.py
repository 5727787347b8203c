"""The service in its own process, with a real broker: what every service publishes is recorded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.databases import logins
from tests.processes import RunningRole
from tests.reporting.harness import ADMIN, Service, act
from tests.tokens import bearer
from tests.waiting import until

from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from kit.messaging.broker import Publisher
from kit.messaging.outbox import to_message
from testkit.processes import stop_all, wait_all_ready
from testkit.rabbit_server import RabbitServer


@pytest.mark.usefixtures("no_old_messages")
async def test_what_is_published_is_recorded_and_the_chain_is_verified_by_command(
    service: Service, rabbit_server: RabbitServer, tmp_path: Path
) -> None:
    env = {**logins(service.logins), "AMQP_URL": rabbit_server.url}
    running = [RunningRole("reporting", "all", env, log=tmp_path / f"{number}.log") for number in range(2)]
    publisher = Publisher(rabbit_server.url, name="tests")
    purchase = uuid4()
    paid = PaymentSucceeded(refs=PaymentRefs(payment_intent="pi_1234"), purchase_id=purchase, amount=usd(1))
    try:
        wait_all_ready([role.start() for role in running])
        later = type("CourseReviewed", (PaymentSucceeded,), {"type": "course.reviewed.v7"})  # of a later version
        unknown = later(**paid.model_dump())
        sent = [
            service.envelope(paid),
            service.envelope(unknown),
            *(service.audited(act(purchase_id=purchase)) for _ in range(120)),
        ]
        await asyncio.gather(*(publisher.publish(to_message(event)) for event in [*sent, *sent]))

        async def all_recorded() -> bool:
            (counted,) = await service.as_owner("SELECT count(*) FROM events")
            return bool(counted["count"] == len(sent))

        await until(all_recorded)
        async with httpx.AsyncClient(base_url=running[0].url, headers=bearer(ADMIN, "admin"), trust_env=False) as http:
            found = (await http.get(f"/api/admin/purchases/{purchase}/timeline")).json()
            assert len(found["events"]) == len(sent)
            assert found["events"][1]["type"] == "course.reviewed.v7"
            assert found["events"][1]["data"]["amount"] == {"amount": 1, "currency": "usd"}
            verified = (await http.get("/api/admin/audit/verify")).json()
            assert (verified["holds"], verified["records"]) == (True, 120)
    finally:
        stop_all(running)
        await publisher.close()

    def verify() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "reporting", "verify-audit"]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    held = await asyncio.to_thread(verify)
    assert (held.returncode, held.stdout) == (
        0,
        f"120 audit records hold; the last hash is {verified['hash']}\n",
    )
    await service.as_owner("DELETE FROM audit_records WHERE position = 60")
    broken = await asyncio.to_thread(verify)
    assert (broken.returncode, broken.stdout) == (1, "broken at record 60: record 60 is missing\n")
