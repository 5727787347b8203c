"""Purchases, and what checkout stores of enrollments and students."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from checkout.schema import metadata, times

UNSETTLED = text("state IN ('session_open', 'awaiting_payment', 'processing')")
OPEN = text("state IN ('created', 'session_open', 'awaiting_payment')")

purchases = Table(
    "purchases",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False),
    Column("item_id", Uuid),
    Column("item_kind", Text, nullable=False, server_default="program"),
    Column("owner_id", Uuid),
    Column("program_id", Text, nullable=False),
    Column("program_slug", Text, nullable=False),
    Column("program_name", Text, nullable=False),
    Column("provider", Text),
    Column("untaught", Boolean, nullable=False, server_default=text("false")),
    Column("includes", JSONB, nullable=False, server_default=text("'[]'")),
    Column("covers", ARRAY(Text), nullable=False),
    Column("payment_flow", Text, nullable=False, server_default="page"),
    Column("list_price", BigInteger),
    Column("promotion_code", Text),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("funding_source", Text),
    Column("payment_type", Text, nullable=False),
    Column("installments", Integer),
    Column("state", Text, nullable=False, server_default="created"),
    Column("tier", Text),
    Column("interval", Text),
    Column("payment_plan", JSONB(none_as_null=True)),
    Column("enrollment_id", Uuid, index=True),
    Column("session_params", JSONB(none_as_null=True)),
    Column("stripe_payment_intent_id", Text, unique=True),
    Column("client_secret", Text),
    Column("stripe_checkout_session_id", Text, unique=True),
    Column("checkout_url", Text),
    Column("expires_at", DateTime(timezone=True)),
    Column("stripe_subscription_id", Text),
    Column("terms_version", Text),
    Column("terms_accepted_at", DateTime(timezone=True)),
    Column("canceled_at", DateTime(timezone=True)),
    Column("cancel_reason", Text),
    Column("collection_stopped", Text),
    Column("collection_stops", Integer, nullable=False, server_default="0"),
    Column("received", BigInteger, nullable=False, server_default="0"),
    Column("charges", Integer, nullable=False, server_default="0"),
    Column("authorization_number", Text),
    Column("period_start", Date),
    Column("period_end", Date),
    Column("co_pay", BigInteger),
    Column("state_reason", Text),
    Column("shortfall", BigInteger),
    Column("accepted", BigInteger, nullable=False, server_default="0"),
    Column("accepted_by", Text),
    Column("acceptance_reason", Text),
    Column("recorded_by", Text),
    Column("subscription_status", Text),
    Column("next_charge_at", DateTime(timezone=True)),
    *times(),
    Index("uq_purchases_open", "student_id", "program_slug", unique=True, postgresql_where=OPEN),
    Index("ix_purchases_created_at", "created_at", "id"),
    Index("ix_purchases_covers", "covers", postgresql_using="gin"),
    Index("ix_purchases_unsettled", "created_at", postgresql_where=UNSETTLED),
    Index("ix_purchases_funding_source", "funding_source", "created_at", postgresql_where=text("payer = 'sponsor'")),
    Index("ix_purchases_state_reason", "state_reason", postgresql_where=text("state_reason IS NOT NULL")),
)
"""`amount` is the total after the discount; `covers` are the slugs of the enrollments that it gives; `session_params`
is the body that Stripe is sent. `state`: see TRANSITIONS in domain.py; `state_reason`: why its payment does not open
an enrollment although it was received. `co_pay`: what the student pays of a sponsor's purchase. `shortfall` is what
is missing, `accepted` what an admin has waived of the price. `recorded_by`: who has recorded a payment that was not
started here as this purchase; None for our own. Of a plan that Stripe collects: `subscription_status`, and
`next_charge_at` by Stripe."""

authorizations = Table(
    "authorizations",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("funding_source", Text, primary_key=True),
    Column("authorization_number", Text, primary_key=True),
    Column("cap", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
"""What a sponsor pays at most for a student under an authorization number, as stated last. Minor units."""

sponsor_links = Table(
    "sponsor_links",
    metadata,
    Column("code", Text, primary_key=True),
    Column("link_hash", Text, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)
"""The link by which a sponsor reads its invoices: the SHA-256 of its token, in hex."""

unmatched_payments = Table(
    "unmatched_payments",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("purchase_id", Uuid, nullable=False, index=True),
    Column("refs", ARRAY(Text), nullable=False),
    Column("payment_refs", JSONB, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False, server_default="0"),
    Column("currency", Text, nullable=False),
    Column("email", Text),
    Column("payer", Text, nullable=False, server_default="student"),
    Column("funding_source", Text),
    Column("installments", Integer),
    Column("code", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="pending", index=True),
    Column("student_id", Uuid),
    Column("failure", Text),
    Column("resolved_by", Text),
    Column("resolved_at", DateTime(timezone=True)),
    *times(),
    Index("ix_unmatched_payments_refs", "refs", postgresql_using="gin"),
)
"""Payments that name nobody or nothing that checkout has. `purchase_id`: of the purchase that they become when an
admin assigns them. `pending`: what it belongs to may still arrive; `matched`: it has."""

stripe_checks = Table(
    "stripe_checks",
    metadata,
    Column("object_id", Text, primary_key=True),
    Column("checks", Integer, nullable=False),
    Column("next_at", DateTime(timezone=True), nullable=False),
)
"""How often an object that is open here was looked at in Stripe, and when it is again."""

funding_payments = Table(
    "funding_payments",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("program_id", Text, nullable=False, index=True),
    Column("funding_source", Text, nullable=False, server_default="WIOA"),
    Column("stripe_checkout_session_id", Text, unique=True),
    Column("stripe_payment_intent_id", Text),
    Column("stripe_invoice_id", Text, unique=True),
    Column("status", Text, nullable=False, server_default="created", index=True),
    Column("amount", Numeric(10, 2), nullable=False),
    Column("paid_at", DateTime(timezone=True)),
    *times(),
)
"""`id` is the purchase's."""

funding_payment_changes = Table(
    "funding_payment_changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("funding_payment_id", Uuid, nullable=False, index=True),
    Column("student_id", Uuid, nullable=False),
    Column("actor", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("operation", Text, nullable=False),
    Column("old", JSONB),
    Column("new", JSONB),
)
"""The audit trail, written by a trigger."""

enrollments = Table(
    "enrollments",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("program_slug", Text, primary_key=True),
    Column("enrollment_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    Column("purchase_id", Uuid),
    Column("revision", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""The read model of the enrollment service's events; the API does not write it."""

enrollment_progress = Table(
    "enrollment_progress",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("program_slug", Text, primary_key=True),
    Column("percent", Integer, nullable=False),
)
"""How much of the curriculum is done, by the enrollment service's events; the API does not write it."""

contacts = Table(
    "contacts",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text),
    Column("revision", Integer, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

customers = Table(
    "customers",
    metadata,
    Column("student_id", Uuid, primary_key=True),
    Column("stripe_customer_id", Text, nullable=False, unique=True),
    Column("email", Text),
    Column("name", Text),
    *times(),
)
"""A student's one customer at Stripe; `email` and `name` are the ones that Stripe was sent last."""
