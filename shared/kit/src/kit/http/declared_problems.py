"""Which problems each operation can answer, as `problems.json` says. `make docs` derives it from the code."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files

from kit.http.problems import Problem, ProblemType

FILE = "problems.json"
REFUSE = "BURSAR_UNDECLARED_PROBLEMS"
"""The variable that is `refuse` in tests: a problem that is not declared is an error there."""


class Undeclared(Exception):
    """An operation has answered a problem that is not in problems.json: run `make docs`. If that does not help, the
    analysis cannot see how the problem is raised."""


class DeclaredProblems:
    """`of`: the types by operation, which is the name of the route's function."""

    def __init__(self, of: Mapping[str, Sequence[ProblemType]]) -> None:
        self.of = of

    @classmethod
    def of_package(cls, package: str) -> DeclaredProblems:
        """Without types that are no more: `make docs` removes them from the file."""
        file = files(package) / FILE
        names: dict[str, list[str]] = json.loads(file.read_text()) if file.is_file() else {}
        return cls(
            {
                operation: [found for name in of_operation if (found := _named(name)) is not None]
                for operation, of_operation in names.items()
            }
        )

    def check(self, operation: str | None, problem: Problem) -> None:
        """Raises Undeclared, in tests."""
        if operation is None or (declared := self.of.get(operation)) is None or problem.type in declared:
            return
        if os.environ.get(REFUSE) == "refuse":
            raise Undeclared(f"{operation}: {problem.status} {problem.code}")


def _named(name: str) -> ProblemType | None:
    module, _, constant = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), constant, None)
    except ModuleNotFoundError:
        return None
    return found if isinstance(found, ProblemType) else None
