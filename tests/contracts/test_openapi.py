"""The OpenAPI documents are what a front end can generate a client from."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from devstack.documents import applications
from devstack.merged_document import merged
from kit.http.openapi import each_operation

DOCUMENTS: dict[str, Any] = {name: app.openapi() for name, app in applications().items()}
MERGED = merged(DOCUMENTS)
ALL = DOCUMENTS | {"bursar": MERGED}


@pytest.mark.parametrize("name", ALL)
def test_operation_ids_are_names_of_functions_and_unique(name: str) -> None:
    ids = [operation["operationId"] for *_, operation in each_operation(ALL[name])]
    assert not [id for id, count in Counter(ids).items() if count > 1]
    assert not [id for id in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", id)]


def test_the_merged_document_has_every_operation_of_every_service() -> None:
    of_services = {
        (path, method, name) for name, document in DOCUMENTS.items() for path, method, _ in each_operation(document)
    }
    assert of_services == {
        (path, method, name) for path, method, operation in each_operation(MERGED) for name in operation["x-services"]
    }


@pytest.mark.parametrize("name", ALL)
def test_every_tag_has_a_text(name: str) -> None:
    used = {tag for *_, operation in each_operation(ALL[name]) for tag in operation["tags"]}
    assert used == {tag["name"] for tag in ALL[name]["tags"] if tag["description"]}


@pytest.mark.parametrize("name", ALL)
def test_every_body_has_a_valid_example(name: str) -> None:
    document = ALL[name]
    for path, method, operation in each_operation(document):
        if "requestBody" not in operation:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        schema = schema.get("anyOf", [schema])[0]  # of an optional body
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert schema.get("examples"), f"{method} {path} has no example"
        for example in schema["examples"]:
            Draft202012Validator({**schema, "components": document["components"]}).validate(example)


def test_every_status_is_one_of_a_closed_list() -> None:
    open_lists = [
        f"{name}.{field}"
        for name, schema in MERGED["components"]["schemas"].items()
        for field, values in schema.get("properties", {}).items()
        if re.search("(^|_)(status|kind|payer|plan)$", field) and values.get("type") in ("string", ["string", "null"])
        if not values.keys() & {"enum", "const"}
    ]
    assert open_lists == ["Difference.object_kind"]  # of Stripe


def test_a_change_has_no_defaults() -> None:
    """A generated client fills them in, and a PATCH would change fields that nobody named."""
    for path, method, operation in each_operation(MERGED):
        if method == "patch":
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            fields = MERGED["components"]["schemas"][name]["properties"]
            assert not [field for field, schema in fields.items() if "default" in schema], path


@pytest.mark.parametrize("name", ALL)
def test_every_reference_leads_to_a_component(name: str) -> None:
    document = ALL[name]
    missing = []
    for reference in re.findall(r"'\$ref': '#/([^']+)'", str(document)):
        found: Any = document
        for part in reference.split("/"):
            found = found.get(part, {})
        if not found:
            missing.append(reference)
    assert not missing
