"""One OpenAPI document of all services: what a front end sees behind one host.

A path that several services have (their exports, their verifications) is there once; `x-services` names them all, and
each answers about its own rows. Every other operation names its service in `x-services`, too, which a proxy can read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kit.http.openapi import Document, each_operation, replace_references

SERVICES = "x-services"
_DESCRIPTION = """Checkout, enrollments, instructors, receipts and notifications of a school, and what its staff needs.

One host serves all of it: a proxy sends each path to the service that `x-services` names (deploy/README.md). Where
several services have a path, each answers about its own rows; one host reaches the first of them.
"""


def merged(documents: Mapping[str, Document]) -> Document:
    """`documents`: by service. Raises ValueError if two of them contradict each other."""
    found: Document = {
        "openapi": next(iter(documents.values()))["openapi"],
        "info": {"title": "Bursar", "version": "1", "description": _DESCRIPTION},
        "servers": [{"url": "/", "description": "The host in front of all services."}],
        "paths": {},
        "components": {},
    }
    for service, document in documents.items():
        _add(found, _with_own_names(found, service, document), service)
    twice = [
        id for id, count in Counter(each["operationId"] for *_, each in each_operation(found)).items() if count > 1
    ]
    if twice:
        raise ValueError(f"operation ids that are not unique: {twice}")
    _remove_unused(found)
    return found


def _remove_unused(document: Document) -> None:
    """Where several services have a path, the answers of the first one stay; those of the others may be left over."""
    components = document["components"]
    for kind in ("responses", "parameters", "schemas"):
        used = _references(document)
        components[kind] = {
            name: part for name, part in components[kind].items() if f"#/components/{kind}/{name}" in used
        }


def _references(document: Document) -> set[str]:
    found: set[str] = set()

    def note(reference: str) -> str:
        found.add(reference)
        return reference

    replace_references(document, note)
    return found


def _with_own_names(found: Document, service: str, document: Document) -> Document:
    """The document, in which each component that would replace another one is named after the service, too."""
    renamed: dict[str, str] = {}
    for kind, components in document.get("components", {}).items():
        others: Mapping[str, Any] = found["components"].get(kind, {})
        for name, component in components.items():
            if name in others and others[name] != component:
                own = "".join(word.capitalize() for word in service.split("-")) + name
                renamed[f"#/components/{kind}/{name}"] = f"#/components/{kind}/{own}"
    changed: Document = replace_references(document, lambda reference: renamed.get(reference, reference))
    for old, new in renamed.items():
        _, _, kind, name = old.split("/")
        components = changed["components"][kind]
        components[new.split("/")[-1]] = components.pop(name)
    return changed


def _add(found: Document, document: Document, service: str) -> None:
    for path, method, operation in each_operation(document):
        item = found["paths"].setdefault(path, {})
        if method not in item:
            item[method] = {**operation, SERVICES: [service]}
            continue
        shared = item[method]
        if shared["operationId"] != operation["operationId"]:
            raise ValueError(f"{method.upper()} {path} is another operation in {service}")
        shared[SERVICES].append(service)
        shared["responses"] = operation["responses"] | shared["responses"]
    for kind, components in document.get("components", {}).items():
        found["components"].setdefault(kind, {}).update(components)
    known = {tag["name"] for tag in found.get("tags", ())}
    found.setdefault("tags", []).extend(tag for tag in document.get("tags", ()) if tag["name"] not in known)
