"""What clients/ has for other programs: it buys a program, and a type checker knows every error."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.clients.conftest import TOOLS
from tests.journeys.harness import School
from tests.waiting import until

CLIENTS = Path(__file__).parents[2] / "clients"
PYTHON = CLIENTS / "python/examples/buy.py"
PACKAGE = CLIENTS / "python/bursar-client"
COMMANDS: dict[str, list[str | Path]] = {
    "python": [sys.executable, PYTHON],
    "typescript": [TOOLS / "node", CLIENTS / "typescript/dist/examples/buy.js"],
}


@pytest.mark.parametrize("language", COMMANDS)
async def test_a_client_buys_a_program_and_reads_why_it_cannot_buy_it_again(language: str, school: School) -> None:
    student = school.student()
    variables = {
        "BURSAR_URL": school.stack.url("portal"),
        "BURSAR_TOKEN": school.stack.identity.token(student.person),
        "PYTHONPATH": str(PACKAGE),
    }

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *COMMANDS[language],
            "cpr",
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    async def refused() -> bool:
        _, errors = await (await start()).communicate()
        return b"You are enrolled already." in errors

    first = await start()
    assert first.stdout is not None
    line = await first.stdout.readline()
    assert line, (await first.communicate())[1].decode()
    await student.pay(await school.session(line.decode()))
    assert await first.communicate() == (b"enrolled\n", b"")
    await until(refused, what="already_enrolled")


def test_a_match_on_errors_is_complete_or_fails_the_type_check(tmp_path: Path) -> None:
    """tests/errors.ts is the same in TypeScript; `make clients` has compiled it."""
    incomplete = tmp_path / "incomplete.py"
    incomplete.write_text(PYTHON.read_text().replace(" | Unavailable503()", ""))
    assert checked(PYTHON) == ""
    assert "assert_never" in checked(incomplete)


def checked(file: Path) -> str:
    """The errors of mypy. Not those of the generated package: it reuses some names for another type."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    found = subprocess.run(
        [*command, "--no-error-summary", file], env=os.environ | {"MYPYPATH": str(PACKAGE)}, capture_output=True
    )
    return found.stdout.decode()
