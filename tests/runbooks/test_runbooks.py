"""Each emergency is brought about, and its page mends it: the commands are run as they are written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aio_pika
import jwt
import pytest
from tests.journeys.harness import School, Student
from tests.journeys.test_reconciliation import endpoint_off
from tests.runbooks.rehearsal import Rehearsal, Step, environment_file, matches, steps_of
from tests.waiting import until
from tests.webhook_gateway.stripe_events import body_of, event, sign

from devstack.stack import Stack

Rehearse = Callable[..., Any]


@pytest.fixture
def rehearse(stack: Stack, tmp_path: Path) -> Rehearse:
    @asynccontextmanager
    async def rehearsal(*restarted: str, **variables: str) -> AsyncIterator[Rehearsal]:
        identity = stack.identity
        environment_file(tmp_path, STRIPE_WEBHOOK_SECRETS=identity.stripe_webhook_secret)
        async with Rehearsal(stack, tmp_path, variables, restarted) as running:
            yield running

    return rehearsal


@pytest.fixture
async def student(school: School, stored: dict[str, Student]) -> Student:
    """Has paid and is enrolled; the same one in all tests."""
    if "student" not in stored:
        stored["student"] = await enrolled(school)
    return Student(school, stored["student"].person)


@pytest.fixture(scope="module")
def stored() -> dict[str, Student]:
    return {}


async def enrolled(school: School) -> Student:
    student = school.student()
    await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")
    await student.mailed("welcome", "receipt")
    return student


async def pays(school: School) -> None:
    """A payment still becomes an enrollment."""
    student = school.student()
    await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")


async def test_payments_are_not_processed(school: School, stack: Stack, rehearse: Rehearse) -> None:
    await asyncio.to_thread(stack.processes["enrollment"].stop)
    student = school.student()
    payment = (await student.buys("cpr"))["payment_intent"]
    await school.deliveries_done()
    looking, stopped, starting, scaling, done = steps_of("payments-not-processing.md")
    async with rehearse(PAYMENT=payment) as page:
        await page.run(looking)
        await until(lambda: page.succeeds(stopped[0]), what="the timeline")
        await page.run([*stopped, *starting, *scaling])
        await student.enrollment_becomes("active", "cpr")
        await student.mailed("welcome")
        await until(lambda: page.succeeds(done[-1]), what="the timeline")
        await page.run(done)


async def test_webhooks_are_not_received(school: School, rehearse: Rehearse) -> None:
    student = school.student()
    (endpoint,) = (await school.stripe_api("/webhook_endpoints"))["data"]
    since = f"{datetime.now(UTC) - timedelta(minutes=5):%Y-%m-%dT%H:%M:%S}"
    at_stripe, restoring = steps_of("reconcile.md")
    async with endpoint_off(school):
        payment = (await student.buys("cpr"))["payment_intent"]
        async with rehearse(PAYMENT=payment, ENDPOINT=endpoint["id"], SINCE=since) as page:
            await page.run([*at_stripe, restoring[0]])
            await student.enrollment_becomes("active", "cpr")
            await until(lambda: page.succeeds(restoring[1]), what="the timeline")


async def test_a_student_seems_to_be_enrolled_twice(student: Student, rehearse: Rehearse) -> None:
    purchase = (await student.enrollment_becomes("active", "cpr"))["purchase_id"]
    blocks = steps_of("duplicate-enrollments.md")
    async with rehearse(MAIL=str(student.person.email), STUDENT=str(student.id), PURCHASE=purchase) as page:
        await until(lambda: page.succeeds(blocks[0][0]), what="the timeline")
        for block in blocks:
            await page.run(block)
    assert student.subjects() == list(dict.fromkeys(student.subjects())), "each mail once"


async def test_dead_letters(stack: Stack, rehearse: Rehearse) -> None:
    async with await aio_pika.connect(stack.amqp_url) as connection:
        exchange = await (await connection.channel()).get_exchange("enrollment.queues")
        headers: dict[str, Any] = {"cloudEvents:id": "evt_bad/payment.succeeded.v1"}
        headers["cloudEvents:type"] = "payment.succeeded.v1"
        message = aio_pika.Message(b"{", headers=headers, user_id="deployment")
        await exchange.publish(message, "enrollment.payments")
    (block,) = steps_of("dead-letters.md")
    async with rehearse(EVENT="evt_bad/payment.succeeded.v1") as page:
        await until(lambda: page.succeeds(block[0]), what="the dead letter")
        await page.run(block)


async def test_a_service_is_restored_and_catches_up(school: School, student: Student, rehearse: Rehearse) -> None:
    backup, stop, restore, catch_up, done = steps_of("restore-from-backup.md")
    after = school.student()
    async with rehearse(STUDENT=str(after.id)) as page:
        await page.run(backup)
        await after.buys("cpr")
        await after.enrollment_becomes("active", "cpr")
        await after.mailed("welcome", "receipt")
        sent = after.subjects()
        await page.run([*stop, *restore])
        assert await after.enrollment("cpr") is None, "the dump is older"
        await page.run(catch_up)
        await after.enrollment_becomes("active", "cpr")
        await page.run(done)
    await student.enrollment_becomes("active", "cpr")
    assert after.subjects() == sent, "nothing is mailed again"


async def test_full_rollback(school: School, stack: Stack, student: Student, rehearse: Rehearse) -> None:
    starts = {name: process.starts for name, process in stack.processes.items()}
    replaced = {"webhook_gateway", "checkout", "enrollment"}
    async with rehearse(*replaced, STUDENT=str(student.id)) as page:
        for block in steps_of("rollback.md"):
            await page.run(block)
    assert {name for name in starts if stack.processes[name].starts > starts[name]} == replaced
    await pays(school)


async def status_of(school: School, secret: str) -> int:
    """What the gateway answers to a delivery that this secret has signed."""
    body = body_of(event("customer.updated", {"id": "cus_1", "object": "customer"}))
    url = f"{school.stack.url('webhook_gateway')}/api/stripe/webhook"
    header = {"Stripe-Signature": sign(body, secret=secret)}
    return (await school.http.post(url, content=body, headers=header)).status_code


async def test_the_webhook_secret_is_rolled(school: School, student: Student, rehearse: Rehearse) -> None:
    old, new = school.stack.identity.stripe_webhook_secret, "whsec_of_the_runbook"
    both, one, done = steps_of("roll-webhook-secret.md")
    (endpoint,) = (await school.stripe_api("/webhook_endpoints"))["data"]
    async with rehearse(NEW_SECRET=new, OLD_SECRET=old, STUDENT=str(student.id)) as page:
        await school.stripe(f"/webhook_endpoints/{endpoint['id']}/roll_secret", {"secret": new, "old_expires_in": 3600})
        await page.run(both)
        assert [await status_of(school, secret) for secret in (new, old, "whsec_other")] == [200, 200, 400]
        await page.run(one)
        assert [await status_of(school, secret) for secret in (new, old)] == [200, 400]
        await page.run(done)
    await pays(school)


UP = Step("docker compose up --detach")


def token(stack: Stack, secret: str, kid: str | None) -> str:
    identity, now = stack.identity, int(time.time())
    claims = {"sub": str(UUID(int=1)), "role": "admin", "iat": now, "exp": now + 3600}
    claims |= {"iss": identity.jwt_issuer, "aud": identity.jwt_audience}
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": kid} if kid else None)


async def test_the_keys_of_tokens_are_rolled(stack: Stack, rehearse: Rehearse) -> None:
    """The last one: afterward, the tokens of the other tests are refused."""
    old, new = "an-old-secret-of-at-least-32-bytes", "a-new-secret-of-at-least-32-bytes"
    variables = {"OLD_TOKEN": token(stack, old, None), "NEW_TOKEN": token(stack, new, "second"), "NEW_SECRET": new}
    async with rehearse("reporting", **variables, OLD_SECRET=old, REPORTING_URL=stack.url("reporting")) as page:
        await page.run([Step('printf "JWT_JWKS_URL=\\nJWT_SECRET=$OLD_SECRET\\n" >>school.env'), UP])  # instead of keys
        for block in steps_of("roll-jwt-keys.md"):
            await page.run(block)


def test_every_page_of_an_emergency_is_rehearsed() -> None:
    written = {path.name for path in (Path(__file__).parents[2] / "docs/runbooks").glob("*.md") if steps_of(path.name)}
    source = Path(__file__).read_text()
    assert written == {name for name in written if f'steps_of("{name}")' in source}


def test_what_a_page_expects_is_in_the_output_in_this_order() -> None:
    output = "a   purchase\nof 5.00 USD  succeeded\n  enrollment activated\n"
    assert matches(output, ("purchase of … succeeded", "enrollment"))
    assert not matches(output, ("enrollment", "purchase"))
    assert matches("", ())
    assert Step("x") == Step("x", (), 0)
