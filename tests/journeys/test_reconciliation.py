"""Stripe delivers nothing for days: what it lists is restored by the reconciler, and everything happens once."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from tests.journeys.harness import School, Student, count, unique
from tests.journeys.test_payment_flows import advance, confirm, intent
from tests.processes import RunningRole
from tests.waiting import until

AT_ONCE = 8
LOST = {"status": "lost"}
PERIOD = timedelta(hours=3)
OFF = timedelta(days=4)
"""Longer than Stripe retries a webhook (three days: docs.stripe.com/webhooks), and than any job of checkout waits."""


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


@asynccontextmanager
async def impatient_reconciler(school: School) -> AsyncIterator[None]:
    """A second one that waits for nothing: what it restores, the other one does a minute later."""
    settings = {
        "RECONCILE_SECONDS": "1",
        "RECONCILE_GRACE_SECONDS": "0",
        "RECONCILE_REQUESTS_PER_SECOND": "50",
        "RECONCILE_OBJECTS_SECONDS": "1000",
    }
    env = school.stack.processes["webhook_gateway"].command.env
    reconciler = RunningRole("webhook_gateway", "reconciler", {**env, **settings})
    try:
        reconciler.start().wait_ready(30)
        await rows(school, "webhook_gateway", "UPDATE journal_reconciliation SET next_at = now()")  # not in 30 s
        yield
    finally:
        reconciler.stop()


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What the operator's command has printed."""

    restored: int
    differing: int


async def reconcile(school: School) -> Compared:
    """Runs the operator's command; the reconcilers run beside it."""
    env = {**school.stack.processes["webhook_gateway"].command.env, "RECONCILE_GRACE_SECONDS": "0"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "webhook_gateway", "reconcile", "--since", (datetime.now(UTC) - PERIOD).isoformat()),
        env={**env, "RECONCILE_REQUESTS_PER_SECOND": "50"},
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await process.communicate())[0].decode()
    restored = [
        int(found) for found in re.findall(r"restored: (\d+)|(\d+) restored", output) for found in found if found
    ]
    differing = [int(found) for found in re.findall(r"(\d+) differing", output)]
    assert len(restored) == 9 and len(differing) == 8, output
    assert process.returncode == (1 if any(differing) else 0), output
    return Compared(restored=sum(restored), differing=sum(differing))


async def rows(school: School, service: str, statement: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(school.stack.databases[service].url)
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()


async def charge_of(school: School, paid: Any) -> str:
    return str((await school.stripe_api(f"/payment_intents/{paid['payment_intent']}"))["latest_charge"])


@dataclass(frozen=True)
class Bought:
    """A purchase that is paid. `receipts`: how many the student gets by mail."""

    student: Student
    slug: str
    receipts: int = 1


Buy = Callable[[School], Awaitable[Bought]]


def by_session(slug: str, payment_type: str = "full", **choice: Any) -> Buy:
    async def buy(school: School) -> Bought:
        student = school.student()
        paid = await student.buys(slug, payment_type, **choice)
        if choice.get("method") == "us_bank_account":
            await school.stripe(f"/payment_intents/{paid['payment_intent']}/settle")
        return Bought(student, slug)

    return buy


async def by_form(school: School) -> Bought:
    student = school.student()
    made = await intent(student, "/api/payments/create-payment/", {"track": "FSD"})
    await confirm(student, made["clientSecret"])
    return Bought(student, "fsd")


async def membership(school: School) -> Bought:
    student = school.student()
    joined = await intent(student, "/api/memberships", {"membership": "student", "interval": "month"})
    await student.pay(await school.session(joined["url"]))
    return Bought(student, "membership")


async def by_sponsor(school: School) -> Bought:
    student, case_manager = school.student(), school.staff("case_manager")
    body = {"studentId": str(student.id), "programId": "dsp", "programSlug": "dsp", "fundingSource": "WIOA"}
    funding = await intent(case_manager, "/api/funding/create-checkout", body)  # type: ignore[arg-type]
    contact = {"email": student.person.email, "name": student.person.name}
    url = f"{school.stack.url('checkout')}/api/admin/students/{student.id}/contact"
    assert (await school.http.put(url, json=contact, headers=case_manager.headers)).is_success
    await school.stripe(f"/invoices/{funding['sessionId']}/pay", {"method": "card", "email": "finance@sponsor.example"})
    return Bought(student, "dsp", receipts=0)


async def free(school: School) -> Bought:
    student, code = school.student(), unique("FREE").upper()
    promotion = {"code": code, "percent_off": 100}
    assert (await school.staff("admin").post("checkout", "/api/admin/promotions", promotion)).is_success
    bought = await intent(student, "/api/checkout", {"courseId": "barbering-safety", "promotionCode": code})
    await student.pay(await school.session(bought["url"]))
    return Bought(student, "barbering-safety", receipts=0)


def refunded(amount: int | None = None) -> Buy:
    async def buy(school: School) -> Bought:
        student = school.student()
        charge = await charge_of(school, await student.buys("cpr"))
        await school.stripe(f"/charges/{charge}/refund", {"amount": amount} if amount else {})
        return Bought(student, "cpr")

    return buy


def disputed(outcome: dict[str, str] | None = None) -> Buy:
    async def buy(school: School) -> Bought:
        student = school.student()
        charge = await charge_of(school, await student.buys("cpr"))
        dispute = await school.stripe(f"/charges/{charge}/dispute", {})
        if outcome is not None:
            await school.stripe(f"/disputes/{dispute['id']}/close", outcome)
        return Bought(student, "cpr")

    return buy


FIFTY: list[tuple[int, Buy]] = [
    (4, by_session("barber-apprenticeship")),
    (6, by_session("dsp")),
    (4, by_session("hvac")),
    (3, by_session("cpr", method="link")),
    (6, by_session("dsp", method="us_bank_account")),
    (2, by_session("cpr", method="klarna")),
    (2, by_session("cpr", method="affirm")),
    (2, by_session("cpr", method="afterpay_clearpay")),
    (2, by_session("cpr", method="cashapp")),
    (4, by_session("hvac", "plan")),
    (3, by_form),
    (4, membership),
    (3, by_sponsor),
    (2, free),
    (2, refunded(amount=1_000)),
    (1, disputed()),
]
TAKEN_BACK: list[tuple[int, Buy]] = [(2, refunded()), (2, disputed(LOST))]


async def buy_all(school: School, purchases: list[tuple[int, Buy]]) -> list[Bought]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(buy: Buy) -> Bought:
        async with limit:
            return await buy(school)

    return await asyncio.gather(*(one(buy) for times, buy in purchases for _ in range(times)))


async def statuses(school: School, bought: list[Bought]) -> dict[tuple[UUID, str], str]:
    statement = "SELECT student_id, program_slug, status FROM enrollments WHERE student_id = ANY($1)"
    found = await rows(school, "enrollment", statement, [each.student.id for each in bought])
    return {(row["student_id"], row["program_slug"]): row["status"] for row in found}


async def become(school: School, bought: list[Bought], status: str) -> None:
    wanted = {(each.student.id, each.slug): status for each in bought}

    async def reached() -> bool:
        await asyncio.sleep(0.5)
        return await statuses(school, bought) == wanted

    await until(reached, seconds=120, what=f"{len(bought)} enrollments {status}")


async def mailed(school: School, bought: list[Bought]) -> None:
    """Each student has got each mail once."""

    def missing() -> list[str]:
        mails = Counter[tuple[str, str]]()
        for message in school.stack.mail.messages():
            subject = str(message["Subject"]).lower()
            for word in ("welcome", "receipt"):
                mails[str(message["X-Envelope-To"]), word] += word in subject
        expected = {
            (each.student.person.email, word): many
            for each in bought
            for word, many in (("welcome", 1), ("receipt", each.receipts))
        }
        return [f"{key}: {mails[key]} of {many}" for key, many in expected.items() if mails[key] != many]

    async def all_mailed() -> bool:
        await asyncio.sleep(0.5)
        return not missing()

    try:
        await until(all_mailed, seconds=60)
    except AssertionError:
        raise AssertionError(f"mails: {missing()}") from None


async def test_fifty_purchases_of_four_days_without_webhooks_are_restored_once(school: School) -> None:
    await school.deliveries_done()
    async with endpoint_off(school):
        began = datetime.now(UTC)
        bought = await buy_all(school, FIFTY)
        taken_back = await buy_all(school, TAKEN_BACK)
        await advance(school, int(OFF.total_seconds()))
        journaled = "SELECT source, count(*) FROM journal_events WHERE received_at > $1 GROUP BY source"
        sources = dict(await rows(school, "webhook_gateway", journaled, began))
        assert "webhook" not in sources
    assert len(bought) == 50
    async with impatient_reconciler(school):
        await become(school, bought, "active")
        await become(school, taken_back, "withdrawn")
        await mailed(school, bought)
    compared = await reconcile(school)
    differing = "SELECT object_kind, object_id, field, stripe, published FROM differences WHERE closed_at IS NULL"
    assert [dict(row) for row in await rows(school, "webhook_gateway", differing)] == []
    assert compared == Compared(restored=0, differing=0), "nothing is missing, nothing differs"
    await mailed(school, bought)
    assert set((await statuses(school, bought)).values()) == {"active"}
    booked = await rows(
        school,
        "checkout",
        "SELECT student_id, count(*) FROM documents WHERE kind = 'receipt' AND student_id = ANY($1) GROUP BY 1",
        [each.student.id for each in bought],
    )
    assert Counter(row["count"] for row in booked) == {1: 48}, "what is free has no receipt"
    sources = dict(await rows(school, "webhook_gateway", journaled, began))
    assert sources["fetched"] > 3 * len(bought), "how they came"
    for each in taken_back:
        assert count(each.student.subjects(), "welcome") <= 1
    for each in bought[:4]:
        assert len(await each.student.instructors()) == len(await each.student.milady_enrollments()) == 1
