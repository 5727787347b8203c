"""Registrations on a real broker: an item is created, and an invalid one becomes a dead letter with the reason."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from tests.checkout.service import Service
from tests.checkout.test_catalog_registering import new_id, product, rows
from tests.waiting import until

from checkout.catalog.consumers import registrations
from checkout.topology import CATALOG
from contracts.checkout import CatalogItemRegistered
from contracts.envelope import Envelope
from kit.db.unit_of_work import utc_now
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import to_message
from kit.messaging.runner import SubscriberRunner
from kit.messaging.topology import declare_at
from testkit.rabbit_server import RabbitServer


def registration(product_id: str, **fields: Any) -> Envelope[CatalogItemRegistered]:
    event = CatalogItemRegistered.model_validate(product(product_id, **fields))
    return Envelope(id=f"lms/{uuid4()}", source="lms", subject=product_id, time=utc_now(), data=event)


async def test_a_valid_and_an_invalid_registration(service: Service, rabbit_server: RabbitServer) -> None:
    await declare_at(rabbit_server.url, [CATALOG])
    publisher = Publisher(rabbit_server.url, name="tests")
    running = SubscriberRunner(
        service="checkout",
        amqp_url=rabbit_server.url,
        database=service.database,
        publisher=publisher,
        queues=[CATALOG],
        routers=[registrations()],
    )
    stop = asyncio.Event()
    task = asyncio.create_task(running.run(stop))
    good, bad = registration(new_id()), registration(new_id(), product_type="bundle")
    try:
        for each in (bad, good, good):
            await publisher.publish(to_message(each))

        async def settled() -> bool:
            async with dead_letters(rabbit_server.url, CATALOG.name) as letters:
                dead = {letter.event_id: letter for letter in await letters.letters()}
            return bad.id in dead and "cannot_be_registered" in dead[bad.id].reason and good.id not in dead

        async def there() -> bool:
            return len(await rows(service, good.data.product_id)) == 1

        await until(there)
        await until(settled)
        async with dead_letters(rabbit_server.url, CATALOG.name) as letters:
            assert await letters.discard(lambda letter: letter.event_id == bad.id) == 1
    finally:
        stop.set()
        await task
        await publisher.close()
    assert not await rows(service, bad.data.product_id)
