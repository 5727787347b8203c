"""`payments` follows the payment facts. Facts are stored without personal data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contracts import personal_data
from contracts.envelope import Envelope
from kit.db.unit_of_work import UnitOfWork
from kit.messaging.event_facts import FactRules
from kit.messaging.projection import Projection
from ledger.facts import implied_keys, keys, superseded
from reporting.figures import domain
from reporting.figures.domain import PaymentRow
from reporting.tables import payments
from reporting.topology import PAYMENTS

FIGURES = Projection[PaymentRow, PaymentRow](
    queue=PAYMENTS,
    table=payments,
    row=PaymentRow,
    rules=FactRules(keys=keys, implied_keys=implied_keys, superseded=superseded),
    wanted=domain.wanted,
    becomes=domain.becomes,
)


async def project_all(uow: UnitOfWork, events: Sequence[Envelope[Any]]) -> None:
    await FIGURES.apply_all(uow, [each for event in events if (each := personal_data.without(event)) is not None])
