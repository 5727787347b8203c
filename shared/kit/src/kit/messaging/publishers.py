"""Who has published a message, and whether they may publish its type.

RabbitMQ compares the property `user_id`, if it is set, with the login of the connection
(https://www.rabbitmq.com/docs/validated-user-id), and keeps it when it dead-letters. Topic permissions alone do not
suffice: before RabbitMQ 4 they are not applied to the keys in the headers CC and BCC (`rabbit_channel.erl`,
check_write_permitted_on_topic), and they say nothing about the type in the message's own headers.

A service also publishes messages of others into its own queues: its retries and its dead letters, which are replayed.
Such a message names its outbox row, and is accepted if the service's database has that row: the broker's password alone
cannot make one.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from aio_pika.abc import AbstractIncomingMessage
from sqlalchemy import text

from contracts.envelope import BadEnvelope, Envelope, Event, attributes
from contracts.registry import EVENT_TYPES, PUBLISHED_BY
from kit.db.database import Database
from kit.runtime.failures import Permanent

KEY_HEADER = "bursar-key"
"""The outbox row of a message that a service has published into its own queues."""
PUBLISHER_HEADER = "bursar-publisher"
"""The original publisher of a message that was published again: believed only of the deployment's login, and in an
outbox row."""
UNSIGNED = ""
"""The publisher of a message without `user_id`."""

_ROW = text(
    """
    SELECT headers, body FROM outbox_messages WHERE message_key = :key AND routing_key IN (:queue, :dead)
    UNION ALL SELECT headers, body FROM outbox WHERE message_key = :key AND routing_key = :queue
    """
)
_OTHERS = "other systems"
_TYPES: Mapping[str, frozenset[str]] = {
    name: frozenset(event.type for event in events) for name, events in PUBLISHED_BY.items()
}


def login_of(amqp_url: str) -> str:
    return unquote(urlsplit(amqp_url).username or "guest")


def is_service(login: str) -> bool:
    return login in PUBLISHED_BY


def trusted_logins(*, amqp_url: str, operator: str) -> frozenset[str]:
    """The deployment's own login, and that of this process if it is no service's (one login for everything)."""
    own = login_of(amqp_url)
    return frozenset((operator,)) if is_service(own) else frozenset((operator, own))


def is_vouched_for(message: AbstractIncomingMessage, *, amqp_url: str, operator: str) -> bool:
    """Whether the deployment itself has published the message, in nobody else's name."""
    trusted = trusted_logins(amqp_url=amqp_url, operator=operator)
    return message.user_id in trusted and PUBLISHER_HEADER not in message.headers


def publisher_of_dead_letter(message: AbstractIncomingMessage, *, operator: str) -> str:
    """The publisher that a replay names. Of a dead letter that a service has written it is the service: its consumer
    finds the first publisher in its database."""
    login = message.user_id or UNSIGNED
    return _header(message, PUBLISHER_HEADER, login) if login == operator else login


class Publishers:
    """The check that the consumers of one process make of every message."""

    def __init__(
        self, *, amqp_url: str, database: Database, operator: str = "deployment", accept_unsigned: bool = False
    ) -> None:
        """`operator`: the deployment's own login, which may publish everything."""
        self._own = login_of(amqp_url)
        self._operator = operator
        self._database = database
        self._trusted = trusted_logins(amqp_url=amqp_url, operator=operator)
        self._accept_unsigned = accept_unsigned

    async def check(self, queue: str, message: AbstractIncomingMessage, event: Envelope[Event]) -> None:
        """Raises Permanent unless the publisher of this message, which carries the event, may publish events of this
        type, and names itself as the source: an audit record in the name of another service would blame its users."""
        publisher = await self.publisher_of(queue, message)
        if not self._may_publish(publisher, event.type):
            raise Permanent(f"{publisher or 'a publisher without user_id'} may not publish {event.type}")
        if is_service(publisher) and publisher not in self._trusted and event.source != publisher:
            raise Permanent(f"{publisher} may not publish as {event.source[:100]!r}")

    async def publisher_of(self, queue: str, message: AbstractIncomingMessage) -> str:
        """The login that published this message first, or UNSIGNED."""
        login = message.user_id or UNSIGNED
        if login in self._trusted:
            login = _header(message, PUBLISHER_HEADER, login)
        key = _header(message, KEY_HEADER, "")
        if login == self._own and login not in self._trusted and key and "\x00" not in key:
            first = await self._first_publisher(queue, message, key)
            return login if first is None else first
        return login

    def _may_publish(self, publisher: str, type_: str) -> bool:
        if publisher in self._trusted:
            return True
        if publisher == UNSIGNED:
            return self._accept_unsigned
        if type_ not in EVENT_TYPES:  # gets here only in a queue of all types; a later version may publish it
            return is_service(publisher)
        return type_ in _TYPES.get(publisher, _TYPES[_OTHERS])

    async def _first_publisher(self, queue: str, message: AbstractIncomingMessage, key: str) -> str | None:
        """The publisher that the outbox row has noted; None if there is no row with just this event."""
        try:
            event = attributes(message.headers)
        except BadEnvelope:
            return None
        async with self._database.transaction() as db:
            row = (await db.execute(_ROW, {"key": key, "queue": queue, "dead": f"{queue}.dead"})).first()
        if row is None or row.body != message.body or attributes(row.headers) != event:
            return None
        # a row of an earlier version has none; only this service writes to its database
        return str(row.headers.get(PUBLISHER_HEADER, self._operator))


def _header(message: AbstractIncomingMessage, name: str, default: str) -> str:
    value = message.headers.get(name)
    return value if isinstance(value, str) else default
