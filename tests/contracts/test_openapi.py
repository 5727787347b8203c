"""The OpenAPI documents are what a front end can generate a client from."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

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
