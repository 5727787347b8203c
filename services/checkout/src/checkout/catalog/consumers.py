"""Registers items that other systems publish."""

from __future__ import annotations

from faststream.rabbit import RabbitRouter
from pydantic import ValidationError

from checkout.catalog.registration import describe_invalid, register
from checkout.catalog.service import InvalidItem
from checkout.topology import CATALOG
from contracts.checkout import CatalogItemRegistered
from contracts.envelope import Envelope
from kit.db.database import cannot_be_stored
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, subscriber
from kit.runtime.failures import Permanent


def registrations() -> RabbitRouter:
    router = RabbitRouter()
    messages = subscriber(router, CATALOG)

    @messages(filter=carries(CatalogItemRegistered))
    async def register_item(event: Envelope[CatalogItemRegistered], uow: UnitOfWork) -> None:
        try:
            # a clock that is ahead must not outrank every later registration
            await register(uow, event.data, at=min(event.time, uow.now))
        except InvalidItem as invalid:
            raise Permanent(f"{invalid.type.code}: {invalid.detail or invalid.type.cause}") from None
        except ValidationError as error:
            raise Permanent(f"not a valid item: {describe_invalid(error)}") from None
        except Exception as error:
            if cannot_be_stored(error):
                raise Permanent("a value cannot be stored, such as a NUL in a text") from None
            raise

    return router
