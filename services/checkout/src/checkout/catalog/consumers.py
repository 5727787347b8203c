"""What other systems register on the bus becomes items."""

from __future__ import annotations

from pydantic import ValidationError

from checkout.catalog.registration import in_our_words, register
from checkout.catalog.service import Unfit
from checkout.topology import CATALOG
from contracts.checkout import CatalogItemRegistered
from contracts.envelope import Envelope
from kit.db.database import cannot_be_stored
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.consumer import Consumer
from kit.runtime.failures import Permanent


def registrations() -> Consumer:
    consumer = Consumer(CATALOG)

    @consumer.on(CatalogItemRegistered)
    async def enter(heard: Envelope[CatalogItemRegistered], uow: UnitOfWork) -> None:
        try:
            # a clock that is ahead must not have the last word for years
            await register(uow, heard.data, at=min(heard.time, uow.now))
        except Unfit as unfit:
            raise Permanent(f"{unfit.code}: {unfit.detail}") from None
        except ValidationError as error:
            raise Permanent(f"this is no item: {in_our_words(error)}") from None
        except Exception as error:
            if cannot_be_stored(error):
                raise Permanent("a value cannot be stored, such as a NUL in a text") from None
            raise

    return consumer
