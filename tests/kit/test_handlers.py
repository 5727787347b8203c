"""Registration on FastStream's router: what is missing or ambiguous is an error at start, not a dead letter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faststream.rabbit import RabbitRouter

from contracts.envelope import Envelope
from contracts.payments import PaymentEvent, PaymentFailed, PaymentRefunded, PaymentSucceeded
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.subscriber import carries, check_handlers, handlers, subscriber, subscribers_of
from kit.messaging.topology import Queue

PAYMENTS = Queue("kit-tests.payments", events=(PaymentSucceeded, PaymentRefunded))


async def handler(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None: ...


async def other(event: Envelope[PaymentEvent], uow: UnitOfWork) -> None: ...


def test_each_event_has_the_handler_whose_filter_takes_it() -> None:
    router = RabbitRouter()
    payments = subscriber(router, PAYMENTS)
    first = payments(handler, filter=carries(PaymentSucceeded))
    second = payments(other, filter=carries(PaymentRefunded))
    check_handlers([router], [PAYMENTS])
    (only,) = subscribers_of([router])
    assert handlers(only) == {"payment.succeeded.v1": first, "payment.refunded.v1": second}


def _nothing(_: RabbitRouter) -> None: ...


def _one_of_two(router: RabbitRouter) -> None:
    subscriber(router, PAYMENTS)(handler, filter=carries(PaymentSucceeded))


def _two_handlers(router: RabbitRouter) -> None:
    payments = subscriber(router, PAYMENTS)
    payments(handler, filter=carries(*PAYMENTS.events))
    payments(other, filter=carries(PaymentRefunded))


def _not_bound(router: RabbitRouter) -> None:
    subscriber(router, PAYMENTS)(handler, filter=carries(*PAYMENTS.events, PaymentFailed))


def _no_filter(router: RabbitRouter) -> None:
    subscriber(router, PAYMENTS)(handler)


def _two_subscribers(router: RabbitRouter) -> None:
    _one_of_two(router)
    subscriber(router, PAYMENTS)(other, filter=carries(PaymentRefunded))


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (_nothing, "subscribers of"),
        (_one_of_two, "no handler for payment.refunded.v1"),
        (_two_handlers, "payment.refunded.v1 has two handlers"),
        (_not_bound, "handles payment.failed.v1, which is not bound to it"),
        (_no_filter, "handler needs filter=carries"),
        (_two_subscribers, "subscribers of"),
    ],
)
def test_an_incomplete_or_ambiguous_registration_is_an_error(
    register: Callable[[RabbitRouter], None], message: str
) -> None:
    router = RabbitRouter()
    register(router)
    with pytest.raises(ValueError, match=message):
        check_handlers([router], [PAYMENTS])
