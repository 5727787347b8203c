"""/v1/products and /v1/prices"""

from __future__ import annotations

from typing import Any

import stripe.params as p

from stripe_sandbox.errors import StripeError, missing_param
from stripe_sandbox.flows import prices
from stripe_sandbox.operation import Call, Operation, retrieve
from stripe_sandbox.paging import matching, page
from stripe_sandbox.params import merge_metadata
from stripe_sandbox.state import copy_of
from stripe_sandbox.store import Obj

_PRODUCT = (
    "active",
    "name",
    "description",
    "images",
    "statement_descriptor",
    "unit_label",
    "url",
    "shippable",
    "tax_code",
)
_PRICE = ("active", "nickname", "lookup_key", "tax_behavior")


def create_product(call: Call) -> Obj:
    params = call.params
    if "id" in params and call.sandbox.store.find(params["id"]):
        raise StripeError("Product already exists.", code="resource_already_exists", param="id")
    values: dict[str, Any] = {name: params[name] for name in _PRODUCT if name in params}
    product = prices.create_product(
        call.sandbox, id=params.get("id"), metadata=merge_metadata({}, params.get("metadata")), **values
    )
    if (data := params.get("default_price_data")) is not None:
        price = prices.create_price(
            call.sandbox,
            currency=data["currency"],
            product=product["id"],
            amount=prices.unit_amount(data, "default_price_data"),
            recurring=data.get("recurring"),
            metadata=dict(data.get("metadata") or {}),
        )
        product["default_price"] = price["id"]
    return product


def update_product(call: Call) -> Obj:
    return _update(call, "product", (*_PRODUCT, "default_price"))


def delete_product(call: Call) -> Obj:
    product = call.sandbox.store.get("product", call.id)
    if any(call.sandbox.store.where("price", product=call.id)):
        raise StripeError("This product cannot be deleted because it has one or more user-created prices.")
    call.sandbox.store.remove(product)
    call.sandbox.emit("product.deleted", product)
    return {"id": call.id, "object": "product", "deleted": True}


def list_products(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("product"), call.params, "active", "url", "shippable")
    if "ids" in call.params:
        found = [product for product in found if product["id"] in call.params["ids"]]
    return page(call, found, "/v1/products")


def create_price(call: Call) -> Obj:
    params, sandbox = call.params, call.sandbox
    if "product" in params:
        product = sandbox.store.param("product", params["product"], "product")["id"]
    elif "product_data" in params:
        data = {
            k: v for k, v in params["product_data"].items() if k in ("id", "name", "metadata", "active", "unit_label")
        }
        product = prices.create_product(sandbox, **data)["id"]
    else:
        raise missing_param("product")
    if (key := params.get("lookup_key")) is not None:
        _free_lookup_key(call, key)
    return prices.create_price(
        sandbox,
        currency=params["currency"],
        product=product,
        amount=prices.unit_amount(params, ""),
        recurring=params.get("recurring"),
        metadata=merge_metadata({}, params.get("metadata")),
        **{name: params[name] for name in _PRICE if name in params},
    )


def update_price(call: Call) -> Obj:
    return _update(call, "price", _PRICE)


def list_prices(call: Call) -> Obj:
    found = matching(call.sandbox.store.all("price"), call.params, "active", "currency", "product", "type")
    if "lookup_keys" in call.params:
        found = [price for price in found if price["lookup_key"] in call.params["lookup_keys"]]
    return page(call, found, "/v1/prices")


def _update(call: Call, kind: str, fields: tuple[str, ...]) -> Obj:
    obj = call.sandbox.store.get(kind, call.id)
    before = copy_of(obj)
    obj.update({name: call.params[name] for name in fields if name in call.params})
    if "metadata" in call.params:
        obj["metadata"] = merge_metadata(obj["metadata"], call.params["metadata"])
    if before != obj:
        call.sandbox.emit(f"{kind}.updated", obj, before)
    return obj


def _free_lookup_key(call: Call, key: str) -> None:
    for holder in call.sandbox.store.where("price", lookup_key=key):
        if not call.params.get("transfer_lookup_key"):
            raise StripeError(f"A price (`{holder['id']}`) already uses that lookup key.", param="lookup_key")
        holder["lookup_key"] = None


OPERATIONS = [
    Operation("POST", "/v1/products", p.ProductCreateParams, create_product),
    Operation("GET", "/v1/products", p.ProductListParams, list_products),
    Operation("GET", "/v1/products/{id}", p.ProductRetrieveParams, retrieve("product")),
    Operation("POST", "/v1/products/{id}", p.ProductUpdateParams, update_product),
    Operation("DELETE", "/v1/products/{id}", p.ProductDeleteParams, delete_product),
    Operation("POST", "/v1/prices", p.PriceCreateParams, create_price),
    Operation("GET", "/v1/prices", p.PriceListParams, list_prices),
    Operation("GET", "/v1/prices/{id}", p.PriceRetrieveParams, retrieve("price")),
    Operation("POST", "/v1/prices/{id}", p.PriceUpdateParams, update_price),
]
