"""What has become of purchases: which effects are missing, and which have happened twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from tests.faults.purchases import Purchase
from tests.journeys.harness import BARBER, School
from tests.journeys.test_operator_command import bursar

SETTLE_SECONDS = 600.0
_ENROLLMENTS = "SELECT student_id, program_slug, status FROM enrollments WHERE student_id = ANY ($1)"
_ACTIVATED = """
    SELECT CAST(convert_from(body, 'UTF8') AS jsonb) ->> 'student_id' AS student_id FROM outbox_messages
    WHERE routing_key = 'enrollment.activated.v1'
"""
_PAYMENTS = "SELECT student_id, count(*) AS many FROM payments WHERE student_id = ANY ($1) GROUP BY student_id"
_RECEIPTS = """
    SELECT student_id, count(*) AS many FROM documents WHERE student_id = ANY ($1) AND kind = 'receipt'
    GROUP BY student_id
"""
_UNKNOWN = "SELECT student_id FROM notifications WHERE student_id = ANY ($1) AND status = 'unknown'"
_RETRY_NOW = (  # a job that is available within a minute may be in progress, see kit.jobs.worker.LEASE
    "UPDATE outbox_due SET available_at = now() WHERE available_at > now()",
    "UPDATE jobs SET available_at = now()"
    " WHERE attempts > 0 AND done_at IS NULL AND failed_at IS NULL AND available_at > now() + interval '61 seconds'",
)


@dataclass(frozen=True)
class Outcome:
    """`lost`, `doubled`: one line for each effect. `unknown`: mails of which nobody knows whether the mail server took
    them; they are left to a person, and not sent again."""

    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    unknown: int
    verify: str
    verify_holds: bool
    dead_letters: int


async def settled(school: School, purchases: Sequence[Purchase], *, dead_letters: int = 0) -> Outcome:
    """Waits until nothing is missing, at most SETTLE_SECONDS; then counts what has happened twice. `dead_letters`: how
    many there are if all is well."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (await _effects(school, purchases))[0] and time.monotonic() < deadline:
        await _retry_now(school)
        await asyncio.sleep(1)
    await asyncio.sleep(2)  # what would happen twice happens now
    lost, doubled, unknown = await _effects(school, purchases)
    code, printed = await bursar(school.stack, "verify")
    found = await asyncio.to_thread(dead_letters_of, school)
    return Outcome(tuple(lost), tuple(doubled), unknown, printed, code == 0, found - dead_letters)


async def _effects(school: School, purchases: Sequence[Purchase]) -> tuple[list[str], list[str], int]:
    """(lost, doubled, unknown)"""
    ids = [each.student.id for each in purchases]
    rows = await _rows(school, "enrollment", _ENROLLMENTS, ids)
    statuses = {(row["student_id"], row["program_slug"]): row["status"] for row in rows}
    activated = Counter(UUID(row["student_id"]) for row in await _rows(school, "enrollment", _ACTIVATED))
    payments = {row["student_id"]: row["many"] for row in await _rows(school, "checkout", _PAYMENTS, ids)}
    receipts = {row["student_id"]: row["many"] for row in await _rows(school, "checkout", _RECEIPTS, ids)}
    unknown = Counter(row["student_id"] for row in await _rows(school, "notifications", _UNKNOWN, ids))
    at_provider = Counter(item["student_ref"] for item in (await school.milady("GET", "/enrollments"))["items"])
    mails = await asyncio.to_thread(_mails, school)
    lost, doubled = list[str](), list[str]()

    def compare(what: str, purchase: Purchase, found: int, *, least: int = 1) -> None:
        if found < least:
            lost.append(f"{what} of {purchase.student.id}")
        if found > 1:
            doubled.append(f"{what} of {purchase.student.id}: {found}")

    for each in purchases:
        student, kept = each.student.id, not each.refunded
        wanted = "active" if kept else "withdrawn"
        if statuses.get((student, each.slug)) != wanted:
            lost.append(f"{wanted} enrollment of {student}")
        compare("activation", each, activated[student], least=int(kept))
        compare("payment", each, payments.get(student, 0))
        compare("receipt", each, receipts.get(student, 0))
        compare("receipt by mail", each, mails[each.student.person.email, "receipt"], least=1 - unknown[student])
        welcomes = mails[each.student.person.email, "welcome"]
        compare("welcome by mail", each, welcomes, least=int(kept) - unknown[student])
        if each.slug == BARBER:
            compare("enrollment at the provider", each, at_provider[str(student)], least=int(kept))
    return lost, doubled, unknown.total()


def _mails(school: School) -> Counter[tuple[str, str]]:
    """(address, word in the subject) -> number of mails"""
    found = Counter[tuple[str, str]]()
    for message in school.stack.mail.messages():
        subject = str(message["Subject"]).lower()
        for word in ("welcome", "receipt"):
            found[str(message["X-Envelope-To"]), word] += word in subject
    return found


def dead_letters_of(school: School) -> int:
    listed = school.stack.rabbit.control("list_queues", "name", "messages").splitlines()
    queues = dict(line.split("\t") for line in listed if line.count("\t") == 1)
    return sum(int(messages) for name, messages in queues.items() if name.endswith(".dead"))


async def _rows(school: School, service: str, query: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(school.stack.databases[service].url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


async def _retry_now(school: School) -> None:
    """Retries, Stripe's too, are spread over hours; here they are due at once."""
    deliveries = (await school.stripe("/deliveries", method="GET"))["deliveries"]  # the newest thousand
    delivered = {each["event"] for each in deliveries if each["status"] == "delivered"}
    for event in {each["event"] for each in deliveries if each["attempts"]} - delivered:
        await school.stripe(f"/events/{event}/resend")
    for service in school.stack.databases:
        for statement in _RETRY_NOW:
            await _rows(school, service, statement)
