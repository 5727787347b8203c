"""`python -m enrollment refold`: after a change of the policy, the rows are those that a new service would have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.databases import empty
from tests.deliveries import deliver, envelope
from tests.enrollment.conftest import TABLES
from tests.enrollment.harness import PAYMENTS, TRACK, Buyer, Service
from tests.ledger.payment_histories import wide_histories

from contracts.payments import PaymentDisputeClosed, PaymentEvent
from contracts.people import Program
from enrollment import consumers
from enrollment.projection import enrollments_of
from kit.messaging.refold import refold
from ledger.policy import Policy
from testkit import postgres_server as pg

ROWS = (
    "SELECT id, student_id, program_slug, status, reason, payment_status, purchase_id, tier, enrolled_at "
    "FROM enrollments ORDER BY id"
)
POLICIES = st.builds(
    Policy,
    past_due_pauses=st.booleans(),
    full_refund_withdraws=st.booleans(),
    full_refund_percent=st.sampled_from([20, 50, 95, 100]),
    lost_dispute_withdraws=st.booleans(),
)


@given(wide_histories(), POLICIES, POLICIES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
async def test_the_rows_are_those_of_a_new_service(
    service: Service, facts: dict[str, PaymentEvent], before: Policy, after: Policy
) -> None:
    events = [envelope(event_id, event) for event_id, event in facts.items()]

    async def received(policy: Policy) -> None:
        async with service.database.transaction() as db:
            await empty(db, *TABLES)
        for event in events:
            await deliver(service.database, consumers.payments(policy), "enrollment", event)

    await received(after)
    expected = await service.rows(ROWS)
    await received(before)
    result = await refold(service.database, enrollments_of(after).apply_all, service="enrollment")
    assert await service.rows(ROWS) == expected
    assert not result.failed
    again = await refold(service.database, enrollments_of(after).apply_all, service="enrollment")
    assert (again.groups, again.rows, again.events) == (result.groups, 0, 0)


def _lost(buyer: Buyer) -> PaymentEvent:
    refs = buyer.paid().refs
    return PaymentDisputeClosed.model_validate(
        {"refs": refs, "dispute_id": f"du_{buyer.purchase_id}", "status": "lost", "reason": "fraudulent"}
        | {"amount": buyer.price}
    )


def _refold(database: pg.Database, policy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As an operator runs it."""
    environment = os.environ | {
        "DATABASE_URL": database.url,
        "AMQP_URL": "amqp://nobody@127.0.0.1:1/",
        "POLICY_FILE": str(policy),
    }
    command = [sys.executable, "-m", "enrollment", "refold", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_the_command_refolds_one_student_one_program_or_all(
    service: Service, enrollment_database: pg.Database, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("lost_dispute_withdraws = false")
    other = Program(slug=f"cpr_{uuid4().hex[:6]}", id="item-9", kind="course")
    buyers = [Buyer(), Buyer(program=other), Buyer(), Buyer()]
    for buyer in buyers:
        for event in (buyer.paid(), _lost(buyer)):
            await deliver(service.database, PAYMENTS, "enrollment", envelope(f"evt_{uuid4()}/{event.type}", event))

    async def open_to() -> list[Buyer]:
        rows: list[dict[str, Any]] = await service.rows("SELECT student_id FROM enrollments WHERE status = 'active'")
        return [buyer for buyer in buyers if buyer.id in {row["student_id"] for row in rows}]

    assert await open_to() == []
    ran = _refold(enrollment_database, policy, "--student", str(buyers[0].id))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("enrollment: groups read: 1, rows changed: 1, events to publish: 1\n")
    assert await open_to() == buyers[:1]
    assert "rows changed: 1" in _refold(enrollment_database, policy, "--program", other.slug).stdout
    assert await open_to() == buyers[:2]
    one = ("--student", str(buyers[2].id), "--program", TRACK.slug)
    assert "rows changed: 1" in _refold(enrollment_database, policy, *one).stdout
    assert await open_to() == buyers[:3]
    assert "groups read: 4, rows changed: 1," in _refold(enrollment_database, policy, "--all").stdout
    assert await open_to() == buyers
    assert "rows changed: 0, events to publish: 0" in _refold(enrollment_database, policy, "--all").stdout


@pytest.mark.parametrize("arguments", [(), ("--all", "--program", "x"), ("--student", "ada")])
def test_what_is_refolded_has_to_be_stated(
    enrollment_database: pg.Database, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert _refold(enrollment_database, tmp_path / "none", *arguments).returncode == 2
