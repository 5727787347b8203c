"""A row of `purchases`, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from checkout.catalog.item import PaymentPlan
from checkout.purchases.domain import Interval, PaymentFlowName, PaymentType, Period, PurchaseRequest, State
from checkout.schema import row_as
from contracts.money import Money
from contracts.people import ItemKind, ItemRef, Payer, Program, enrollment_uuid


@dataclass(frozen=True, kw_only=True)
class PurchaseRow:
    """A row of `purchases`, by column name. `amount`, `list_price` and `co_pay` are minor units of `currency`."""

    id: UUID
    student_id: UUID
    item_id: UUID | None
    item_kind: ItemKind
    owner_id: UUID | None
    program_id: str
    program_slug: str
    program_name: str
    provider: str | None
    untaught: bool
    includes: tuple[ItemRef, ...]
    covers: tuple[str, ...]
    payment_flow: PaymentFlowName
    list_price: int | None
    promotion_code: str | None
    amount: int
    currency: str
    payer: Payer
    funding_source: str | None
    payment_type: PaymentType
    installments: int | None
    state: State
    tier: str | None
    interval: Interval | None
    payment_plan: Mapping[str, object] | None
    enrollment_id: UUID | None
    session_params: Mapping[str, object] | None
    stripe_payment_intent_id: str | None
    stripe_checkout_session_id: str | None
    checkout_url: str | None
    expires_at: datetime | None
    stripe_subscription_id: str | None
    terms_version: str | None
    terms_accepted_at: datetime | None
    canceled_at: datetime | None
    collection_stopped: str | None
    collection_stops: int
    received: int
    charges: int
    authorization_number: str | None
    period_start: date | None
    period_end: date | None
    co_pay: int | None
    state_reason: str | None
    shortfall: int | None
    accepted: int
    recorded_by: str | None
    subscription_status: str | None
    next_charge_at: datetime | None
    created_at: datetime

    @property
    def program(self) -> Program:
        """What was bought, as events describe it."""
        return Program(
            slug=self.program_slug,
            id=self.program_id,
            name=self.program_name,
            provider=self.provider,
            kind=self.item_kind,
            untaught=True if self.untaught else None,
            includes=self.includes,
        )

    @property
    def price(self) -> Money:
        """The total after the discount."""
        return Money(amount=self.amount, currency=self.currency)

    @property
    def first_enrollment_id(self) -> UUID:
        """Of a bundle, the enrollment of its first part."""
        return self.enrollment_id or enrollment_uuid(self.student_id, self.covers[0])

    @property
    def period(self) -> Period | None:
        """What a sponsor pays for."""
        if self.period_start is None or self.period_end is None:
            return None
        return Period(start=self.period_start, end=self.period_end)

    @property
    def bill_to(self) -> str | None:
        """Where a sponsor's invoice was sent."""
        stated = (self.session_params or {}).get("bill_to")
        return stated if isinstance(stated, str) else None

    @property
    def request(self) -> PurchaseRequest:
        return PurchaseRequest(
            student_id=self.student_id,
            program=self.program,
            amount=self.price,
            item_id=self.item_id,
            owner_id=self.owner_id,
            payer=self.payer,
            funding_source=self.funding_source,
            payment_type=self.payment_type,
            installments=self.installments,
            payment_flow=self.payment_flow,
            list_price=Money(amount=self.list_price or self.amount, currency=self.currency),
            promotion_code=self.promotion_code,
            tier=self.tier,
            interval=self.interval,
            authorization_number=self.authorization_number,
            period=self.period,
            bill_to=self.bill_to,
            co_pay=None if self.co_pay is None else Money(amount=self.co_pay, currency=self.currency),
            plan=None if self.payment_plan is None else PaymentPlan.model_validate(self.payment_plan),
        )


def row_of(row: Row[Any]) -> PurchaseRow:
    """Of a row that has all columns of the table."""
    return row_as(
        PurchaseRow,
        row,
        state=State(row.state),
        covers=tuple(row.covers),
        includes=tuple(ItemRef.model_validate(part) for part in row.includes),
    )
