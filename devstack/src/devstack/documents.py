"""The generated documents: JSON schemas, the event map, the money fields, AsyncAPI of each service, and OpenAPI of each
service and of all together.

`make docs` writes them.

Refuses to change a schema incompatibly: that needs a new version of the event.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI

import contracts
from checkout.money_fields import Document, money_fields
from contracts.compatibility import breaks
from contracts.registry import EVENT_TYPES, PUBLISHED_BY
from devstack.merged_document import merged
from devstack.problem_index import answered, errors_page, package_of, problem_types
from devstack.role_table import role_table
from kit.http.declared_problems import FILE, DeclaredProblems
from kit.messaging.topology import Queue
from kit.runtime.process import Process

_WIDTH = 120
ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = Path(contracts.__file__).parent / "schemas"
SERVICES = (
    "webhook_gateway",
    "checkout",
    "enrollment",
    "instructor_assignment",
    "milady_integration",
    "notifications",
    "reporting",
)

# Enough settings to build each app; nothing connects to these addresses.
SETTINGS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1/nothing",
    "STAFF_DATABASE_URL": "postgresql://nobody@127.0.0.1/nothing",
    "AMQP_URL": "amqp://127.0.0.1/",
    "BURSAR_ENV": "development",
    "JWT_SECRET": "only-to-read-the-documents-of-an-app",
    "JWT_ISSUER": "documents",
    "JWT_AUDIENCE": "documents",
    "STRIPE_WEBHOOK_SECRETS": "whsec_documents",
    "STRIPE_API_KEY": "sk_test_documents",
    "STRIPE_LIVEMODE": "false",
    "STRIPE_PUBLISHABLE_KEY": "pk_test_documents",
    "FRONTEND_URL": "https://school.example.com",
    "PUBLIC_URL": "https://pay.school.example.com",
    "PAY_LINK_SECRET": "only-to-read-the-documents-of-an-app",
    "SPONSOR_FINANCE_EMAIL": "finance@example.com",
    "MILADY_API_BASE": "https://milady.example.com",
    "MILADY_API_KEY": "documents",
    "SMTP_HOST": "127.0.0.1",
    "MAIL_FROM": "bursar@example.com",
    "ADMIN_EMAILS": "admin@example.com",
    "PORTAL_URL": "https://school.example.com",
}


def documents() -> dict[Path, str]:
    """The current content of every generated document, by path."""
    found = {SCHEMAS / f"{name}.json": _json(event.model_json_schema()) for name, event in sorted(EVENT_TYPES.items())}
    found[ROOT / "docs/event-map.md"] = _event_map()
    apis = applications()
    types = problem_types(ROOT)
    problems = answered(types, ROOT, apis)
    for name, app in apis.items():
        declared = problems[package_of(name)]
        app.state.declared_problems = DeclaredProblems(
            {operation: [types[each] for each in names] for operation, names in declared.items()}
        )
    for package, of_operations in problems.items():
        found[Path(importlib.import_module(package).__file__ or "").parent / FILE] = _json(of_operations)
    found[ROOT / "docs/errors.md"] = errors_page(types, problems)
    for name, app in apis.items():
        found[ROOT / f"docs/openapi/{name}.json"] = _lines(app.openapi())
        if app.state.asyncapi is not None:
            found[ROOT / f"docs/asyncapi/{name}.json"] = _json(app.state.asyncapi())
    found[ROOT / "docs/openapi/bursar.json"] = _lines(merged({name: app.openapi() for name, app in apis.items()}))
    found[ROOT / "docs/money-fields.md"] = _money_fields({name: app.openapi() for name, app in apis.items()})
    found[ROOT / "docs/roles.md"] = role_table(apis)
    return found


@cache
def applications() -> dict[str, FastAPI]:
    """Every service's API, by the service's name, and the gateway's admin API."""
    found: dict[str, FastAPI] = {}
    for package in SERVICES:
        found |= applications_of(package)
    return found


def applications_of(package: str, **settings: str) -> dict[str, FastAPI]:
    """The same, of one service. `settings`: other than SETTINGS."""
    found: dict[str, FastAPI] = {}
    with _environment(SETTINGS | settings):
        roles = importlib.import_module(f"{package}.main").ROLES
        for role in sorted(roles.keys() & {"admin", "api"}, reverse=True):
            process: Process = roles[role]()
            assert process.app is not None  # noqa: S101  both have one
            found[package.replace("_", "-") + ("" if role == "api" else f"-{role}")] = process.app
    return found


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables that the services require; restores the environment afterward."""
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def stale() -> list[Path]:
    """The documents whose file is missing or outdated."""
    return [path for path, text in documents().items() if not path.exists() or path.read_text() != text]


def write() -> list[Path]:
    """Writes the outdated documents and returns their paths. Exits if a schema would change incompatibly."""
    found = documents()
    for path, text in found.items():
        if path.parent == SCHEMAS and path.exists():
            wrong = breaks(json.loads(path.read_text()), json.loads(text))
            if wrong:
                sys.exit(f"{path.stem} needs a new version:\n  " + "\n  ".join(wrong))
    changed = [path for path, text in found.items() if not path.exists() or path.read_text() != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found[path])
    return changed


def _event_map() -> str:
    queues = dict(_queues())
    lines = [
        "# Event map",
        "",
        "Which service publishes which event, and which queues receive it. Generated by `make docs`; a test checks it.",
        "",
        "All events go through the durable topic exchange `bursar.events`; the routing key is the event type. What",
        "cannot be handled goes to `<queue>.dead` (see runbooks/dead-letters.md).",
        "",
        "| event | meaning | publisher | queues |",
        "| --- | --- | --- | --- |",
    ]
    for name, event in EVENT_TYPES.items():
        publishers = ", ".join(service for service, events in PUBLISHED_BY.items() if event in events)
        received = "<br>".join(f"`{queue.name}`" for queue in queues.values() if event in queue.events) or "none yet"
        meaning = " ".join((event.__doc__ or "").split()).split(". ")[0].rstrip(".").replace("|", "\\|")
        lines.append(f"| `{name}` | {meaning} | {publishers} | {received} |")
    return "\n".join(lines) + "\n"


def _money_fields(apis: Mapping[str, Document]) -> str:
    lines = [
        "# Money in requests and answers",
        "",
        "Every field that is money, by route. Generated by `make docs`; a test checks it, and that no field with one",
        "of these names has another unit or type.",
        "",
        "- **Major units**, as people write them: `price`, every `…_price`, `total_cost` and `refund_amount`. In a",
        '  request a JSON number or a string, with at most the currency\'s decimals (300, 299.99, "299.99"); others',
        "  are refused: 422 `too_many_decimals`. In an answer a JSON number with the currency's decimals (300.00).",
        "- **Minor units**, as Stripe counts: every other amount. An integer, with its `currency` beside it: in the",
        "  same object, or in one that contains it. (In a request, it is the payment's.)",
        "",
        "A 409 `price_mismatch` has the right price as `price` (major) and `amount` (minor). Events, and Stripe's",
        "metadata, contain minor units only.",
        "",
        "| service | route | body | major units | minor units |",
        "| --- | --- | --- | --- | --- |",
    ]
    for service, document in apis.items():
        rows: dict[tuple[str, str], dict[str, list[str]]] = {}
        for field in money_fields(document):
            rows.setdefault((field.route, field.direction), {"major": [], "minor": []})[field.unit].append(field.path)
        for (route, direction), units in rows.items():
            cells = (", ".join(f"`{path}`" for path in units[unit]) for unit in ("major", "minor"))
            lines.append(f"| {service} | `{route}` | {direction} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _queues() -> Iterator[tuple[str, Queue]]:
    for package in SERVICES:
        for queue in importlib.import_module(f"{package}.topology").QUEUES:
            yield queue.name, queue


def _lines(document: Any, indent: str = "") -> str:
    """JSON with one line for each part that fits."""
    short = json.dumps(document, sort_keys=True, ensure_ascii=False)
    inner = indent + "  "
    if len(short) + len(indent) <= _WIDTH or not isinstance(document, dict | list):
        lines = short
    elif isinstance(document, dict):
        parts = (f"{json.dumps(key)}: {_lines(document[key], inner)}" for key in sorted(document))
        lines = "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    else:
        lines = "[\n" + ",\n".join(inner + _lines(part, inner) for part in document) + f"\n{indent}]"
    return lines if indent else lines + "\n"


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path in write():
        print(f"wrote {path.relative_to(ROOT)}")
