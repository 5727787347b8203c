"""The catalog's tables."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from checkout.schema import metadata, times

items = Table(
    "items",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False, server_default="program"),
    Column("slug", Text, nullable=False, unique=True),
    Column("external_id", Text),
    Column("name", Text, nullable=False),
    Column("category", Text),
    Column("owner_id", Uuid),
    Column("price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_cost", BigInteger),
    Column("provider", Text),
    Column("auto_assign_payment_plan", Boolean, nullable=False, server_default=text("true")),
    Column("payment_plan", JSONB(none_as_null=True)),
    Column("tier", Text),
    Column("annual_price", BigInteger),
    Column("projects", JSONB, nullable=False, server_default=text("'[]'")),
    Column("taught", Boolean, nullable=False, server_default=text("true")),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    Column("revision", Integer, nullable=False, server_default="1"),
    Column("registered_at", DateTime(timezone=True)),
    *times(),
    UniqueConstraint("kind", "external_id"),
)
"""Everything that is sold. Amounts are minor units. `external_id` is another system's id, unique within its kind, and
`registered_at` the time of its last registration. `revision` counts the changes, each of which is an event."""

bundle_items = Table(
    "bundle_items",
    metadata,
    Column("bundle_id", Uuid, primary_key=True),
    Column("item_id", Uuid, primary_key=True, index=True),
    Column("position", Integer, nullable=False),
)

sponsors = Table(
    "sponsors",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("code", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("finance_email", Text),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    *times(),
)

promotion_codes = Table(
    "promotion_codes",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("code", Text, nullable=False, unique=True),
    Column("percent_off", Integer),
    Column("amount_off", BigInteger),
    Column("currency", Text),
    Column("kinds", ARRAY(Text)),
    Column("items", ARRAY(Text)),
    Column("valid_from", DateTime(timezone=True)),
    Column("valid_until", DateTime(timezone=True)),
    Column("most_uses", Integer),
    Column("most_per_student", Integer),
    Column("uses", Integer, nullable=False, server_default="0"),
    Column("guest_holds", Integer, nullable=False, server_default="0"),
    Column("referrer_id", Uuid, unique=True),
    Column("active", Boolean, nullable=False, server_default=text("true")),
    *times(),
)
"""`kinds`, `items` (slugs): what it applies to; NULL: everything. `uses` counts reserved and redeemed uses, and
`guest_holds` those of them that guests have reserved."""

redemptions = Table(
    "redemptions",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=func.gen_random_uuid()),
    Column("promotion_code_id", Uuid, nullable=False, index=True),
    Column("purchase_id", Uuid, nullable=False, unique=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("guest", Boolean, nullable=False, server_default=text("false")),
    *times(),
)
"""The use of a code by a purchase: reserved when it starts, redeemed when it is paid, released when it is not."""
