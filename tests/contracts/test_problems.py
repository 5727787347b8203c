"""What the documents say about errors is what the code can answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from devstack.documents import ROOT, applications
from devstack.problem_analysis import Analysis
from devstack.problem_index import problem_types
from kit.http.app import create_app
from kit.http.declared_problems import DeclaredProblems
from kit.http.openapi import each_operation
from kit.http.problems import FORBIDDEN, MEDIA_TYPE, ProblemType

DOCUMENTS: dict[str, Any] = {name: app.openapi() for name, app in applications().items()}
SAMPLE = """
from collections.abc import Callable
from contextlib import contextmanager
from typing import Protocol
from kit.http.problems import Problem, ProblemType

GONE = ProblemType(410, "gone", "It is gone.", "Buy another.")
BUSY = ProblemType(503, "busy", "It is busy.", "Wait.")
LATE = ProblemType(409, "late", "It is late.", "Hurry.")
REFUSALS: dict[str, ProblemType] = {"late": LATE}


def helper() -> Problem:
    return GONE()


def raises() -> None:
    raise helper()


class Shop(Protocol):
    async def sell(self) -> None: ...
    async def close(self) -> None: ...


class Kiosk:
    async def sell(self) -> None:
        raise BUSY()

    async def close(self) -> None: ...


class LateKiosk(Kiosk):
    async def close(self) -> None:
        raise LATE()


class Office:
    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def buy(self) -> None:
        await self.shop.sell()

    async def leave(self) -> None:
        await self.shop.close()


def refuses(code: str) -> None:
    raise REFUSALS[code]()


def nested() -> Callable[[], None]:
    def act() -> None:
        raises()

    return act


def catches_all() -> None:
    try:
        raises()
    except Problem:
        pass


def catches_one() -> None:
    try:
        raises()
        refuses("late")
    except Problem as problem:
        if problem.type is GONE:
            raise BUSY() from None
        raise


def looks_at_one() -> None:
    try:
        raises()
    except Problem as problem:
        if problem.type is GONE:
            print("gone")
        raise


def passes_some() -> None:
    try:
        raises()
        refuses("late")
    except Problem as problem:
        if problem.status in (409, 503):
            raise
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "sample").mkdir()
    (folder / "sample/__init__.py").touch()
    (folder / "sample/module.py").write_text(SAMPLE)
    statuses = {"GONE": 410, "BUSY": 503, "LATE": 409}
    kit = ROOT / "shared/kit/src"
    return Analysis([folder, kit], {f"sample.module.{name}": status for name, status in statuses.items()})


@pytest.mark.parametrize(
    ("function", "raised"),
    [
        ("raises", {"GONE"}),
        ("Office.buy", {"BUSY"}),
        ("Office.leave", {"LATE"}),
        ("refuses", {"LATE"}),
        ("nested", {"GONE"}),
        ("catches_all", set()),
        ("catches_one", {"BUSY", "LATE"}),
        ("looks_at_one", {"GONE"}),
        ("passes_some", {"LATE"}),
    ],
)
def test_what_a_function_raises_is_what_it_names_and_does_not_catch(
    sample: Analysis, function: str, raised: set[str]
) -> None:
    found = sample.raised_by([f"sample.module.{function}"])
    assert {name.rpartition(".")[2] for name in found} == raised


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_operation_lists_its_problems_by_status_with_closed_codes(name: str) -> None:
    document = DOCUMENTS[name]
    for path, method, operation in each_operation(document):
        statuses = set(operation["responses"])
        assert "500" in statuses and "default" not in statuses, f"{method} {path}"
        for status, answer in operation["responses"].items():
            if status < "400":
                continue
            if "$ref" in answer:
                answer = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
            assert set(answer["content"]) == {MEDIA_TYPE}
            schema = answer["content"][MEDIA_TYPE]["schema"]["$ref"].rpartition("/")[2]
            reference, members = document["components"]["schemas"][schema]["allOf"]
            assert reference == {"$ref": "#/components/schemas/Problem"}
            assert members["properties"]["code"]["enum"]
            assert members["properties"]["status"]["enum"] == [int(status)]


def test_a_type_is_declared_once() -> None:
    types = problem_types(ROOT)
    assert len(set(types.values())) == len(types)
    for name, each in types.items():
        assert each.cause.endswith(".") and each.remedy.endswith("."), name


def test_every_code_is_on_the_page_of_errors() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    assert not [each.code for each in problem_types(ROOT).values() if f"| `{each.code}` | {each.status} |" not in page]


async def test_an_undeclared_problem_is_an_error_in_tests() -> None:
    """Every test that makes a request checks its operation's list so."""
    router = APIRouter()
    sold_out = ProblemType(409, "sold_out", "None is left.", "Buy another.")

    @router.get("/orders")
    async def order(declared: bool) -> None:
        raise FORBIDDEN() if declared else sold_out()

    app = create_app(title="tests", routers=[router])
    app.state.declared_problems = DeclaredProblems({"order": [FORBIDDEN]})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        assert (await client.get("/orders", params={"declared": True})).status_code == 403
        assert (await client.get("/orders", params={"declared": False})).status_code == 500


def test_the_packages_have_their_lists() -> None:
    assert {path.parent.name for path in ROOT.glob("services/*/src/*/problems.json")} == {
        Path(name).name.replace("-", "_").removesuffix("_admin") for name in DOCUMENTS
    }
