"""Another system's product becomes an item: one way in, whichever door it comes through."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, select, update

from checkout.catalog import service
from checkout.catalog.item import SLUG, SLUG_LENGTH, Item
from checkout.catalog.repository import items_of, uuid_in
from checkout.catalog.service import InvalidItem
from checkout.catalog.tables import items
from contracts.checkout import CatalogItemRegistered
from contracts.people import MEMBERSHIP
from kit.db.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

_OPTIONAL = ("auto_assign_payment_plan", "category", "owner_id", "active")
_HASH = 8


@dataclass(frozen=True, kw_only=True)
class Registered:
    item: Item
    new: bool


async def register(uow: UnitOfWork, wanted: CatalogItemRegistered, *, at: datetime) -> Registered:
    """Adds the product, or updates the item that it is already: (`product_type`, `product_id`) is its name.

    `at` is when the other system said so; an older word than the last one changes nothing. Purchases that have begun
    keep their price. Raises InvalidItem for what cannot be sold so, ValidationError for what is no item.
    """
    of_it = await _named(uow, wanted)
    if (known := await _update(uow, wanted, of_it, at)) is not None:
        return Registered(item=known, new=False)
    if wanted.product_type in ("bundle", "membership"):
        detail = f"A new {wanted.product_type} needs more than this tells: an admin makes it (POST /api/admin/items)."
        raise InvalidItem("cannot_be_registered", detail)
    for slug in slugs(wanted.product_type, wanted.product_id):
        item = Item(
            id=uuid4(),
            kind=wanted.product_type,
            slug=slug,
            external_id=wanted.product_id,
            name=wanted.product_name,
            price=wanted.price,
            currency=wanted.currency,
            **{name: getattr(wanted, name) for name in _OPTIONAL},
        )
        if await service.add(uow, item, registered_at=at):
            log.info("registered", slug=slug, kind=item.kind)
            return Registered(item=item, new=True)
        # either the slug is somebody else's, or the same product was registered this very moment
        if (known := await _update(uow, wanted, of_it, at)) is not None:
            return Registered(item=known, new=False)
    raise InvalidItem("no_free_slug", "Every name that could be made of this product_id is taken by other items.")


def slugs(product_type: str, product_id: str) -> Iterator[str]:
    """The slugs that a product could get, best first."""
    if re.fullmatch(SLUG, product_id) and len(product_id) <= SLUG_LENGTH and product_id != MEMBERSHIP:
        yield product_id
    plain = re.sub(r"[^a-z0-9]+", "-", f"{product_type}-{product_id}".lower()).strip("-")
    yield plain[:SLUG_LENGTH].strip("-")
    mark = hashlib.sha256(f"{product_type}/{product_id}".encode()).hexdigest()[:_HASH]
    yield f"{plain[: SLUG_LENGTH - _HASH - 1].strip('-')}-{mark}"


async def _named(uow: UnitOfWork, wanted: CatalogItemRegistered) -> ColumnElement[bool]:
    """Which item it is: by our own id if that is what we are told, else by the other system's."""
    if (id := uuid_in(wanted.product_id)) is not None:
        kind = (await uow.db.execute(select(items.c.kind).where(items.c.id == id))).scalar_one_or_none()
        if kind is not None and kind != wanted.product_type:
            raise InvalidItem("of_another_type", f"This product_id is the id of one of our items, which is a {kind}.")
        if kind is not None:
            return items.c.id == id
    return (items.c.kind == wanted.product_type) & (items.c.external_id == wanted.product_id)


async def _update(
    uow: UnitOfWork, wanted: CatalogItemRegistered, of_it: ColumnElement[bool], at: datetime
) -> Item | None:
    """The item as it is then; None when there is none. What the other system does not speak of stays."""
    row = (await uow.db.execute(select(items).where(of_it).with_for_update())).one_or_none()
    if row is None:
        return None
    if row.registered_at is not None and row.registered_at > at:
        log.info("registration passed over: there is a later one", slug=row.slug)
        return (await items_of(uow.db, [row]))[0]
    values: dict[str, Any] = {
        "name": wanted.product_name,
        "price": wanted.price,
        "currency": wanted.currency,
        **{name: getattr(wanted, name) for name in _OPTIONAL if name in wanted.model_fields_set},
    }
    item = await service.change(uow, items.c.id == row.id, values)
    await uow.db.execute(update(items).where(items.c.id == row.id).values(registered_at=at))
    return item


def describe_invalid(error: ValidationError) -> str:
    """Where it does not fit and how, without the values."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'item'}: {e['msg']}" for e in error.errors()[:5])
