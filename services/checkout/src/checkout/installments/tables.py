"""Installments, manual payments, cancellations, and the test clock."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    Interval,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from checkout.schema import metadata, times

installments = Table(
    "installments",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("purchase_id", Uuid, nullable=False),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", DateTime(timezone=True)),
    Column("timers", Integer, nullable=False, server_default="0"),
    Column("asked", Integer, nullable=False, server_default="0"),
    Column("failed_debits", Integer, nullable=False, server_default="0"),
    Column("round", Integer, nullable=False, server_default="1"),
    Column("closed_because", Text),
    Column("stripe_payment_intent_id", Text, unique=True),
    Column("stripe_invoice_id", Text, unique=True),
    Column("client_secret", Text),
    Column("pay_url", Text),
    Column("pay_page", Text),
    Column("failure_code", Text),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("announced_round", Integer, nullable=False, server_default="0"),
    Column("charged_at", DateTime(timezone=True)),
    Column("charge_key", Text),
    Column("charged_method", Text),
    Column("paid_at", DateTime(timezone=True)),
    *times(),
    UniqueConstraint("purchase_id", "position"),
    Index(
        "ix_installments_next_attempt_at",
        "next_attempt_at",
        postgresql_where=text("status = 'open'"),
    ),
)
"""See `domain.Installment` for what the columns mean. Rows change only under the lock of their purchase's row."""
COUNTED = ((installments.c.kind != "remainder") | installments.c.status.in_(("paid", "waived"))) & (
    func.coalesce(installments.c.closed_because, "") != "covered"
)
"""What sums are made of: an open remainder stands for installments that are counted already; once it is paid, it is
counted, and they are not."""

manual_payments = Table(
    "manual_payments",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("student_id", Uuid, nullable=False),
    Column("purchase_id", Uuid, nullable=False, index=True),
    Column("installment_id", Uuid, index=True),
    Column("method", Text, nullable=False),
    Column("transaction_reference", Text, nullable=False),
    Column("notes", Text),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("recorded_by", Text, nullable=False),
    *times(),
    UniqueConstraint("student_id", "method", "transaction_reference"),
)

cancellations = Table(
    "cancellations",
    metadata,
    Column("purchase_id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("canceled_by", Text, nullable=False),
    *times(),
)
"""See `domain.Cancellation`."""

sponsor_customers = Table(
    "sponsor_customers",
    metadata,
    Column("code", Text, primary_key=True),
    Column("stripe_customer_id", Text, nullable=False, unique=True),
    *times(),
)

test_clock = Table(
    "test_clock",
    metadata,
    Column("id", Boolean, primary_key=True, server_default=text("true")),
    Column("ahead", Interval, nullable=False),
)
"""How far the test clock is ahead of the real one. Never written unless the setting allows it."""
