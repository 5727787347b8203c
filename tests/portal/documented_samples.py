"""Answers that a service could give by its document: every field is there, and every free text is hostile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.portal.documented_services import DOCUMENT, NOW, PURCHASE_ID, documented

HOSTILE = "=1+1\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
_FORMATS = {"uuid": PURCHASE_ID, "date-time": NOW, "date": "2027-01-04"}


def schema_of(method: str, path: str) -> dict[str, Any]:
    """Of the answer of success."""
    responses = documented(method, path)["responses"]
    answer = next(response for status, response in responses.items() if status.startswith("2"))
    return resolved(answer["content"]["application/json"]["schema"])


def resolved(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Without references, and without null where there is another choice."""
    if "$ref" in schema:
        found: Any = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(found)
    if "anyOf" in schema:
        return resolved(next(each for each in schema["anyOf"] if each.get("type") != "null"))
    return dict(schema)


def sample(schema: Mapping[str, Any], **fields: Any) -> Any:
    schema = resolved(schema)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match kind:
        case "object":
            return {name: sample(each) for name, each in schema.get("properties", {}).items()} | fields
        case "array":
            return [sample(schema["items"])]
        case "integer" | "number":
            return min(1250, schema.get("maximum", 1250))
        case "boolean":
            return True
        case "string" if schema.get("maxLength", len(HOSTILE)) < len(HOSTILE):
            return HOSTILE[: schema["maxLength"]]
        case "string":
            return _FORMATS.get(schema.get("format", "")) or ("usd" if "pattern" in schema else HOSTILE)
    return None


def sample_page(path: str, **fields: Any) -> dict[str, Any]:
    """A list with one row. `fields`: of the row."""
    schema = schema_of("GET", path)
    row = sample(schema["properties"]["items"]["items"])
    whole: dict[str, Any] = sample(schema)
    currency = {"currency": "usd"} if "currency" in row else {}
    return {**whole, "items": [row | currency | fields], "next": None}
