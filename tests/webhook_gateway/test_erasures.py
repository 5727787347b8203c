"""Erased people in the journal: their events lose personal data once verified, and no other event does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from tests.databases import migrated
from tests.webhook_gateway.relay_steps import RelaySteps, paid, relay_steps
from tests.webhook_gateway.stripe_events import STUDENT, body_of, sign

import webhook_gateway
from kit.personal_data import erased
from kit.personal_data.declaration import Person
from testkit.postgres_server import Database as CreatedDatabase
from testkit.postgres_server import PostgresServer
from testkit.rabbit_server import RabbitServer
from webhook_gateway.erasures import erase_journal
from webhook_gateway.event import parse_event
from webhook_gateway.journal import Journal
from webhook_gateway.replay import replay
from webhook_gateway.retranslation import compare
from webhook_gateway.tables import journal_events

pytestmark = pytest.mark.server  # starts a server of its own
NEEDLE = "Ann Vanish"
ANN = Person(id=UUID(STUDENT), identifiers=frozenset({STUDENT}))


@pytest.fixture(scope="module")
def created(postgres_server: PostgresServer) -> CreatedDatabase:
    return migrated(postgres_server, "gateway_erasures", webhook_gateway.__file__)


@pytest.fixture
async def steps(created: CreatedDatabase, own_rabbit: RabbitServer) -> AsyncIterator[RelaySteps]:
    async with relay_steps(created.url, own_rabbit.url, "payment.succeeded.v1") as steps:
        async with steps.database.transaction() as db:
            await db.execute(erased.erased_identifiers.delete())
        yield steps


async def note(steps: RelaySteps) -> None:
    async with steps.database.transaction() as db:
        await erased.lock(db)
        await erased.add(db, ANN.identifiers)


async def erase(steps: RelaySteps) -> int:
    async with steps.database.transaction() as db:
        return (await erase_journal(db, ANN))["journal_events"]


async def journaled(steps: RelaySteps) -> dict[str, Any]:
    async with steps.database.transaction() as db:
        return {row.event_id: row for row in await db.execute(select(journal_events))}


async def test_what_was_published_loses_personal_data_and_nothing_else_notices(steps: RelaySteps) -> None:
    mine = paid(receipt_email="vanish@example.com", description=NEEDLE)
    other = paid(metadata={"student_id": str(UUID(int=7)), "program_slug": "cpr"}, description="Ben Stays")
    await steps.deliver(mine, other)
    await steps.relay().publish_due()
    assert await steps.received() == [mine["id"], other["id"]]
    await note(steps)
    assert await erase(steps) == 1 and await erase(steps) == 0
    rows = await journaled(steps)
    assert (rows[mine["id"]].source, rows[mine["id"]].signature) == ("erased", None)
    assert b"anish" not in rows[mine["id"]].body and b"Ben Stays" in rows[other["id"]].body

    compared = await compare(steps.database)
    assert (compared.changed, compared.ignored) == ([], [])
    journal, body = Journal(steps.database.url), body_of(mine)
    assert not await journal.write(parse_event(body, signature=sign(body))), "Stripe delivers it again: no conflict"
    await journal.close()
    assert await replay(steps.database, event_ids=[mine["id"]]) == 1
    assert not await steps.relay().replay_due() and await steps.received() == [mine["id"]]
    assert b"anish" not in (await journaled(steps))[mine["id"]].body


async def test_a_late_event_is_verified_before_it_is_rewritten(steps: RelaySteps) -> None:
    await note(steps)
    late, forged = paid(description=NEEDLE), paid(description=NEEDLE)
    await steps.deliver(late)
    await steps.deliver(forged, secret="whsec_of_somebody_else")
    await steps.relay().publish_due()
    assert await steps.received() == [late["id"]]
    assert await erase(steps) == 0, "what is due is left to the relay"
    rows = await journaled(steps)
    assert rows[late["id"]].source == "erased" and b"Vanish" not in rows[late["id"]].body
    assert rows[forged["id"]].source == "webhook" and forged["id"] in await steps.due()
