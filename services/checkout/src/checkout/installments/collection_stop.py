"""Stops collecting a purchase whose amounts contradict one another, and resumes it."""

from __future__ import annotations

import structlog

from checkout.installments import repository, transitions
from checkout.installments.guard import Contradiction, Received, contradiction
from checkout.problems import STILL_CONTRADICTORY
from checkout.purchases.repository import PurchaseRow, write_collection_stop
from contracts.checkout import CollectionStopped
from contracts.money import Money
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)


async def stop(uow: UnitOfWork, purchase: PurchaseRow, code: Contradiction, *, received: int) -> None:
    """Stops it once, in the transaction that has locked the purchase: nothing is charged, and nothing can be paid at
    Stripe, until an admin resumes it. `received`: minor units."""
    if purchase.collection_stopped is not None:
        return
    log.error("collection stopped", purchase=str(purchase.id), code=code)
    stops = purchase.collection_stops + 1
    await write_collection_stop(uow.db, purchase.id, code, stops=stops, at=uow.now)
    for installment in await repository.of_purchase(uow.db, purchase.id):
        if installment.is_payable and installment.is_requested:
            await transitions.enqueue_close(uow, installment)
            await repository.write(uow.db, installment.id, at=uow.now, **repository.without_request(installment))
    event = CollectionStopped(
        purchase_id=purchase.id,
        student_id=purchase.student_id,
        code=code,
        received=Money(amount=received, currency=purchase.currency),
        owed=purchase.price,
    )
    await uow.publish(event, id=f"{purchase.id}/{stops}/{event.type}", subject=str(purchase.id))


async def resume(uow: UnitOfWork, purchase: PurchaseRow) -> None:
    """Collects it again. Raises Problem 409 while its amounts still contradict one another."""
    if purchase.collection_stopped is None:
        return
    installments = await repository.of_purchase(uow.db, purchase.id)
    received = Received(amount=purchase.received, charges=purchase.charges)
    if (code := contradiction(received, price=purchase.amount, installments=installments)) is not None:
        raise STILL_CONTRADICTORY(code_of_stop=code)
    await write_collection_stop(uow.db, purchase.id, None, stops=purchase.collection_stops, at=uow.now)
    log.info("collection resumed", purchase=str(purchase.id))
