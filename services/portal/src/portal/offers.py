"""The catalog as pages display it: groups, and how each kind is bought. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Item = Mapping[str, Any]
"""CatalogOffer of docs/openapi/checkout.json."""

GROUPS: tuple[tuple[str, str], ...] = (
    ("program", "Programs"),
    ("track", "Tracks"),
    ("course", "Courses"),
    ("bundle", "Bundles"),
    ("membership", "Memberships"),
    ("service", "Services"),
    ("product", "Products"),
    ("merchandise", "Merchandise"),
)


def grouped(items: Iterable[Item]) -> list[tuple[str, list[Item]]]:
    """The groups that have items, each with its title, cheapest item first."""
    listed = sorted(items, key=lambda item: (item["amount"], item["name"]))
    found = [(title, [item for item in listed if item["kind"] == kind]) for kind, title in GROUPS]
    return [(title, group) for title, group in found if group]


def item_of(items: Iterable[Item], reference: str) -> Item | None:
    """By slug or id."""
    return next((item for item in items if reference in (item["slug"], item["id"])), None)


def has_plan(item: Item) -> bool:
    """Whether `POST /api/create-checkout-session` takes it with paymentType plan."""
    return bool(item["kind"] == "program")


def guests_may_buy(item: Item) -> bool:
    """The other routes need a token."""
    return bool(item["kind"] == "program")


def has_card_form(item: Item, price: Mapping[str, Any]) -> bool:
    """Whether `POST /api/payments/create-intent` takes it. Where nothing is due, a click must say that it is wanted."""
    return bool(item["kind"] != "membership" and price["total"] > 0)
