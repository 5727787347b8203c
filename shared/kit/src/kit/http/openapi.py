"""The OpenAPI document of an app: what FastAPI derives from the routes, and what it does not know."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from pydantic import JsonValue
from pydantic.config import JsonDict

from kit.http.auth import GUEST, roles_of
from kit.http.declared_problems import DeclaredProblems
from kit.http.problems import MEDIA_TYPE, ProblemDocument, ProblemType

Document = dict[str, Any]  # JSON

SCHEMAS = "#/components/schemas/"
TAGS = {
    "admin": "For admins and case managers: payments, installments, refunds, sponsors, students.",
    "database": "The state of the service's database.",
    "students": "What is kept about the caller.",
    "verification": "Whether the rows are what the payment facts say, and the repair.",
}
"""Of routes that several services have."""
_BEARER = "bearer"
_PARAMETRIZED = re.compile(r"([A-Z][A-Za-z]*)_([A-Z][A-Za-z]*)_")
"""FastAPI's name of `Page[Payment]`: Page_Payment_."""
_FASTAPI_ERRORS = ("HTTPValidationError", "ValidationError")
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}}


def example(**fields: JsonValue) -> JsonDict:
    """`json_schema_extra` of the model of a request body."""
    return {"examples": [fields]}


def complete(app: FastAPI, *, tags: Mapping[str, str]) -> None:
    """Makes `app.openapi()` return the completed document. `tags`: what each is about, other than TAGS."""
    derived = app.openapi
    completed: list[Document] = []

    def document() -> Document:
        if not completed:
            completed.append(_completed(app, derived(), tags))
        return completed[0]

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation does it


def _completed(app: FastAPI, document: Document, tags: Mapping[str, str]) -> Document:
    document["servers"] = [{"url": "/", "description": "The host that serves this document."}]
    components: Document = document.setdefault("components", {})
    schemas: Document = components.setdefault("schemas", {})
    for name in _FASTAPI_ERRORS:
        schemas.pop(name, None)
    schemas["Problem"] = ProblemDocument.model_json_schema()
    if "securitySchemes" in components:
        components["securitySchemes"] = {_BEARER: next(iter(components["securitySchemes"].values()))}
    declared: DeclaredProblems | None = app.state.declared_problems
    routes = documented_routes(app)
    for path, method, operation in each_operation(document):
        route = routes[method, path]
        operation["operationId"] = route.name
        operation["security"] = _security(operation, route)
        operation["responses"] = {
            status: answer for status, answer in operation["responses"].items() if status < "400"
        } | _problems(declared.of.get(str(route.name), ()) if declared else (), str(route.name), schemas)
    used = {tag for *_, operation in each_operation(document) for tag in operation.get("tags", ())}
    texts = {**TAGS, **tags}
    document["tags"] = [{"name": tag, "description": texts[tag]} for tag in sorted(used) if tag in texts]
    _without_defaults(document)
    document = _with_plain_names(_plain(document))
    _share(document, "responses", lambda operation: operation["responses"], _name_of_answer)
    _share(document, "parameters", lambda operation: operation.get("parameters", []), _name_of_parameter)
    return document


def _without_defaults(document: Document) -> None:
    """What a PATCH omits stays as it is: a client must not fill in the model's default."""
    for _, method, operation in each_operation(document):
        if method == "patch":
            reference: str = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
            for field in document["components"]["schemas"][reference.removeprefix(SCHEMAS)]["properties"].values():
                field.pop("default", None)


def _security(operation: Document, route: RouteContext) -> list[Document]:
    if not operation.get("security"):
        return []
    return [{}, {_BEARER: []}] if GUEST in roles_of(route.dependant) else [{_BEARER: []}]


def _problems(types: Iterable[ProblemType], operation: str, schemas: Document) -> Document:
    """By status. The codes of each are a closed list, and operations with the same list share its schema."""
    codes: dict[int, set[str]] = {}
    for each in types:
        codes.setdefault(each.status, set()).add(each.code)
    return {str(status): _problem(status, sorted(codes[status]), operation, schemas) for status in sorted(codes)}


def _problem(status: int, codes: list[str], operation: str, schemas: Document) -> Document:
    """The schema is UnknownItem404; of several codes, named after the first operation that answers them:
    CreateItem409. `enum` of one status, not `const`: client generators merge it with the integer of Problem."""
    members = {"code": {"enum": codes, "type": "string"}, "status": {"enum": [status], "type": "integer"}}
    schema = {"allOf": [{"$ref": SCHEMAS + "Problem"}, {"type": "object", "properties": members}]}
    name = next((known for known, each in schemas.items() if each == schema), None)
    if name is None:
        name = _pascal(codes[0] if len(codes) == 1 else operation) + str(status)
        schemas[name] = schema
    answer: Document = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": SCHEMAS + name}}},
    }
    return answer | {"headers": _RETRY_AFTER} if status == HTTPStatus.TOO_MANY_REQUESTS else answer


def _name_of_answer(answer: Document) -> str:
    reference: str = answer["content"][MEDIA_TYPE]["schema"]["$ref"]
    return reference.removeprefix(SCHEMAS)


def _name_of_parameter(parameter: Document) -> str:
    return _pascal(parameter["name"])


def _share(
    document: Document,
    kind: str,
    parts: Callable[[Document], Document | list[Document]],
    name_of: Callable[[Document], str],
) -> None:
    """Makes components of the responses or parameters that several operations have."""
    places: list[tuple[Any, Any]] = []
    for _, _, operation in each_operation(document):
        found = parts(operation)
        places += [(found, key) for key in (list(found) if isinstance(found, dict) else range(len(found)))]
    shareable = [
        place for place in places if kind == "parameters" or MEDIA_TYPE in place[0][place[1]].get("content", ())
    ]
    count = Counter(repr(found[key]) for found, key in shareable)
    components: Document = {}
    names: dict[str, str] = {}
    for found, key in shareable:
        part = found[key]
        if count[repr(part)] == 1:
            continue
        if (name := names.get(repr(part))) is None:
            name = name_of(part)
            while name in components:
                name += "_"
            names[repr(part)], components[name] = name, part
        found[key] = {"$ref": f"#/components/{kind}/{name}"}
    if components:
        document["components"][kind] = dict(sorted(components.items()))


def _pascal(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[_-]", name))


def documented_routes(app: FastAPI) -> dict[tuple[str, str], RouteContext]:
    """By method in lower case, and path as it is in the document."""
    return {
        (method.lower(), route.path_format or ""): route
        for route in iter_route_contexts(app.routes)
        if isinstance(route.original_route, APIRoute) and route.include_in_schema
        for method in route.methods or ()
    }


def _plain(part: Any, within: str = "") -> Any:
    """Without pydantic's titles ("Student Id" of `student_id`), and with `type: [string, null]` instead of an `anyOf`
    of both. (Any: JSON)"""
    if isinstance(part, list):
        return [_plain(each) for each in part]
    if not isinstance(part, dict):
        return part
    kept = {
        key: value if key == "examples" else _plain(value, key)
        for key, value in part.items()
        if key != "title" or within in ("properties", "info") or not isinstance(value, str)
    }
    first, *others = kept.get("anyOf", [{}])
    if others == [{"type": "null"}] and isinstance(first.get("type"), str) and "const" not in first:
        del kept["anyOf"]
        values = {"enum": [*first["enum"], None]} if "enum" in first else {}
        return first | values | {"type": [first["type"], "null"]} | kept
    return kept


def _with_plain_names(document: Document) -> Document:
    """`Page[Payment]` is PaymentPage."""
    schemas: Document = document["components"]["schemas"]
    plain = {name: match[2] + match[1] for name in schemas if (match := _PARAMETRIZED.fullmatch(name))}
    references = {SCHEMAS + old: SCHEMAS + new for old, new in plain.items()}
    renamed: Document = replace_references(document, lambda reference: references.get(reference, reference))
    found: Document = renamed["components"]["schemas"]
    for old, new in plain.items():
        found[new] = found.pop(old)
    renamed["components"]["schemas"] = dict(sorted(found.items()))
    return renamed


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
