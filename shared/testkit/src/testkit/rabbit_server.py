"""A RabbitMQ server in use: users with restricted permissions, and stop/start/kill for fault tests."""

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
    """A user and the three permissions of RabbitMQ: regular expressions on the names of queues and exchanges. `says`:
    topic exchanges to which only routing keys that match may be published."""

    name: str
    configure: str
    write: str
    read: str
    publishes: Mapping[str, str] = field(default_factory=dict)


class RabbitServer:
    """Made by `servers.rabbitmq()`. `url` is an administrator's, `rung` says where the server came from."""

    def __init__(self, *, url: str, rung: str, engine: Engine | None, control: Control | None) -> None:
        self.url = url
        self.rung = rung
        self._engine = engine
        self._control = control

    def create_user(self, name: str, configure: str, write: str, read: str) -> str:
        """The amqp URL of a user who may only do that. An existing user gets a new password and these permissions.
        Where only a URL was given we may not create users: returns the administrator's URL."""
        return self.create_users([Grant(name, configure, write, read)])[name]

    def create_users(self, grants: Sequence[Grant]) -> dict[str, str]:
        """The same for several at the price of one: URLs by user name."""
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
                {"user": g.name, "vhost": vhost, "exchange": exchange, "write": keys, "read": ".*"}
                for g in grants
                for exchange, keys in g.publishes.items()
            ],
        }
        self._control(["import_definitions"], json.dumps(definitions))
        return {name: self._as(name, password) for name, password in passwords.items()}

    def stop(self) -> None:
        """In order, as SIGTERM does. Raises NotOurs on rung a."""
        self._own().stop()

    def kill(self) -> None:
        """SIGKILL. What was confirmed in durable queues is there after `start`. Raises NotOurs on rung a.

        A quorum queue must be older than a second to survive that (3.10: its entry in Ra's directory of names is saved
        every half second; a younger one comes back listed as running, and never answers)."""
        self._own().kill()

    def start(self) -> None:
        """After stop or kill: the same port and data; returns when it accepts connections."""
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
    """The broker's version ('4.0.5'), which also proves that it answers this login."""
    parts = urlsplit(url)  # first a bare connection: aiormq logs each refusal
    (_, writer) = await asyncio.open_connection(parts.hostname, parts.port or 5672)
    writer.close()
    connection = await aiormq.connect(url)
    try:
        version = connection.server_properties.get("version", "?")
        return version.decode() if isinstance(version, bytes) else str(version)
    finally:
        await connection.close()


def await_broker(url: str, *, still: Callable[[], bool], timeout: float = 90) -> str:
    """Its version, as soon as it accepts this login. Raises Unavailable."""
    return until_answer(lambda: version_of(url), timeout=timeout, still=still, what="RabbitMQ")


def _salted(password: str) -> str:
    """RabbitMQ's rabbit_password_hashing_sha256 (documentation: "Passwords", computing hashes)."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
