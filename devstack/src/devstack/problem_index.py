"""Which operation can answer which problems: each service's problems.json, and docs/errors.md."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext

from devstack.problem_analysis import Analysis
from kit.http.auth import scopes_of
from kit.http.openapi import documented_routes
from kit.http.problems import (
    BAD_REQUEST,
    INSUFFICIENT_SCOPE,
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PERSON_REQUIRED,
    TOO_LARGE,
    UNAVAILABLE,
    ProblemType,
)

_SERVED_BY = {"webhook_gateway.api.receive": "webhook_gateway.webhook.WebhookEndpoint._receive"}
"""What answers in front of FastAPI, by the function that documents it."""


def problem_types(root: Path) -> dict[str, ProblemType]:
    """Every declared type, by the full name of its constant."""
    found: dict[str, ProblemType] = {}
    for path in sorted(root.glob("s*/*/src/**/problems.py")):
        module = ".".join(path.relative_to(next(each for each in path.parents if each.name == "src")).parts)[:-3]
        for name, value in vars(importlib.import_module(module)).items():
            if isinstance(value, ProblemType) and name.isupper():
                found.setdefault(f"{module}.{name}", value)
    return found


def package_of(api: str) -> str:
    """`webhook-gateway-admin` is an API of webhook_gateway."""
    return api.removesuffix("-admin").replace("-", "_")


def answered(
    types: Mapping[str, ProblemType], root: Path, apis: Mapping[str, FastAPI]
) -> dict[str, dict[str, list[str]]]:
    """The full names of the types that each operation can answer, by the service's package and by operation."""
    names = {type: name for name, type in types.items()}
    sources = sorted(path for path in root.glob("s*/*/src") if path.parts[-3] in ("services", "shared"))
    analysis = Analysis(sources, {name: type.status for name, type in types.items()})
    found: dict[str, dict[str, list[str]]] = {}
    for api, app in apis.items():
        package = package_of(api)
        for (method, _), route in documented_routes(app).items():
            raised = set(analysis.raised_by(_functions(route, method.upper())))
            raised |= {names[type] for type in _of_any(route)}
            raised.discard(names[PERSON_REQUIRED if scopes_of(route.dependant) else INSUFFICIENT_SCOPE])
            found.setdefault(package, {})[str(route.name)] = sorted(raised)
    return found


def _of_any(route: RouteContext) -> Iterator[ProblemType]:
    """What the app and FastAPI answer, rather than the route."""
    yield from (INTERNAL_ERROR, UNAVAILABLE)
    if _name(route.endpoint) in _SERVED_BY:
        return
    dependants = list(_dependants(route.dependant))
    if any(each.path_params or each.query_params or each.header_params or each.body_params for each in dependants):
        yield INVALID_REQUEST
    if any(each.body_params for each in dependants):
        yield from (BAD_REQUEST, TOO_LARGE)


def _functions(route: RouteContext, method: str) -> Iterator[str]:
    """What runs for a request: the route's function, and its dependencies where they apply."""
    endpoint = _name(route.endpoint)
    yield _SERVED_BY.get(endpoint, endpoint)
    path = route.path or ""
    query = "&".join(f"{each.alias}=" for part in _dependants(route.dependant) for each in part.query_params).encode()
    scope = {"type": "http", "method": method, "path": path, "route": route, "headers": [], "query_string": query}
    request = Request(scope | {"server": ("host", 80), "scheme": "http", "root_path": ""})
    for each in _dependants(route.dependant):
        applies: Callable[[Request], bool] = getattr(each.call, "applies", lambda _: True)
        if each is route.dependant or each.call is None or not applies(request):
            continue
        if (name := _name(each.call)).partition(".")[0] != "fastapi":
            yield name


def _dependants(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _dependants(each)


def _name(function: Any) -> str:  # Any: whatever FastAPI can call
    if not hasattr(function, "__qualname__"):
        return f"{type(function).__module__}.{type(function).__qualname__}.__call__"
    if isinstance(function, type):
        return f"{function.__module__}.{function.__qualname__}.__init__"
    return f"{function.__module__}.{function.__qualname__}".replace(".<locals>", "")


def errors_page(types: Mapping[str, ProblemType], found: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """docs/errors.md"""
    lines = [
        "# Errors",
        "",
        "Every error that an API answers, as `application/problem+json` (RFC 9457): `type`, `title`, `status`, `code`,",
        "`detail`, and the members that `detail` names. The `code` is stable; `detail` is for people, and may say more",
        "than the cause and the remedy below. Which operation answers which code is in the OpenAPI documents",
        "(docs/openapi), and is derived from the code. Generated by `make docs` from the declared types.",
    ]
    operations: dict[str, list[str]] = {}
    for of_service in found.values():
        for operation, names in of_service.items():
            for name in names:
                operations.setdefault(name, []).append(operation)
    packages: dict[str, list[str]] = {}
    for name in types:
        packages.setdefault(name.partition(".")[0], []).append(name)
    for package, names in sorted(packages.items(), key=lambda item: (item[0] != "kit", item[0])):
        lines += ["", "## Any service" if package == "kit" else f"## {package.replace('_', '-')}", ""]
        lines += ["| code | status | cause | remedy | operations |", "| --- | --- | --- | --- | --- |"]
        for name in sorted(names, key=lambda name: (types[name].code, types[name].status)):
            each, users = types[name], sorted(set(operations.get(name, ())))
            listed = ", ".join(f"`{user}`" for user in users) if len(users) <= 6 else f"{len(users)}"
            lines.append(f"| `{each.code}` | {each.status} | {each.cause} | {each.remedy} | {listed} |")
    return "\n".join(lines) + "\n"
