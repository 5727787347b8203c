"""Mutation testing of what money and delivery rest on: each mutant is a small change of the code, on which a test
has to fail. Writes docs/mutants.md.

    python -m tests.mutants --tool PATH                every target, all mutants
    python -m tests.mutants --tool PATH TARGET ...     these targets
    python -m tests.mutants --tool PATH --most 20      at most so many mutants of each target, chosen by the seed

`--tool`: cosmic-ray's command (`make mutants` installs it). Works on copies of the tree. Results are kept in
docs/mutants.jsonl, so that targets can be run one after the other. Exits with 1 if a mutant has survived that
`tests/mutants/equivalent.py` does not explain.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.targets import TARGETS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "mutants.jsonl"
DOCUMENT = ROOT / "docs" / "mutants.md"
COPIES = 2
TIMEOUT, SLOWER = 120.0, 4
"""A mutant that never ends is found after so many seconds, or so many times what the tests take on the code as it is if
that is longer: a mutant counts as killed then."""
_OPERATORS = re.compile(
    r"core/(AddNot|NumberReplacer|ExceptionReplacer|ZeroIterationForLoop|Replace(And|Or|True|False|Break|Continue)With\w+"
    r"|ReplaceComparisonOperator_\w+|ReplaceUnaryOperator_Delete_\w+|ReplaceBinaryOperator_(Add|Sub|FloorDiv|BitAnd)_\w+)"
)
"""Left out: operators of types (`X | None`), and the star of keyword-only parameters."""
_DECLARATION = re.compile(r"@dataclass|[A-Z_]+(: \w+)? = |\s+Column\(")
"""The line of a mutant that no test can or should notice: a frozen dataclass, the exact number of a limit, a column's
constraint (migrations make them)."""
_MUTANTS = """
    SELECT job_id, operator_name, start_pos_row, start_pos_col, module_path FROM mutation_specs
    ORDER BY start_pos_row, start_pos_col, operator_name, occurrence
"""
_CONFIG = """
[cosmic-ray]
module-path = "{module}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m pytest -x -q --no-header -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"
"""


@dataclass(frozen=True, kw_only=True)
class Survivor:
    """`diff`: the changed lines, without their numbers."""

    module: str
    diff: str

    @property
    def key(self) -> tuple[str, str]:
        return self.module, self.diff


@dataclass(frozen=True, kw_only=True)
class Result:
    """`mutants`: those that were tried of `possible`."""

    target: str
    day: str
    possible: int
    mutants: int
    survivors: list[Survivor]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tool", type=Path, required=True)
    parser.add_argument("--most", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("targets", nargs="*", metavar="target")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="bursar-mutants-") as folder:
        targets = arguments.targets or list(TARGETS)
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(min(COPIES, len(targets))):
            copies.put(Copy(Path(folder) / str(number), arguments.tool.absolute()))
        with ThreadPoolExecutor(COPIES) as pool:

            def measure(target: str) -> Result:
                copy = copies.get()
                try:
                    return copy.measure(target, arguments.most, arguments.seed)
                finally:
                    copies.put(copy)

            for result in pool.map(measure, targets):
                print(f"{result.target}: {len(result.survivors)} of {result.mutants} survived", flush=True)
                keep(result)
    write(list(read().values()))
    if any(unexplained(each) for each in read().values()):
        parser.exit(1)


class Copy:
    """A copy of the tree, whose code is imported instead of what is installed."""

    def __init__(self, folder: Path, tool: Path) -> None:
        self._folder = folder
        self._tool = tool
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        sources = [str(each) for each in (*folder.glob("*/*/src"), *folder.glob("*/src"))]
        own = {"PYTHONPATH": os.pathsep.join([*sources, str(folder)]), "PYTHONDONTWRITEBYTECODE": "1"}
        self._env = {**os.environ, **own}

    def measure(self, target: str, most: int, seed: int) -> Result:
        """Raises CalledProcessError if the tests fail on the code as it is."""
        modules, tests = TARGETS[target]
        started = time.monotonic()
        self._run(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests)
        timeout = max(TIMEOUT, SLOWER * (time.monotonic() - started))
        sessions = [self._session(number, module, tests, timeout) for number, module in enumerate(modules)]
        chosen, possible = choose(sessions, most=most, seed=seed)
        for number, session in enumerate(sessions):
            if chosen:
                self._run(str(self._tool), "exec", str(self._config(number)), str(session))
        return Result(
            target=target,
            day=f"{datetime.now(UTC):%Y-%m-%d}",
            possible=possible,
            mutants=chosen,
            survivors=[each for session in sessions for each in survivors(session)],
        )

    def _config(self, number: int) -> Path:
        return self._folder / f"mutants-{number}.toml"

    def _session(self, number: int, module: str, tests: Sequence[str], timeout: float) -> Path:
        session = self._folder / f"mutants-{number}.sqlite"
        session.unlink(missing_ok=True)
        text = _CONFIG.format(module=module, timeout=timeout, python=sys.executable, tests=" ".join(tests))
        self._config(number).write_text(text)
        self._run(str(self._tool), "init", str(self._config(number)), str(session))
        return session

    def _run(self, *command: str) -> None:
        subprocess.run(command, cwd=self._folder, env=self._env, check=True, stdout=subprocess.DEVNULL)


def choose(sessions: Sequence[Path], *, most: int, seed: int) -> tuple[int, int]:
    """Leaves the mutants that are to be tried in the sessions: one of each kind at each place, and at most so many.
    Returns their number, and how many there would be without that limit."""
    randomly = random.Random(seed)
    places: dict[tuple[object, ...], list[tuple[Path, str]]] = {}
    for session in sessions:
        for id, operator, row, column, module in _query(session, _MUTANTS):
            line = (session.parent / module).read_text().splitlines()[int(row) - 1]
            if _OPERATORS.fullmatch(operator) and not _DECLARATION.match(line):
                family = re.sub(r"(Operator_[A-Za-z]+)_\w+", r"\1", operator)
                places.setdefault((session, family, row, column), []).append((session, id))
    kept = [randomly.choice(each) for each in places.values()]
    possible = len(kept)
    kept = randomly.sample(kept, min(most, possible))
    for session in sessions:
        ids = [id for of, id in kept if of == session]
        with sqlite3.connect(session) as db:
            marks = ", ".join("?" * len(ids))
            for table in ("mutation_specs", "work_items"):
                db.execute(f"DELETE FROM {table} WHERE job_id NOT IN ({marks})", ids)
    return len(kept), possible


def survivors(session: Path) -> Iterator[Survivor]:
    found = """
        SELECT module_path, diff FROM work_results JOIN mutation_specs USING (job_id)
        WHERE test_outcome = 'SURVIVED' ORDER BY start_pos_row, start_pos_col
    """
    for module, diff in _query(session, found):
        changed = [line for line in diff.splitlines() if re.match(r"[+-](?![+-])", line)]
        yield Survivor(module=module, diff="\n".join(changed))


def _query(session: Path, statement: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(session) as db:
        return db.execute(statement).fetchall()


def read() -> dict[str, Result]:
    """The last result of each target."""
    results: dict[str, Result] = {}
    for line in RESULTS.read_text().splitlines() if RESULTS.exists() else []:
        stored = json.loads(line)
        stored["survivors"] = [Survivor(**each) for each in stored["survivors"]]
        results[stored["target"]] = Result(**stored)
    return {name: results[name] for name in TARGETS if name in results}


def keep(result: Result) -> None:
    results = {**read(), result.target: result}
    RESULTS.write_text("".join(json.dumps(asdict(each)) + "\n" for each in results.values()))


def unexplained(result: Result) -> list[Survivor]:
    return [each for each in result.survivors if each.key not in EQUIVALENT]


def write(results: Sequence[Result]) -> None:
    lines = [
        "# Mutants",
        "",
        "Written by `make mutants`. A mutant is the code with one small change: a comparison, a condition, a number,",
        "an exception. It is *killed* if a test of its target fails, and has *survived* otherwise. *Explained*: it",
        "does what the code does, or the reason is listed below.",
        "",
        "| target | day | possible | tried | killed | explained | survived |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in results:
        left, all_ = len(unexplained(each)), len(each.survivors)
        numbers = (each.possible, each.mutants, each.mutants - all_, all_ - left, left)
        lines.append(f"| {each.target} | {each.day} | {' | '.join(map(str, numbers))} |")
    not_run = [each for each in TARGETS if each not in {result.target for result in results}]
    lines += ["", *([f"Not run: {', '.join(not_run)}.", ""] if not_run else [])]
    found = [each for result in results for each in result.survivors]
    for title, explained in (("Survived", False), ("Explained", True)):
        listed = [each for each in found if (each.key in EQUIVALENT) == explained]
        lines += [f"## {title}", ""] if listed else []
        for survivor in listed:
            why = f": {EQUIVALENT[survivor.key]}" if explained else ""
            lines += [f"`{survivor.module}`{why}", "", "```diff", survivor.diff, "```", ""]
    DOCUMENT.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
