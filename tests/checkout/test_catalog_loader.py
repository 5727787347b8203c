"""Loading the checked-in catalog into a database that has items of its own."""

from __future__ import annotations

import asyncio
from uuid import UUID

import yaml
from sqlalchemy import text
from tests.architecture.source import ROOT

import checkout
from checkout.catalog import loader
from checkout.catalog.repository import find_item, programs_on_sale
from contracts.money import usd
from kit.db import migrate
from kit.db.database import Database
from testkit.postgres_server import PostgresServer

INSTRUCTORS = ROOT / "services/instructor-assignment/migrations/instructors.yaml"
BARBER = UUID("5f0c0e0a-6a51-4c5e-9a30-0d4b1f6f0a01")


def test_whatever_is_taught_has_instructors() -> None:
    """Else each sale would alert the admins that an instructor is missing."""
    with_instructors = set(yaml.safe_load(INSTRUCTORS.read_text()))
    assert {item.slug for item in loader.checked_in().items if item.as_program().taught} == with_instructors


async def test_existing_items_stay_and_are_published(postgres_server: PostgresServer) -> None:
    server = postgres_server.create_database("checkout_loader")
    await asyncio.to_thread(migrate.upgrade, server.owner_url, migrate.folder_of(checkout.__file__))
    database = Database(server.url)
    async with database.transaction() as db:
        await db.execute(
            text(
                "INSERT INTO items (id, slug, name, price, currency, provider) VALUES "
                f"('{BARBER}', 'barber-apprenticeship', 'Renamed by an admin', 450000, 'usd', 'milady'), "
                "(gen_random_uuid(), 'welding', 'Welding', 100000, 'usd', NULL)"
            )
        )
    await loader.load(database, loader.checked_in())
    async with database.transaction() as db:
        barber = await find_item(db, str(BARBER))
        assert barber is not None
        assert (barber.kind, barber.name, barber.money) == ("program", "Renamed by an admin", usd(450_000))
        programs = {program.slug for program in await programs_on_sale(db)}
        assert programs == {"barber-apprenticeship", "welding", "dsp", "hvac", "cpr"}
        published = set(await db.scalars(text("SELECT message_key FROM outbox_messages")))
    assert {"catalog/welding/1", "catalog/barber-apprenticeship/1", "catalog/dp-and-fsd/1"} <= published
    await database.close()
