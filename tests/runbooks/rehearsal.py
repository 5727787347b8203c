"""A runbook's commands, run as they are written: blocks that begin with ```console. `docker compose` is a stand-in that
does to the local stack what the command does to the containers.

A line that begins with `$ ` is a command; what follows must be in its output, in this order (`…`: anything). A comment
`# exit code 1` says how it ends. The commands of a page share one shell.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.runbooks.compose_stand_in import ComposeStandIn

from devstack.stack import ROOT, Stack

SECONDS = 120
_BLOCK = re.compile(r"^ *```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_EXIT_CODE = re.compile(r"# exit code (\d+)$")
_END = "@@end "


@dataclass(frozen=True)
class Step:
    command: str
    expected: tuple[str, ...] = ()
    exit_code: int = 0


def steps_of(page: str) -> list[list[Step]]:
    """The blocks of a page."""
    return [_steps(block) for block in _BLOCK.findall((ROOT / "docs/runbooks" / page).read_text())]


def _steps(block: str) -> list[Step]:
    found: list[Step] = []
    for line in map(str.strip, block.splitlines()):
        if line.startswith("$ "):
            code = _EXIT_CODE.search(line)
            found.append(Step(line[2:], exit_code=int(code[1]) if code else 0))
        elif line:
            last = found.pop()
            found.append(Step(last.command, (*last.expected, line), last.exit_code))
    return found


def matches(output: str, expected: tuple[str, ...]) -> bool:
    parts = [" ".join(part.split()) for line in expected for part in line.split("…")]
    return re.search(".*".join(map(re.escape, parts)), " ".join(output.split()), re.DOTALL) is not None


@dataclass
class Rehearsal:
    """One page. `variables`: those that its commands have, such as PAYMENT."""

    stack: Stack
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    restarted: tuple[str, ...] = ()
    """Only these processes get changed settings: each start costs seconds. Empty: all."""

    async def __aenter__(self) -> Rehearsal:
        self._compose = ComposeStandIn(self.stack, self.folder, self.restarted)
        self._compose.start()
        commands = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        settings = {"BURSAR_STACK": str(self.stack.description), "COLUMNS": "200", "PATH": commands}
        stripe = {
            "STRIPE_API_KEY": self.stack.identity.stripe_api_key,
            "STRIPE_API_BASE": self.stack.url("stripe_sandbox"),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        self._shell = await asyncio.create_subprocess_exec(
            "bash",
            "--norc",
            cwd=self.folder,
            env={**os.environ, **settings, **stripe, **self.variables},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**24,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        await self._shell.wait()
        self._compose.stop()

    async def run(self, block: list[Step]) -> None:
        """Runs these commands. Raises AssertionError with the output of the first step that is not as the page says."""
        for step in block:
            code, output = await self._run(step.command)
            assert code == step.exit_code, f"{step.command}: exit code {code}\n{output}"
            assert matches(output, self._expected(step)), f"{step.command}: expected {step.expected}\n{output}"

    async def succeeds(self, step: Step) -> bool:
        """Whether it is as the page says, for now."""
        code, output = await self._run(step.command)
        return code == step.exit_code and matches(output, self._expected(step))

    def _expected(self, step: Step) -> tuple[str, ...]:
        """With the page's variables."""
        return tuple(re.sub(r"\$([A-Z]+)", lambda name: self.variables[name[1]], line) for line in step.expected)

    async def _run(self, command: str) -> tuple[int, str]:
        assert self._shell.stdin is not None and self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} </dev/null\ncode=$?; echo; echo '{_END}'$code\n".encode())
        await self._shell.stdin.drain()
        output = ""
        async with asyncio.timeout(SECONDS):
            while not (line := (await self._shell.stdout.readline()).decode()).startswith(_END):
                assert line, f"{command}: the shell has ended\n{output}"
                output += line
        return int(line.removeprefix(_END)), output


def environment_file(folder: Path, **settings: str) -> None:
    """The settings of the installation that a page changes, as `deploy/new-env` writes them."""
    (folder / "school.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
