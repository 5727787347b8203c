"""Requests that schemathesis makes from an API's OpenAPI document, valid ones and invalid ones, the same for a seed."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import hypothesis
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok

BASE = "http://test"


@dataclass(frozen=True)
class FuzzRequest:
    """`route`: method and path of the document."""

    route: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def requests_of(app: FastAPI, *, count: int, seed: int, ids: Sequence[str]) -> list[FuzzRequest]:
    """About `count` requests in all, of all routes, mixed. `ids`: of rows that exist; every second request names one in
    each place of its path."""
    schema = schemathesis.openapi.from_dict(app.openapi(), config=SchemathesisConfig())
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    chosen = random.Random(seed)
    each = max(1, count // (len(operations) * 2))
    found = [
        request
        for operation in operations
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for request in _requests(operation, mode, each, seed, chosen, ids)
    ]
    chosen.shuffle(found)
    return found


def _requests(
    operation: Any, mode: GenerationMode, count: int, seed: int, chosen: random.Random, ids: Sequence[str]
) -> Iterator[FuzzRequest]:
    for case in _cases(operation, mode, count, seed):
        if chosen.random() < 0.5:
            case.path_parameters = {name: chosen.choice(ids) for name in case.path_parameters or {}}
        try:
            arguments = case.as_transport_kwargs(base_url=BASE)
            prepared = requests.Request(**arguments).prepare()
        except (requests.RequestException, ValueError, UnicodeError):  # no HTTP client can send it
            continue
        body = prepared.body or b""
        yield FuzzRequest(
            route=operation.label,
            method=str(prepared.method),
            url=str(prepared.url),
            headers=tuple((name, str(value)) for name, value in prepared.headers.items() if name != "Authorization"),
            body=body if isinstance(body, bytes) else str(body).encode(),
        )


def _cases(operation: Any, mode: GenerationMode, count: int, seed: int) -> list[Any]:
    """Some operations have nothing that can be invalid: none then."""
    found: list[Any] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def collect(case: Any) -> None:
        found.append(case)

    with contextlib.suppress(hypothesis.errors.Unsatisfiable, schemathesis.errors.InvalidSchema):
        collect()
    return found
