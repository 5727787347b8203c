"""The OpenAPI document of an app: what FastAPI derives from the routes, and what it does not know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

Document = dict[str, Any]  # JSON

SCHEMAS = "#/components/schemas/"
_PARAMETRIZED = re.compile(r"([A-Z][A-Za-z]*)_([A-Z][A-Za-z]*)_")
"""FastAPI's name of `Page[Payment]`: Page_Payment_."""


def complete(app: FastAPI) -> None:
    """Makes `app.openapi()` return the completed document."""
    derived = app.openapi
    completed: list[Document] = []

    def document() -> Document:
        if not completed:
            completed.append(_completed(app, derived()))
        return completed[0]

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation does it


def _completed(app: FastAPI, document: Document) -> Document:
    document["servers"] = [{"url": "/", "description": "The host that serves this document."}]
    routes = documented_routes(app)
    for path, method, operation in each_operation(document):
        operation["operationId"] = routes[method, path].name
    return _with_plain_names(document)


def _with_plain_names(document: Document) -> Document:
    """`Page[Payment]` is PaymentPage."""
    schemas: Document = document.get("components", {}).get("schemas", {})
    plain = {name: match[2] + match[1] for name in schemas if (match := _PARAMETRIZED.fullmatch(name))}
    references = {SCHEMAS + old: SCHEMAS + new for old, new in plain.items()}
    renamed: Document = replace_references(document, lambda reference: references.get(reference, reference))
    if schemas:
        found = renamed["components"]["schemas"]
        for old, new in plain.items():
            found[new] = found.pop(old) | {"title": new}
        renamed["components"]["schemas"] = dict(sorted(found.items()))
    return renamed


def documented_routes(app: FastAPI) -> dict[tuple[str, str], RouteContext]:
    """By method in lower case, and path as it is in the document."""
    return {
        (method.lower(), route.path_format or ""): route
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }


def each_operation(document: Document) -> list[tuple[str, str, Document]]:
    """Path, method and operation."""
    return [(path, method, each) for path, item in document["paths"].items() for method, each in item.items()]


def replace_references(part: Any, renamed: Callable[[str], str]) -> Any:
    """A copy of this part of a document, in which every `$ref` is the renamed one. (Any: JSON)"""
    if isinstance(part, dict):
        return {
            key: renamed(value) if key == "$ref" and isinstance(value, str) else replace_references(value, renamed)
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [replace_references(each, renamed) for each in part]
    return part
