"""The whole system in containers, as docker-compose.yml and .env define it; removed afterward."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testkit.engines import say
from testkit.processes import answers, free_ports, guardian

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / ".env"
BUILD_SECONDS = 240
START_SECONDS = 120
READY_SECONDS = 240
# settings of this machine, passed on from the environment; everything else comes from .env
_FROM_ENVIRONMENT = (
    "PATH",
    "HOME",
    "POSTGRES_IMAGE",
    "RABBITMQ_IMAGE",
    "PYTHON_IMAGE",
    "BUILD_NETWORK",
    "PIP_INDEX_URL",
)
_PUBLISHED = {
    "webhook-gateway-api": "WEBHOOK_GATEWAY_PORT",
    "webhook-gateway-admin": "WEBHOOK_GATEWAY_ADMIN_PORT",
    "checkout-api": "CHECKOUT_PORT",
    "enrollment-api": "ENROLLMENT_PORT",
    "instructor-assignment-api": "INSTRUCTOR_ASSIGNMENT_PORT",
    "milady-integration-api": "MILADY_INTEGRATION_PORT",
    "notifications-api": "NOTIFICATIONS_PORT",
    "reporting-api": "REPORTING_PORT",
    "portal-api": "PORTAL_PORT",
    "stripe-sandbox": "STRIPE_SANDBOX_PORT",
    "milady-sandbox": "MILADY_SANDBOX_PORT",
    "identity-sandbox": "IDENTITY_SANDBOX_PORT",
    "mail-catcher": "MAIL_CATCHER_PORT",
}


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str


class Containers:
    """One compose project of its own, with its own ports, networks and volumes."""

    def __init__(self) -> None:
        self.project = f"bursar-test-{secrets.token_hex(3)}"
        self.settings = _example()
        self.ports = dict(zip(_PUBLISHED, free_ports(len(_PUBLISHED)), strict=True))
        from_environment = {
            k: v for k, v in os.environ.items() if k in _FROM_ENVIRONMENT or k.upper().startswith("DOCKER_")
        }
        self._env = {
            **from_environment,
            **{_PUBLISHED[service]: str(port) for service, port in self.ports.items()},
            "BURSAR_IMAGE": "bursar:compose-test",
            "BURSAR_SANDBOX_IMAGE": "bursar-sandbox:compose-test",
            "COMPOSE_PROGRESS": "plain",
            "NO_CONTACT_ALERT_SECONDS": "20",  # instead of 15 minutes, so that the alert would come within the test
        }
        self._files = ["--project-directory", str(ROOT), "--env-file", str(EXAMPLE), "--project-name", self.project]

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def compose(
        self, *arguments: str, seconds: float = 60, check: bool = True, input: str | None = None
    ) -> CommandResult:
        """Runs `docker compose`. Fails the test with its output if it fails, unless `check` is off."""
        return self.docker("compose", *self._files, *arguments, seconds=seconds, check=check, input=input)

    def docker(
        self, *arguments: str, seconds: float = 60, check: bool = True, input: str | None = None
    ) -> CommandResult:
        command = "docker " + " ".join(a for a in arguments if a not in self._files)
        try:
            done = subprocess.run(
                ["docker", *arguments],
                env=self._env,
                cwd=ROOT,
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError:
            pytest.fail("there is no `docker` command here: these tests need a Docker engine", pytrace=False)
        except subprocess.TimeoutExpired as late:
            output = (late.stdout or b"").decode(errors="replace")
            pytest.fail(f"{command}: not within {seconds:.0f} s\n{output[-4000:]}", pytrace=False)
        if check and done.returncode != 0:
            pytest.fail(f"{command}: exit code {done.returncode}\n{done.stdout[-6000:]}", pytrace=False)
        return CommandResult(done.returncode, done.stdout)

    def start(self, scale: Mapping[str, int]) -> None:
        self._engine_or_fail()
        began = time.monotonic()
        self.compose("build", seconds=BUILD_SECONDS)
        self._report("images built", began)
        scaled = [f"--scale={service}={count}" for service, count in scale.items()]
        self.compose("up", "--detach", "--no-build", *scaled, seconds=START_SECONDS)
        self._report("containers started", began)
        self.await_ready()
        self._report("everything is ready", began)

    def await_ready(self) -> None:
        """Waits until every published API is ready, and every consumer is attached to its queues."""
        deadline = time.monotonic() + READY_SECONDS
        waiting = {s: "/healthz" if "api" not in s else "/readyz" for s in self.ports}
        while waiting:
            for service, path in list(waiting.items()):
                if answers(self.url(service) + path):
                    del waiting[service]
            if waiting and time.monotonic() > deadline:
                pytest.fail(f"not ready: {', '.join(waiting)}\n{self.problems()}", pytrace=False)
            time.sleep(0.5 if waiting else 0)

    def ids(self, service: str) -> list[str]:
        """The service's running containers."""
        return self.compose("ps", "--quiet", service).out.split()

    def sql(self, database: str, query: str) -> list[dict[str, Any]]:
        """Returns the rows, read as superuser."""
        psql = ("psql", "--username=postgres", "--tuples-only", "--no-align", database)
        rows = f"SELECT coalesce(json_agg(q), '[]') FROM ({query}) q"
        found: list[dict[str, Any]] = json.loads(self.compose("exec", "-T", "postgres", *psql, input=rows).out)
        return found

    def problems(self) -> str:
        """Containers that are not running, and warnings and errors in the logs."""
        states = self.compose("ps", "--all", "--format", "{{.Name}}  {{.Status}}", check=False).out
        stopped = [line for line in states.splitlines() if "Up " not in line and "Exited (0)" not in line]
        logs = self.compose("logs", "--no-color", "--tail=200", check=False, seconds=60).out.splitlines()
        marks = ('"level": "error"', '"level": "warning"', "Traceback", "FATAL", "[error]")
        severe = [line for line in logs if any(mark in line for mark in marks)]
        return "\n".join([*stopped, *severe[-40:]])

    def remove(self) -> None:
        self.compose(*DOWN, check=False, seconds=120)

    def remove_if_we_die(self) -> str:
        argv = ["docker", "compose", "-f", str(ROOT / "docker-compose.yml"), *self._files, *DOWN]
        return guardian.watch_command(self.project, argv)

    def _engine_or_fail(self) -> None:
        for command, what in (
            (("version", "--format", "{{.Server.Version}}"), "a running Docker engine"),
            (("compose", "version"), "`docker compose` (version 2)"),
        ):
            result = self.docker(*command, check=False)
            if result.code != 0:
                pytest.fail(f"these tests need {what}; docker reports: {result.out.strip()}", pytrace=False)

    def _report(self, text: str, began: float) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {text}")


DOWN = ("--profile", "sandbox", "down", "--volumes", "--remove-orphans", "--timeout", "15")


@contextmanager
def running(scale: Mapping[str, int]) -> Iterator[Containers]:
    containers = Containers()
    key = containers.remove_if_we_die()
    try:
        containers.start(scale)
        yield containers
    finally:
        containers.remove()
        guardian.forget(key)


def _example() -> dict[str, str]:
    lines = EXAMPLE.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
