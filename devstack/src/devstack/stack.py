"""The whole system on this machine: servers, sandboxes, mail catcher and one process for each service."""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from devstack import services
from devstack.agreement import require_one_policy
from devstack.broker_rights import DEPLOYMENT, rights_of
from devstack.identity import Identity, Person, new_people
from devstack.services import ADMIN, PORTAL, SANDBOXES, SERVICES, Ports, Service
from kit.messaging.topology import Queue, declare_at
from testkit import servers
from testkit.processes import Command, Process, stop_all, wait_all_ready
from testkit.servers import Database, PostgresServer, RabbitServer
from testkit.smtp import MailCatcher

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]
READY_SECONDS = 90.0


class Busy(RuntimeError):
    """Another stack is running in this folder."""


class Clock:
    """Prints lines with the seconds since the start. Thread-safe."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        with self._lock:
            print(f"[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A running system. `processes` by name of service or sandbox."""

    folder: Path
    ports: Ports
    identity: Identity
    people: dict[str, Person]
    postgres: PostgresServer
    rabbit: RabbitServer
    amqp_url: str
    """With the deployment's login."""
    databases: dict[str, Database]
    mail: MailCatcher
    processes: dict[str, Process]

    def url(self, name: str) -> str:
        """Base URL of a service or sandbox."""
        return self.ports.url(name)

    def internal_url(self, name: str) -> str:
        """Base URL of a process's health, metrics and documents."""
        return self.ports.internal_url(name)

    def token(self, who: str) -> str:
        """The bearer token of `student`, `case_manager` or `admin`."""
        return self.identity.token(self.people[who])

    @property
    def operator_headers(self) -> dict[str, str]:
        """For the operator API of the Stripe sandbox."""
        return {"Authorization": f"Bearer {self.identity.sandbox_token}"}

    @property
    def description(self) -> Path:
        """stack.json: everything a client of the stack needs."""
        return self.folder / "stack.json"

    def describe(self) -> dict[str, object]:
        urls = {name: self.url(name) for name in self.processes}
        return {
            **urls,
            "health": {name: self.internal_url(name) for name in self.processes},
            "amqp_url": self.amqp_url,
            "databases": {name: database.url for name, database in self.databases.items()},
            "stripe_webhook_secret": self.identity.stripe_webhook_secret,
            "stripe_api_key": self.identity.stripe_api_key,
            "sandbox_token": self.identity.sandbox_token,
            "jwt": {
                "jwks_url": self.url("identity_sandbox") + "/jwks.json",
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
    """Starts everything and waits until it is ready; stops everything afterward. The data stays in `folder`.

    Raises Busy, NoServer, ProcessDied or NotReady; the last two quote the end of the log that matters.
    """
    say = say or Clock().say
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        held.enter_context(_lock(folder))
        (folder / "stack.json").unlink(missing_ok=True)  # written again when everything is ready
        stack = _Start(folder, held, stable_ports, say).run()
        stack.description.touch(mode=0o600)
        stack.description.write_text(json.dumps(stack.describe(), indent=2) + "\n")
        yield stack


class _Start:
    """The steps of a start; independent ones run concurrently."""

    def __init__(self, folder: Path, held: ExitStack, stable_ports: bool, say: Callable[[str], None]) -> None:
        self._folder, self._held, self._say = folder, held, say
        self._lock = threading.Lock()
        self._ports, self._stable_ports = Ports.choose(stable=stable_ports), stable_ports
        stored = Identity.kept_in(folder / "secrets.json")
        self._identity = replace(stored, jwt_issuer=self._ports.url("identity_sandbox"))
        self._common = services.common(self._identity, self._ports)
        for log in (folder / "logs").glob("*.log"):
            log.unlink()

    def run(self) -> Stack:
        self._say("starting PostgreSQL, RabbitMQ, the sandboxes (Stripe, Milady, identity provider) and a mail catcher")
        for name, port in self._ports.taken.items():
            self._say(f"port {port} is in use: {name} listens on {self._ports.public[name]} this time")
        mail = self._hold(MailCatcher(self._folder / "mail", self._ports.public["mail"]))
        sandboxes = {name: self._sandbox(name) for name in SANDBOXES}
        self._start(sandboxes)
        with ThreadPoolExecutor(2) as pool:
            of_postgres, of_rabbit = pool.submit(self._postgres), pool.submit(self._rabbit)
            queues = [queue for service in SERVICES for queue in _queues(service)]
            (postgres, databases), (rabbit, amqp_urls) = of_postgres.result(), of_rabbit.result()
        asyncio.run(declare_at(amqp_urls[DEPLOYMENT.name], queues))  # what is published before does not reach them
        processes = {s.package: self._service(s, databases[s.package], amqp_urls) for s in SERVICES}
        others = self._admin(databases["webhook_gateway"], amqp_urls) | self._portal()
        self._start(processes | others)
        self._say(f"starting {len(processes)} services: {', '.join(processes)}, and the portal")
        wait_all_ready([*sandboxes.values(), *processes.values(), *others.values()], timeout=READY_SECONDS)
        require_one_policy(processes)
        return Stack(
            folder=self._folder,
            ports=self._ports,
            identity=self._identity,
            people=new_people(),
            postgres=postgres,
            rabbit=rabbit,
            amqp_url=amqp_urls[DEPLOYMENT.name],
            databases=databases,
            mail=mail,
            processes=processes | others | sandboxes,
        )

    def _hold(self, resource: AbstractContextManager[T]) -> T:
        """Enters a context that ends with the stack. Two threads call this."""
        entered = resource.__enter__()
        with self._lock:
            self._held.push(resource)
        return entered

    def _postgres(self) -> tuple[PostgresServer, dict[str, Database]]:
        server = self._hold(servers.postgres(self._folder / "postgres", durable=True))
        databases = {s.package: server.create_database(s.package) for s in SERVICES}
        self._say(f"PostgreSQL is ready, with {len(databases)} databases")
        return server, databases

    def _rabbit(self) -> tuple[RabbitServer, dict[str, str]]:
        server = self._hold(servers.rabbitmq(self._folder / "rabbitmq", durable=True))
        urls = server.create_users([DEPLOYMENT, *(rights_of(service.name) for service in SERVICES)])
        self._say(f"RabbitMQ is ready, with {len(urls)} users")
        return server, urls

    def _service(self, service: Service, database: Database, amqp_urls: Mapping[str, str]) -> Process:
        package = service.package
        settings = {
            **services.service_environment(package, self._identity, self._ports),
            "MIGRATE_DATABASE_URL": database.owner_url,
            "DATABASE_URL": database.url,
            "API_DATABASE_URL": database.api_url,
            "STAFF_DATABASE_URL": database.staff_url,
            "MIGRATE_AMQP_URL": amqp_urls[DEPLOYMENT.name],
            "AMQP_URL": amqp_urls[service.name],
            "HTTP_PORT": str(self._ports.public[package]),
            "INTERNAL_PORT": str(self._ports.internal[package]),
        }
        return self._process(package, [package, "all"], settings, "/readyz")

    def _admin(self, database: Database, amqp_urls: Mapping[str, str]) -> dict[str, Process]:
        settings = {
            **services.service_environment("webhook_gateway", self._identity, self._ports),
            "DATABASE_URL": database.url,
            "AMQP_URL": amqp_urls[DEPLOYMENT.name],
            "HTTP_PORT": str(self._ports.public[ADMIN]),
            "INTERNAL_PORT": str(self._ports.internal[ADMIN]),
        }
        return {ADMIN: self._process(ADMIN, ["webhook_gateway", "admin"], settings, "/readyz")}

    def _portal(self) -> dict[str, Process]:
        settings = services.service_environment(PORTAL, self._identity, self._ports)
        settings |= {"HTTP_PORT": str(self._ports.public[PORTAL]), "INTERNAL_PORT": str(self._ports.internal[PORTAL])}
        return {PORTAL: self._process(PORTAL, [PORTAL, "api"], settings, "/readyz")}

    def _sandbox(self, name: str) -> Process:
        settings = services.sandbox_environment(name, self._identity, self._ports)
        if name == "stripe_sandbox" and self._stable_ports:  # its objects contain the addresses of its pages
            settings["STRIPE_SANDBOX_STATE_FILE"] = str(self._folder / "stripe_sandbox.sqlite3")
        return self._process(name, [name], settings, "/healthz")

    def _process(self, name: str, argv: list[str], settings: dict[str, str], ready_path: str) -> Process:
        return Process(
            Command(
                name=name,
                argv=[sys.executable, "-m", *argv],
                env={**self._common, **settings},
                log=self._folder / "logs" / f"{name}.log",
                ready_url=self._ports.internal_url(name) + ready_path,
                cwd=self._folder,
            )
        )

    def _start(self, processes: dict[str, Process]) -> None:
        self._held.callback(stop_all, list(processes.values()), timeout=15)
        for process in processes.values():
            process.start()


def _queues(service: Service) -> Sequence[Queue]:
    queues: Sequence[Queue] = importlib.import_module(f"{service.package}.topology").QUEUES
    return queues


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(f"another stack (process {file.read().strip()}) is running in {folder}: stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
