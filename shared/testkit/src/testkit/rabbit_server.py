"""A running RabbitMQ server: users with restricted permissions; stop, kill and start for fault tests."""

import asyncio
import base64
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

import aiormq

from testkit.engines import Engine, NotOurs, until_answer

Control = Callable[[Sequence[str], str], str]
"""Runs rabbitmqctl with these arguments and, unless empty, a file with this text as the last; raises RuntimeError."""


@dataclass(frozen=True)
class Grant:
    """A user and RabbitMQ's three permissions: regular expressions on the names of queues and exchanges. `publishes`:
    by topic exchange, the routing keys that may be published to it."""

    name: str
    configure: str
    write: str
    read: str
    publishes: Mapping[str, str] = field(default_factory=dict)


class RabbitServer:
    """Created by `servers.rabbitmq()`. `url` is an administrator's, `rung` says where the server came from."""

    def __init__(self, *, url: str, rung: str, engine: Engine | None, control: Control | None) -> None:
        self.url = url
        self.rung = rung
        self._engine = engine
        self._control = control

    def create_user(self, name: str, configure: str, write: str, read: str) -> str:
        """The amqp URL of a user with these permissions only. An existing user gets them and a new password. If the
        server was given by its URL, users cannot be created: returns the administrator's URL."""
        return self.create_users([Grant(name, configure, write, read)])[name]

    def create_users(self, grants: Sequence[Grant]) -> dict[str, str]:
        """The same for several users in one call: URLs by user name."""
        if self._control is None:
            return {grant.name: self.url for grant in grants}
        passwords = {grant.name: secrets.token_hex(16) for grant in grants}
        vhost = unquote(urlsplit(self.url).path[1:]) or "/"
        definitions = {
            "users": [
                {
                    "name": name,
                    "password_hash": _salted(password),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": "",
                    "limits": {},
                }
                for name, password in passwords.items()
            ],
            "permissions": [
                {"user": g.name, "vhost": vhost, "configure": g.configure, "write": g.write, "read": g.read}
                for g in grants
            ],
            "topic_permissions": [
                {"user": g.name, "vhost": vhost, "exchange": exchange, "write": keys, "read": "^$"}
                for g in grants
                for exchange, keys in g.publishes.items()
            ],
        }
        self._control(["import_definitions"], json.dumps(definitions))
        return {name: self._as(name, password) for name, password in passwords.items()}

    def stop(self) -> None:
        """Orderly shutdown by SIGTERM. Raises NotOurs on rung a."""
        self._own().stop()

    def kill(self) -> None:
        """SIGKILL. Confirmed messages in durable queues are there after `start`. Raises NotOurs on rung a.

        A quorum queue must be older than a second to survive that (3.10: its entry in Ra's directory is saved twice per
        second; a younger one is listed as running after the restart and never answers)."""
        self._own().kill()

    def start(self) -> None:
        """Restarts after stop or kill with the same port and data; returns when it accepts connections."""
        self._own().start()

    def control(self, *arguments: str) -> str:
        """The output of `rabbitmqctl -q <arguments>`. Raises NotOurs on rung a."""
        if self._control is None:
            raise NotOurs(f"this RabbitMQ is {self.rung}: rabbitmqctl does not reach it from here")
        return self._control(arguments, "")

    def _as(self, user: str, password: str) -> str:
        parts = urlsplit(self.url)
        where = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{where}").geturl()

    def _own(self) -> Engine:
        if self._engine is None:
            raise NotOurs(f"this RabbitMQ is {self.rung}: it cannot be stopped or started from here")
        return self._engine


async def version_of(url: str) -> str:
    """The broker's version ('4.0.5'). Also proves that it accepts this login."""
    parts = urlsplit(url)  # first a plain TCP connection: aiormq logs each refusal
    (_, writer) = await asyncio.open_connection(parts.hostname, parts.port or 5672)
    writer.close()
    connection = await aiormq.connect(url)
    try:
        version = connection.server_properties.get("version", "?")
        return version.decode() if isinstance(version, bytes) else str(version)
    finally:
        await connection.close()


def await_broker(url: str, *, still: Callable[[], bool], timeout: float = 90) -> str:
    """Waits until it accepts this login; returns its version. Raises Unavailable."""
    return until_answer(lambda: version_of(url), timeout=timeout, still=still, what="RabbitMQ")


def _salted(password: str) -> str:
    """RabbitMQ's rabbit_password_hashing_sha256 (documentation: "Passwords", computing hashes)."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
