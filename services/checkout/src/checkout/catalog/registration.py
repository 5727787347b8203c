"""Another system's product becomes an item, whether it is registered by an event or through the API."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, select, update

from checkout.catalog import service
from checkout.catalog.item import SLUG, SLUG_LENGTH, Item
from checkout.catalog.problems import CANNOT_BE_REGISTERED, NO_FREE_SLUG, OF_ANOTHER_TYPE
from checkout.catalog.repository import uuid_in
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
    slug: str
    new: bool


async def register(uow: UnitOfWork, product: CatalogItemRegistered, *, at: datetime) -> Registered:
    """Adds the product, or updates its item. (`product_type`, `product_id`) identifies it.

    `at`: when the other system published it; a registration older than the last one changes nothing. Purchases that
    have been started keep their price. Raises InvalidItem for what cannot be sold, ValidationError for what is no item.
    """
    which = await _item_of(uow, product)
    if (existing := await _update(uow, product, which, at)) is not None:
        return Registered(slug=existing, new=False)
    if product.product_type in ("bundle", "membership"):
        detail = f"A new {product.product_type} needs more fields; an admin creates it (POST /api/admin/items)."
        raise InvalidItem(CANNOT_BE_REGISTERED, detail)
    for slug in slugs(product.product_type, product.product_id):
        item = Item(
            id=uuid4(),
            kind=product.product_type,
            slug=slug,
            external_id=product.product_id,
            name=product.product_name,
            price=product.price,
            currency=product.currency,
            auto_assign_payment_plan=product.auto_assign_payment_plan,
            category=product.category,
            owner_id=product.owner_id,
            active=product.active,
        )
        if await service.add(uow, item, registered_at=at):
            log.info("registered", slug=slug, kind=item.kind)
            return Registered(slug=item.slug, new=True)
        # either the slug is another item's, or the same product was registered concurrently
        if (existing := await _update(uow, product, which, at)) is not None:
            return Registered(slug=existing, new=False)
    raise InvalidItem(NO_FREE_SLUG)


def slugs(product_type: str, product_id: str) -> Iterator[str]:
    """The slugs that a product could get, best first."""
    if re.fullmatch(SLUG, product_id) and len(product_id) <= SLUG_LENGTH and product_id != MEMBERSHIP:
        yield product_id
    plain = re.sub(r"[^a-z0-9]+", "-", f"{product_type}-{product_id}".lower()).strip("-")
    yield plain[:SLUG_LENGTH].strip("-")
    mark = hashlib.sha256(f"{product_type}/{product_id}".encode()).hexdigest()[:_HASH]
    yield f"{plain[: SLUG_LENGTH - _HASH - 1].strip('-')}-{mark}"


async def _item_of(uow: UnitOfWork, product: CatalogItemRegistered) -> ColumnElement[bool]:
    """Which item the product is: by our own id if `product_id` is one, else by the other system's."""
    if (id := uuid_in(product.product_id)) is not None:
        kind = (await uow.db.execute(select(items.c.kind).where(items.c.id == id))).scalar_one_or_none()
        if kind is not None and kind != product.product_type:
            raise InvalidItem(OF_ANOTHER_TYPE, f"This product_id is the id of an item that is a {kind}.")
        if kind is not None:
            return items.c.id == id
    return (items.c.kind == product.product_type) & (items.c.external_id == product.product_id)


async def _update(
    uow: UnitOfWork, product: CatalogItemRegistered, which: ColumnElement[bool], at: datetime
) -> str | None:
    """The slug of the updated item; None when there is none. Optional fields that are omitted keep their values."""
    if (row := await service.lock(uow, which)) is None:
        return None
    if row.registered_at is not None and row.registered_at > at:
        log.info("registration ignored: a later one was applied", slug=row.slug)
        return str(row.slug)
    sent = product.model_dump(include=product.model_fields_set & set(_OPTIONAL))
    changes = {"name": product.product_name, "price": product.price, "currency": product.currency, **sent}
    await service.change(uow, items.c.id == row.id, changes)
    await uow.db.execute(update(items).where(items.c.id == row.id).values(registered_at=at))
    return str(row.slug)


def describe_invalid(error: ValidationError) -> str:
    """Which fields are invalid and why, without their values."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'item'}: {e['msg']}" for e in error.errors()[:5])
