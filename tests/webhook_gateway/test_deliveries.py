"""Deliveries are counted with the journal: what is counted, what is not, and the figures that admins see."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from tests.databases import migrated, opened
from tests.webhook_gateway.admin_steps import Steps
from tests.webhook_gateway.relay_steps import paid
from tests.webhook_gateway.stripe_events import SECRET, body_of, sign

import webhook_gateway
from kit.db.database import Database
from kit.messaging.broker import Publisher
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer
from webhook_gateway.context import GatewayContext
from webhook_gateway.deliveries import DeliveryCounts, by_day
from webhook_gateway.event import Origin, StripeEvent, parse_event
from webhook_gateway.journal import EventConflict, Journal
from webhook_gateway.tables import Source, delivery_counts
from webhook_gateway.webhook import PATHS, WebhookEndpoint

PATH = "/api/admin/deliveries"
NOVEMBER = "?since=2026-11-01T00:00:00Z&until=2026-12-01T00:00:00Z"


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return migrated(postgres_server, "gateway_deliveries", webhook_gateway.__file__)


@pytest.fixture
async def database(created: CreatedDatabase) -> AsyncIterator[Database]:
    async with opened(created.url) as database:
        async with database.transaction() as db:
            await db.execute(delivery_counts.delete())
        yield database


@pytest.fixture
async def gateway(created: CreatedDatabase) -> AsyncIterator[Journal]:
    """As the webhook has it."""
    journal = Journal(created.api_url)
    yield journal
    await journal.close()


@pytest.fixture
async def reconciler(created: CreatedDatabase) -> AsyncIterator[Journal]:
    journal = Journal(created.url, source=Source.FETCHED)
    yield journal
    await journal.close()


def event(**fields: Any) -> StripeEvent:
    return parse_event(body_of({**paid(), **fields}))


async def counted(database: Database) -> DeliveryCounts:
    """Of all days: a test may run at midnight."""
    async with database.transaction() as db:
        found = await by_day(db, first=date(2000, 1, 1), last=date(2100, 1, 1))
    return sum((counts for _, counts in found), DeliveryCounts())


async def test_every_event_is_counted_once_and_every_repetition(
    database: Database, gateway: Journal, reconciler: Journal
) -> None:
    first, second, third, lost = event(), event(), event(), event()
    await gateway.write(first)
    assert await gateway.write(first) is False
    # of the second one, three are in one batch
    await asyncio.gather(gateway.write(third), *(gateway.write(second) for _ in range(3)))
    await reconciler.write(lost)
    assert await reconciler.write(first) is False, "what is listed again is no delivery"
    assert await gateway.write(lost) is False, "it is delivered after it was fetched"
    assert await counted(database) == DeliveryCounts(delivered=3, fetched=1, duplicates=1 + 2 + 1)


async def test_several_gateways_count_into_the_same_day(database: Database, created: CreatedDatabase) -> None:
    events = [event() for _ in range(40)]
    gateways = [Journal(created.api_url) for _ in range(4)]
    await asyncio.gather(*(each.write(one) for each in gateways for one in events))
    await asyncio.gather(*(each.close() for each in gateways))
    assert await counted(database) == DeliveryCounts(delivered=40, duplicates=120)


async def test_a_refused_conflict_is_no_event_of_its_own(database: Database, gateway: Journal) -> None:
    body = paid()
    await gateway.write(parse_event(body_of(body)))
    with pytest.raises(EventConflict):
        await gateway.write(parse_event(body_of({**body, "created": 1_600_000_000})))
    assert await counted(database) == DeliveryCounts(delivered=1, duplicates=1)


async def test_only_what_stripe_has_signed_is_counted(database: Database, gateway: Journal) -> None:
    endpoint = WebhookEndpoint(
        FastAPI(),
        context=GatewayContext(
            secrets=[SECRET.encode()],
            origin=Origin(livemode=False),
            journal=gateway,
            publisher=Publisher("amqp://127.0.0.1:1/", name="tests"),
        ),
    )
    known, body = body_of(paid()), body_of(paid())
    other_mode = body_of({**paid(), "livemode": True})
    requests = [
        (known, sign(known), 200),
        (known, sign(known, secret="whsec_forged"), 400),
        (body, sign(body, secret="whsec_forged"), 400),
        (body, sign(known), 400),
        (known, sign(known, at=time.time() - 3600), 400),
        (other_mode, sign(other_mode), 400),
        (b"{}", sign(b"{}"), 400),
    ]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(endpoint), base_url="http://test") as client:
        for content, signature, status in requests:
            headers = {"Stripe-Signature": signature}
            assert (await client.post(PATHS[0], content=content, headers=headers)).status_code == status
    assert await counted(database) == DeliveryCounts(delivered=1)


async def test_what_is_not_committed_is_not_counted(database: Database) -> None:
    """As if the process or the database had crashed before the commit."""
    async with database.engine.connect() as connection:
        write = (
            "SELECT journal_write(ARRAY['evt_lost'], ARRAY['a'], ARRAY['{}'::bytea], ARRAY['t'], ARRAY['webhook'], 7)"
        )
        await connection.execute(text(write))
        assert (await connection.execute(text("SELECT sum(duplicates) FROM delivery_counts"))).scalar_one() == 7
        await connection.rollback()
    assert await counted(database) == DeliveryCounts()


async def test_deliveries_at_a_gateway_of_the_previous_version_are_counted(
    database: Database, created: CreatedDatabase
) -> None:
    api, worker = await asyncpg.connect(created.api_url), await asyncpg.connect(created.url)
    for expected in (True, False):
        rows = await api.fetch(
            "SELECT is_new FROM journal_write_deliveries($1, $2, $3, $4)", ["evt_old"], ["a"], [b"{}"], ["t=1,v1=00"]
        )
        assert [row["is_new"] for row in rows] == [expected]
    await worker.fetch(
        "SELECT is_new FROM journal_write($1, $2, $3, $4, $5)", ["evt_found"], ["a"], [b"{}"], [None], ["fetched"]
    )
    await asyncio.gather(api.close(), worker.close())
    assert await counted(database) == DeliveryCounts(delivered=1, fetched=1, duplicates=1)


async def test_what_is_no_delivery_is_not_counted(database: Database, created: CreatedDatabase) -> None:
    previous = Journal(created.url, source=Source.PREVIOUS)
    one = event()
    await previous.write(one)
    await previous.write(one)
    await previous.close()
    assert await counted(database) == DeliveryCounts()


async def test_a_stolen_login_of_the_gateway_reads_and_removes_no_counts(
    database: Database, created: CreatedDatabase, gateway: Journal
) -> None:
    await gateway.write(event())
    stolen = await asyncpg.connect(created.api_url)
    for statement in (
        "SELECT * FROM delivery_counts",
        "INSERT INTO delivery_counts VALUES (now(), 0, 1, 1, 1)",
        "UPDATE delivery_counts SET fetched = 0",
        "DELETE FROM delivery_counts",
        "SELECT journal_write(ARRAY['e'], ARRAY['a'], ARRAY[''::bytea], ARRAY['t'], ARRAY['fetched'], 1)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await stolen.execute(statement)
    none: tuple[list[str], ...] = ([], [], [], [])
    await stolen.fetch("SELECT * FROM journal_write_deliveries($1, $2, $3, $4, -1000000)", *none)
    await stolen.close()
    assert await counted(database) == DeliveryCounts(delivered=1)


# --- what admins see ------------------------------------------------------------------------------------------------

DAYS = [  # day, slot, delivered, fetched, duplicates
    ("2026-10-31", 0, 1, 1, 1),
    ("2026-11-02", 0, 90, 1, 4),
    ("2026-11-02", 5, 8, 0, 1),
    ("2026-11-03", 0, 101, 0, 0),
    ("2026-11-30", 7, 0, 0, 2),
    ("2026-12-01", 0, 1, 1, 1),
]
LINES = [
    {"day": "2026-11-02", "delivered": 98, "fetched": 1, "duplicates": 5, "delivery_rate": 9_898},  # 98 / 99
    {"day": "2026-11-03", "delivered": 101, "fetched": 0, "duplicates": 0, "delivery_rate": 10_000},
    {"day": "2026-11-30", "delivered": 0, "fetched": 0, "duplicates": 2, "delivery_rate": None},
]


@pytest.fixture
async def admin(steps: Steps) -> Steps:
    columns = ("day", "slot", "delivered", "fetched", "duplicates")
    rows = [{**dict(zip(columns, row, strict=True)), "day": date.fromisoformat(row[0])} for row in DAYS]
    async with steps.database.transaction() as db:
        await db.execute(delivery_counts.delete())
        await db.execute(delivery_counts.insert(), rows)
    return steps


async def get(admin: Steps, query: str = NOVEMBER) -> Any:
    answer = await admin.call("GET", PATH + query)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text
    return answer.json()


async def test_the_figures_of_a_month(admin: Steps) -> None:
    found = await get(admin)
    assert (found["first_day"], found["last_day"]) == ("2026-11-01", "2026-11-30")
    figures = {each["name"]: each for each in found["figures"]}
    assert {name: (each["numerator"], each["denominator"], each["value"]) for name, each in figures.items()} == {
        "webhook_delivery_rate": (199, 200, 9_950),
        "webhook_redelivery_rate": (7, 206, 339),
        "duplicates_absorbed": (None, None, 7),
    }
    assert {name: (each["target"], each["meets_target"]) for name, each in figures.items()} == {
        "webhook_delivery_rate": (9_900, True),
        "webhook_redelivery_rate": (None, None),
        "duplicates_absorbed": (None, None),
    }
    assert all(each["definition"] for each in figures.values())
    assert found["items"] == LINES


async def test_a_missed_target(admin: Steps) -> None:
    (rate, *_) = (await get(admin, "?since=2026-11-02T00:00:00Z&until=2026-11-03T00:00:00Z"))["figures"]
    assert (rate["value"], rate["meets_target"]) == (9_898, False)


async def test_the_csv_has_the_same_days(admin: Steps) -> None:
    answer = await admin.call("GET", f"{PATH}.csv{NOVEMBER}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert lines == [{name: "" if value is None else str(value) for name, value in each.items()} for each in LINES]


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        ("2026-11-02T23:00:00Z", "2026-11-03T00:00:00Z", ["2026-11-02"]),
        ("2026-11-02T23:00:00Z", "2026-11-03T00:00:01Z", ["2026-11-02", "2026-11-03"]),
        ("2026-11-02T23:00:00-02:00", "2026-11-04T00:00:00Z", ["2026-11-03"]),
    ],
)
async def test_the_days_that_the_period_touches(admin: Steps, since: str, until: str, days: list[str]) -> None:
    assert [each["day"] for each in (await get(admin, f"?since={since}&until={until}"))["items"]] == days


async def test_nothing_to_count_is_no_rate(admin: Steps) -> None:
    found = await get(admin, "?since=2025-11-01T00:00:00Z&until=2025-12-01T00:00:00Z")
    assert {each["name"]: each["value"] for each in found["figures"]} == {
        "webhook_delivery_rate": None,
        "webhook_redelivery_rate": None,
        "duplicates_absorbed": 0,
    }
    assert found["items"] == []


async def test_the_last_thirty_days_by_default(admin: Steps) -> None:
    found = await get(admin, "")
    today = datetime.now(UTC).date()
    assert (today - date.fromisoformat(found["first_day"])).days in (30, 29)


@pytest.mark.parametrize(
    "query",
    [
        "?since=2026-11-02T00:00:00Z&until=2026-11-02T00:00:00Z",
        "?since=2020-11-02T00:00:00Z&until=2026-11-02T00:00:00Z",
        "?until=0001-01-02T00:00:00Z",
        "?since=0001-01-01T00:00:00%2B14:00&until=0001-01-01T00:00:00Z",
        "?until=9999-12-31T23:59:59-14:00",
        "?since=2026-11-02",
        "?since=x",
        "?day=2026-11-02",
    ],
)
@pytest.mark.parametrize("path", [PATH, f"{PATH}.csv"])
async def test_what_is_no_period_is_refused(admin: Steps, path: str, query: str) -> None:
    assert (await admin.call("GET", path + query)).status_code == 422


async def test_the_last_day_of_all_time(admin: Steps) -> None:
    assert (await get(admin, "?since=9999-12-01T00:00:00Z&until=9999-12-31T23:59:59Z"))["last_day"] == "9999-12-31"
