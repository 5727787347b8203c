"""Memberships."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, DateTime, Integer, Table, Text, Uuid, text

from checkout.schema import metadata, times

memberships = Table(
    "memberships",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("student_id", Uuid, nullable=False, index=True),
    Column("item_id", Uuid, nullable=False),
    Column("tier", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("cancel_at_period_end", Boolean, nullable=False, server_default=text("false")),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("resumes_at", DateTime(timezone=True)),
    Column("current_period_end", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True)),
    Column("stripe_subscription_id", Text, nullable=False, unique=True),
    Column("stripe_price_id", Text),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("revision", Integer, nullable=False, server_default="1"),
    *times(),
)
"""A membership as Stripe last reported it, at `as_of`. `id` is the purchase's. `resumes_at`: when a pause ends by
itself, as read at Stripe; events do not say."""
