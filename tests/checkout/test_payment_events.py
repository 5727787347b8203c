"""The events of each payment of a purchase, without reading all events for each payment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checkout.payments.projection import EventIndex, EventRecord
from contracts.money import usd
from contracts.payments import PaymentFailed, PaymentRefs, PaymentSucceeded
from ledger.connected import connected
from ledger.payment import Payment

START = datetime(2026, 11, 21, tzinfo=UTC)
IDS = st.none() | st.sampled_from(["1", "2", "3"])


def record(n: int, *, intent: str | None, charge: str | None, hour: int) -> EventRecord:
    refs = PaymentRefs(payment_intent=f"pi_{intent or 'none'}", charge=charge and f"ch_{charge}")
    event = PaymentSucceeded(refs=refs, amount=usd(1)) if n % 2 else PaymentFailed(refs=refs, code="card_declined")
    return EventRecord(id=f"evt_{n}", time=START + timedelta(hours=hour), event=event)


@given(st.lists(st.tuples(IDS, IDS, st.integers(0, 3)), max_size=12))
def test_each_payment_has_the_events_that_share_a_reference_with_it(drawn: list[tuple[Any, Any, int]]) -> None:
    events = [record(n, intent=intent, charge=charge, hour=hour) for n, (intent, charge, hour) in enumerate(drawn)]
    payments = [Payment(part) for part in connected([e.event for e in events], lambda event: event.refs.of_payment())]
    index = EventIndex(events)
    for payment in payments:
        expected = [each for each in events if each.event.refs.of_payment() & payment.refs]
        assert index.of(payment) == sorted(expected, key=lambda each: (each.time, each.id))


def test_no_event_is_read_again_for_each_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    references = PaymentRefs.of_payment

    def counted(refs: PaymentRefs) -> frozenset[str]:
        nonlocal read
        read += 1
        return references(refs)

    events = [record(n, intent=str(n // 4), charge=None, hour=n) for n in range(400)]
    payments = [Payment(tuple(each.event for each in events[n : n + 4])) for n in range(0, 400, 4)]
    for payment in payments:
        assert payment.refs  # kept from now on
    monkeypatch.setattr(PaymentRefs, "of_payment", counted)
    index = EventIndex(events)
    assert [len(index.of(payment)) for payment in payments] == [4] * 100
    assert read == 400
