"""Stripe delivers nothing for a while: what it lists is restored, and everything happens once."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from tests.journeys.harness import School, count


async def set_endpoint(school: School, *, disabled: bool) -> None:
    (endpoint,) = (await school.stripe_api("/webhook_endpoints"))["data"]
    answer = await school.http.post(
        f"{school.stack.url('stripe_sandbox')}/v1/webhook_endpoints/{endpoint['id']}",
        headers={"Authorization": f"Bearer {school.stack.identity.stripe_api_key}"},
        data={"disabled": str(disabled).lower()},
    )
    assert answer.is_success, answer.text


@asynccontextmanager
async def endpoint_off(school: School) -> AsyncIterator[None]:
    await set_endpoint(school, disabled=True)
    try:
        yield
    finally:
        await set_endpoint(school, disabled=False)


async def reconcile(school: School) -> int:
    """Runs the operator's command. Returns how many events it has restored; the reconciler runs beside it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "webhook_gateway", "reconcile", "--since", (datetime.now(UTC) - timedelta(hours=1)).isoformat()),
        env=school.stack.processes["webhook_gateway"].command.env,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    found = re.search(r"restored: (\d+)", output.decode())
    assert found, output.decode()
    return int(found[1])


async def fetched(school: School) -> int:
    """How many events of the journal were not delivered."""
    connection = await asyncpg.connect(school.stack.databases["webhook_gateway"].url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM journal_events WHERE source = 'fetched'"))
    finally:
        await connection.close()


async def test_what_was_paid_while_the_endpoint_was_off_is_restored_once(school: School) -> None:
    card, debit, plan, refunded, disputed = students = [school.student() for _ in range(5)]
    before = await fetched(school)
    async with endpoint_off(school):
        await card.buys()
        paid = await debit.buys("dsp", method="us_bank_account")
        await school.stripe(f"/payment_intents/{paid['payment_intent']}/settle")
        await plan.buys("hvac", "plan")
        charge = await charge_of(school, await refunded.buys("dsp"))
        await school.stripe(f"/charges/{charge}/refund", {})
        charge = await charge_of(school, await disputed.buys("cpr"))
        await school.stripe(f"/disputes/{(await school.stripe(f'/charges/{charge}/dispute', {}))['id']}/close", LOST)
    await reconcile(school)
    assert await fetched(school) >= before + 10
    await card.enrollment_becomes("active")
    await card.milady_becomes("enrolled")
    await card.instructor_assigned()
    await debit.enrollment_becomes("active", "dsp")
    await plan.enrollment_becomes("active", "hvac")
    await refunded.enrollment_becomes("withdrawn", "dsp")
    await disputed.enrollment_becomes("withdrawn", "cpr")
    for student in (card, debit, plan):
        await student.mailed("welcome", "receipt")

    assert await reconcile(school) == 0, "nothing is missing any more"
    await asyncio.sleep(1)
    for student in (card, debit, plan):
        subjects = student.subjects()
        assert (count(subjects, "welcome"), count(subjects, "receipt")) == (1, 1), subjects
    assert [count(student.subjects(), "welcome") for student in students] == [1, 1, 1, 0, 0]
    assert len(await card.instructors()) == len(await card.milady_enrollments()) == 1


LOST = {"status": "lost"}


async def charge_of(school: School, paid: Any) -> str:
    return str((await school.stripe_api(f"/payment_intents/{paid['payment_intent']}"))["latest_charge"])
