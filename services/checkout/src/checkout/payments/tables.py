"""Payments, refunds, refund requests and disputes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from checkout.schema import metadata, times

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("purchase_id", Uuid, nullable=False, index=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("item_slug", Text, nullable=False),
    Column("item_name", Text, nullable=False),
    Column("item_kind", Text, nullable=False),
    Column("owner_id", Uuid, index=True),
    Column("payer", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("tax", BigInteger, nullable=False, server_default="0"),
    Column("refunded", BigInteger, nullable=False, server_default="0"),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("method", Text),
    Column("method_details", JSONB(none_as_null=True)),
    Column("refs", ARRAY(Text), nullable=False),
    Column("installment", Text, index=True),
    Column("stripe_payment_intent_id", Text, unique=True),
    Column("stripe_charge_id", Text),
    Column("stripe_invoice_id", Text),
    Column("manual_id", Text),
    Column("disputed", Boolean, nullable=False, server_default=text("false")),
    Column("failure_code", Text),
    Column("paid_at", DateTime(timezone=True)),
    Column("late", Boolean, nullable=False, server_default=text("false")),
    *times(),
    Index("ix_payments_created_at", "created_at", "id"),
    Index("ix_payments_refs", "refs", postgresql_using="gin"),
)
"""One row per payment, created with its intent or by its first event, and kept up to date by payment events.
`refunded`: minor units that are refunded or being refunded, according to payment events. `late`: the money arrived
after the purchase had ended."""

refunds = Table(
    "refunds",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("payment_id", Uuid, nullable=False, index=True),
    Column("purchase_id", Uuid, nullable=False, index=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("stripe_refund_id", Text, unique=True),
    Column("failure", Text),
    Column("reported", Boolean, nullable=False, server_default=text("false")),
    *times(),
)
"""Refunds made here, or in Stripe's dashboard (`origin` stripe). `reported`: payment events mention it, so the
payment's `refunded` includes it; until then it is reserved."""

refund_requests = Table(
    "refund_requests",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("payment_id", Uuid, nullable=False, index=True),
    Column("purchase_id", Uuid, nullable=False),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="pending"),
    Column("decided_amount", BigInteger),
    Column("decided_by", Text),
    Column("decided_at", DateTime(timezone=True)),
    Column("note", Text),
    Column("refund_id", Uuid),
    *times(),
    Index("uq_refund_requests_pending", "payment_id", unique=True, postgresql_where=text("status = 'pending'")),
)

disputes = Table(
    "disputes",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("stripe_dispute_id", Text, nullable=False, unique=True),
    Column("payment_id", Uuid, nullable=False, index=True),
    Column("purchase_id", Uuid, nullable=False, index=True),
    Column("student_id", Uuid, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("funds", Text),
    Column("evidence_due_by", DateTime(timezone=True)),
    Column("history", JSONB, nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    *times(),
)
"""`history`: every event of the dispute, in its order."""

purchase_ends = Table(
    "purchase_ends",
    metadata,
    Column("purchase_id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("ended_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("counted", ARRAY(Text), nullable=False),
    *times(),
)
"""Purchases that a student or the school has ended. `counted`: the references of the payments that had succeeded; any
other payment is late."""
