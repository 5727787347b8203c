"""How long the portal's pages take, and how large they are: `python -m tests.bench.pages --students 10000`.

The purchases of a year and their payments are published as checkout and the gateway publish them, and every service
does its part. Then each page is loaded on one connection, again and again. Prints milliseconds until the whole page is
there, and its size; the targets are 150 ms and 100 kB. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import aiormq
import asyncpg
import httpx
from tests.bench.consumers import start_purchases
from tests.bench.histories import History
from tests.bench.http_load import percentile
from tests.waiting import until

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.envelope import Envelope, Event
from contracts.payments import PaymentEvent
from devstack.identity import Person
from devstack.stack import Stack, running
from kit.db.unit_of_work import utc_now
from kit.messaging.outbox import EVENTS_EXCHANGE, to_message
from kit.messaging.publishers import login_of
from portal.sessions import Session, SessionCookie, SignedIn

LOADS = 30
CASELOAD = 60
"""Students of one case manager."""
MOST_MS, MOST_BYTES = 150, 100_000
TOGETHER = 200
YEAR = timedelta(days=365)
PATIENCE_SECONDS = 3600.0
PAGES: Mapping[str, Sequence[str]] = {
    "": ("/", "/enroll", "/enroll/items/barber-apprenticeship", "/micro-classes"),
    "student": ("/dashboard", "/dashboard/methods"),
    "case_manager": ("/caseload",),
    "admin": (
        "/admin",
        "/admin/purchases",
        "/admin/payments",
        "/admin/purchases/{purchase}",
        "/admin/receipts",
        "/admin/installments",
        "/admin/audit",
        "/admin/invariant",
        "/admin/figures",
        "/caseload",
    ),
}
"""By role; those of "" without signing in."""


@dataclass(frozen=True)
class Load:
    role: str
    path: str
    milliseconds: Sequence[float]
    size: int

    def __str__(self) -> str:
        p50, p95 = median(self.milliseconds), percentile(self.milliseconds, 0.95)
        missed = [text for text, is_missed in (("slow", p95 > MOST_MS), ("large", self.size > MOST_BYTES)) if is_missed]
        name = f"{self.role or 'nobody'} {self.path}"
        return f"{name:<50} {p50:6.0f} ms {p95:6.0f} ms (p95) {self.size / 1000:6.1f} kB  {' '.join(missed)}"


async def fill(stack: Stack, histories: Sequence[History]) -> None:
    """Every purchase paid, enrolled, booked, and counted by reporting."""
    connection = await aiormq.connect(stack.amqp_url)
    try:
        channel = await connection.channel(publisher_confirms=True)
        for start in range(0, len(histories), TOGETHER):
            some = histories[start : start + TOGETHER]
            await start_purchases(stack.databases["checkout"].url, some)
            await asyncio.gather(
                *(_publish(stack, channel, each) for history in some for each in published_elsewhere(history))
            )
    finally:
        await connection.close()
    for package, table in (("enrollment", "enrollments"), ("reporting", "payments"), ("checkout", "documents")):
        database = await asyncpg.connect(stack.databases[package].url)
        try:

            async def all_there(database: asyncpg.Connection = database, table: str = table) -> bool:
                return int(await database.fetchval(f"SELECT count(*) FROM {table}")) >= len(histories)

            await until(all_there, seconds=PATIENCE_SECONDS, what=f"{len(histories)} rows of {package}.{table}")
        finally:
            await database.close()


async def backdate(stack: Stack) -> None:
    """The services have acted today: their events get times as if every student had been enrolled when they paid."""
    path = urlsplit(stack.databases["reporting"].url).path
    reporting = await asyncpg.connect(urlsplit(stack.postgres.admin_url)._replace(path=path).geturl())
    try:
        await reporting.execute(
            "UPDATE events SET time = created.time + interval '2 seconds' FROM events AS created"
            " WHERE created.type = 'purchase.created.v1' AND created.purchase_id = events.purchase_id"
            " AND (events.type LIKE 'enrollment.%' OR events.type LIKE 'instructor.%')"
        )
        await reporting.execute("ANALYZE events")
    finally:
        await reporting.close()


def published_elsewhere(history: History) -> list[Envelope[Event]]:
    """What the services that run here do not publish themselves."""
    outside = (StudentUpdated, PurchaseCreated, PaymentEvent)
    return [each for each in history.envelopes() if isinstance(each.data, outside)]


async def _publish(stack: Stack, channel: aiormq.abc.AbstractChannel, event: Envelope[Event]) -> None:
    message = to_message(event)
    properties = aiormq.spec.Basic.Properties(
        headers=dict(message.headers),
        content_type="application/json",
        delivery_mode=2,
        user_id=login_of(stack.amqp_url),
    )
    await channel.basic_publish(
        message.body, exchange=EVENTS_EXCHANGE, routing_key=event.type, properties=properties, mandatory=False
    )


async def assign(stack: Stack, http: httpx.AsyncClient, case_manager: Person, histories: Sequence[History]) -> None:
    headers = {"Authorization": f"Bearer {stack.token('admin')}"}
    for history in histories:
        url = f"{stack.url('checkout')}/api/admin/students/{history.student_id}/case-manager"
        body = {"case_manager_id": str(case_manager.id), "reason": "benchmark"}
        answer = await http.put(url, headers=headers, json=body)
        answer.raise_for_status()


def cookies_of(stack: Stack, person: Person) -> dict[str, str]:
    """Of a session in which the person has signed in."""
    cookie = SessionCookie([stack.identity.session_secret], seconds=3600, secure=False)
    session = Session()
    session.sign_in(
        SignedIn(
            token=stack.identity.token(person),
            subject=str(person.id),
            role=person.role,
            name=person.name,
            expires_at=int(time.time()) + 3600,
        )
    )
    name, value = cookie.write(session).split(";")[0].split("=", 1)
    return {name: value}


async def load(stack: Stack, role: str, path: str, cookies: dict[str, str]) -> Load:
    milliseconds = []
    async with httpx.AsyncClient(base_url=stack.url("portal"), cookies=cookies, timeout=60, trust_env=False) as http:
        for _ in range(LOADS + 1):
            started = time.perf_counter()
            answer = await http.get(path)
            milliseconds.append((time.perf_counter() - started) * 1000)
            if answer.status_code != 200:
                raise RuntimeError(f"{path}: {answer.status_code}\n{answer.text}")
    return Load(role, path, milliseconds[1:], len(answer.content))


async def measure(stack: Stack, students: int) -> None:
    histories = [History("pages", number, start=utc_now() - YEAR, apart=YEAR / students) for number in range(students)]
    started = time.perf_counter()
    await fill(stack, histories)
    await backdate(stack)
    sys.stdout.write(f"{students} purchases were processed in {time.perf_counter() - started:.0f} s\n")
    first = histories[0]
    people = {role: Person(role, f"{role.title()} Of The School") for role in ("case_manager", "admin")}
    people["student"] = replace(Person("student", "Student 0"), id=first.student_id)
    async with httpx.AsyncClient(trust_env=False) as http:
        await assign(stack, http, people["case_manager"], histories[:CASELOAD])
    for role, paths in PAGES.items():
        cookies = cookies_of(stack, people[role]) if role else {}
        for path in paths:
            loaded = await load(stack, role, path.format(purchase=first.purchase_id), cookies)
            sys.stdout.write(f"{replace(loaded, path=path)}\n")
            sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=10_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bursar-pages-") as folder, running(Path(folder)) as stack:
        asyncio.run(measure(stack, chosen.students))


if __name__ == "__main__":
    main()
