"""Every request of the Bruno collection is one that the services have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.portal.documented_services import DOCUMENT, documented

from devstack.documents import ROOT

REQUESTS = [path for path in sorted((ROOT / "clients/bruno").glob("*/*.bru")) if path.stem not in ("folder", "local")]
_CALL = re.compile(r"^(get|post|put|patch|delete) {\n  url: {{host}}(\S+)$", re.MULTILINE)
_BODY = re.compile(r"^body:json {\n(.*?)^}", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"{{[^}]+}}")
_VALUE = "0b2f6c1e-6f0e-4d0a-8d52-9c7f3a1e2b44"


@pytest.mark.parametrize("file", REQUESTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_request_is_documented(file: Path) -> None:
    text = file.read_text()
    call, body = _CALL.search(text), _BODY.search(text)
    assert call is not None
    operation = documented(call[1].upper(), _VARIABLE.sub(_VALUE, call[2]))
    assert (body is None) == ("requestBody" not in operation)
    if body is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        sent = json.loads(_VARIABLE.sub(_VALUE, body[1]))
        Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(sent)


def test_the_collection_has_the_journeys() -> None:
    assert {file.parent.name for file in REQUESTS} == {"admin", "card", "plan", "refund", "sponsor"}
