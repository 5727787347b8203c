"""The whole system on this machine: servers, migrations, sandboxes, mail catcher and every service's processes."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from devstack import layout
from devstack.identity import Identity, Person, new_people
from devstack.layout import SANDBOXES, SERVICES, Ports, Service
from testkit import servers
from testkit.processes import Command, Process, ProcessDied, stop_all, wait_all_ready
from testkit.servers import Database, PostgresServer, RabbitServer
from testkit.smtp import MailCatcher

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
READY_SECONDS = 90.0


class Busy(RuntimeError):
    """Another stack runs in this folder."""


class Clock:
    """Lines with the seconds since the start; threads may speak."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        with self._lock:
            print(f"[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running system. `processes` by name: `enrollment.consumers`, `stripe_sandbox`, ..."""

    folder: Path
    ports: Ports
    identity: Identity
    people: dict[str, Person]
    postgres: PostgresServer
    rabbit: RabbitServer
    databases: dict[str, Database]
    mail: MailCatcher
    processes: dict[str, Process]

    def url(self, name: str) -> str:
        """Base URL of a service or sandbox."""
        return self.ports.url(name)

    def token(self, who: str) -> str:
        """The bearer token of `student`, `case_manager` or `admin`."""
        return self.identity.token(self.people[who])

    @property
    def description(self) -> Path:
        """stack.json: what a program that wants to use the stack has to know."""
        return self.folder / "stack.json"

    def describe(self) -> dict[str, object]:
        names = [*(s.package for s in SERVICES), *SANDBOXES]
        return {
            **{name: self.url(name) for name in names},
            "health": self.ports.of_processes(),
            "amqp_url": self.rabbit.url,
            "databases": {name: database.url for name, database in self.databases.items()},
            "stripe_webhook_secret": self.identity.stripe_webhook_secret,
            "stripe_api_key": self.identity.stripe_api_key,
            "jwt": {
                "secret": self.identity.jwt_secret,
                "issuer": self.identity.jwt_issuer,
                "audience": self.identity.jwt_audience,
            },
            "tokens": {who: self.token(who) for who in self.people},
            "mail_dir": str(self.mail.folder),
            "log_dir": str(self.folder / "logs"),
        }


@contextmanager
def running(
    folder: Path = ROOT / ".local", *, stable_ports: bool = False, say: Callable[[str], None] | None = None
) -> Iterator[Stack]:
    """Everything, ready to be used; all of it is gone afterward but the data in `folder`.

    Raises Busy, NoServer, ProcessDied or NotReady; the last two tell the end of the log that matters.
    """
    say = say or Clock().say
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        held.enter_context(_only_one(folder))
        (folder / "stack.json").unlink(missing_ok=True)  # it is there again when everything is ready
        stack = _Start(folder, held, stable_ports, say).run()
        stack.description.touch(mode=0o600)
        stack.description.write_text(json.dumps(stack.describe(), indent=2) + "\n")
        yield stack


class _Start:
    """The steps of a start, those that do not need each other side by side."""

    def __init__(self, folder: Path, held: ExitStack, stable_ports: bool, say: Callable[[str], None]) -> None:
        self._folder, self._held, self._say = folder, held, say
        self._lock = threading.Lock()
        self._identity = Identity.kept_in(folder / "secrets.json")
        self._ports = Ports.choose(stable=stable_ports)
        self._common = layout.common(self._identity)
        for log in (folder / "logs").glob("*.log"):
            log.unlink()

    def run(self) -> Stack:
        self._say("starting: this takes about ten seconds")
        for name, port in self._ports.taken.items():
            self._say(f"port {port} is taken: {name} is at {self._ports.public[name]} this time")
        mail = self._hold(MailCatcher(self._folder / "mail", self._ports.public["mail"]))
        sandboxes = {name: self._sandbox(name) for name in SANDBOXES}
        self._start(sandboxes)
        with ThreadPoolExecutor(2) as pool:
            of_postgres, of_rabbit = pool.submit(self._postgres), pool.submit(self._rabbit)
            (postgres, databases), (rabbit, amqp_urls) = of_postgres.result(), of_rabbit.result()
        environments = {s.package: self._environment(s, databases[s.package], amqp_urls[s.package]) for s in SERVICES}
        self._migrate(environments)
        processes = {
            f"{s.package}.{role}": self._service(s, role, environments[s.package], databases[s.package])
            for s in SERVICES
            for role in s.roles
        }
        self._start(processes)
        self._say(f"{len(processes)} service processes started; until the first are ready takes some seconds")
        everything = sandboxes | processes
        self._await(everything)
        return Stack(
            folder=self._folder,
            ports=self._ports,
            identity=self._identity,
            people=new_people(),
            postgres=postgres,
            rabbit=rabbit,
            databases=databases,
            mail=mail,
            processes=everything,
        )

    def _hold(self, resource: AbstractContextManager[T]) -> T:
        """Enter a context that ends with the stack; two threads do so side by side."""
        entered = resource.__enter__()
        with self._lock:
            self._held.push(resource)
        return entered

    def _postgres(self) -> tuple[PostgresServer, dict[str, Database]]:
        server = self._hold(servers.postgres(self._folder / "postgres", durable=True))
        databases = {s.package: server.create_database(s.package) for s in SERVICES}
        self._say(f"PostgreSQL ready, {len(databases)} databases")
        return server, databases

    def _rabbit(self) -> tuple[RabbitServer, dict[str, str]]:
        server = self._hold(servers.rabbitmq(self._folder / "rabbitmq", durable=True))
        urls = server.create_users([s.broker_rights for s in SERVICES])
        self._say(f"RabbitMQ ready, {len(urls)} users")
        return server, urls

    def _environment(self, service: Service, database: Database, amqp_url: str) -> dict[str, str]:
        """Of every role but api, whose login is another."""
        told = layout.service_environment(service.package, self._identity, self._ports)
        return {**self._common, "DATABASE_URL": database.url, "AMQP_URL": amqp_url, **told}

    def _migrate(self, environments: dict[str, dict[str, str]]) -> None:
        """All at once, and all before the first relay: what is said must find every queue that hears it."""
        migrations = {
            package: self._process(f"{package}.migrate", [package, "migrate"], {**env, "HTTP_PORT": "0"})
            for package, env in environments.items()
        }
        self._start(migrations)
        for process in migrations.values():
            if process.wait(READY_SECONDS) != 0:
                raise ProcessDied(process.describe_death())
        self._say(f"{len(migrations)} databases migrated, queues declared")

    def _service(self, service: Service, role: str, env: dict[str, str], database: Database) -> Process:
        port = self._ports.of(service.package, role)
        login = database.api_url if role == "api" else database.url
        told = {**env, "DATABASE_URL": login, "HTTP_PORT": str(port)}
        return self._process(f"{service.package}.{role}", [service.package, role], told, port, "/readyz")

    def _sandbox(self, name: str) -> Process:
        told = layout.sandbox_environment(name, self._identity, self._ports)
        return self._process(name, [name], {**self._common, **told}, self._ports.public[name], "/healthz")

    def _process(
        self, name: str, argv: list[str], env: dict[str, str], port: int | None = None, ready: str = ""
    ) -> Process:
        return Process(
            Command(
                name=name,
                argv=[sys.executable, "-m", *argv],
                env=env,
                log=self._folder / "logs" / f"{name}.log",
                ready_url=f"http://127.0.0.1:{port}{ready}" if port else None,
                cwd=self._folder,
            )
        )

    def _start(self, processes: dict[str, Process]) -> None:
        self._held.callback(stop_all, list(processes.values()), timeout=15)
        for process in processes.values():
            process.start()

    def _await(self, processes: dict[str, Process]) -> None:
        ready: list[str] = []

        def tell(process: Process) -> None:
            ready.append(process.name)
            if len(ready) % 5 == 0 or len(ready) == len(processes):
                self._say(f"{len(ready)} of {len(processes)} processes ready")

        wait_all_ready(processes.values(), timeout=READY_SECONDS, on_ready=tell)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(f"a stack runs in {folder} already (process {file.read().strip()}): stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
