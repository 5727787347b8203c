"""Each service's broker password in the wrong hands, on a broker with the real rights and topology: every try to forge,
read, bind, declare or delete is refused by the broker, and what reaches a consumer has no effect."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection
from tests.databases import logins
from tests.deliveries import envelope
from tests.processes import RunningRole, migrate
from tests.waiting import until

from contracts.checkout import CatalogItemRegistered, PurchaseCreated
from contracts.money import usd
from contracts.payments import PaymentRefs, PaymentSucceeded
from contracts.people import Program
from contracts.registry import PUBLISHED_BY
from devstack.broker_rights import DEPLOYMENT, rights_of
from kit.messaging.broker import Publisher
from kit.messaging.dead_letters import dead_letters
from kit.messaging.outbox import OutgoingMessage, to_message
from kit.messaging.publishers import KEY_HEADER, PUBLISHER_HEADER
from kit.messaging.topology import Queue, declare_at, own_exchange
from testkit import servers
from testkit.postgres_server import Database, PostgresServer
from testkit.processes import stop_all, wait_all_ready

pytestmark = pytest.mark.server

SERVICES = tuple(name for name in PUBLISHED_BY if name != "other systems")
QUEUES: dict[str, tuple[Queue, ...]] = {
    service: importlib.import_module(f"{service.replace('-', '_')}.topology").QUEUES for service in SERVICES
}
ALL_QUEUES = [queue for queues in QUEUES.values() for queue in queues]
BUILT_IN = ("", "amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.topic", "amq.rabbitmq.trace")
FOREIGN = (PaymentSucceeded.type, CatalogItemRegistered.type, PurchaseCreated.type, "enrollment.activated.v1")

Try = Callable[[AbstractChannel], Awaitable[object]]


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """A broker of its own, by login: nothing but this topology exists there."""
    with servers.rabbitmq() as server:
        created = server.create_users([DEPLOYMENT, *map(rights_of, SERVICES)])
        asyncio.run(declare_at(created["deployment"], ALL_QUEUES))
        yield created


@asynccontextmanager
async def stolen(urls: dict[str, str], service: str) -> AsyncIterator[AbstractConnection]:
    async with await aio_pika.connect(urls[service]) as connection:
        yield connection


async def outcome(connection: AbstractConnection, attempt: Try) -> str:
    """What the broker answers; `done` if it did it."""
    async with connection.channel(on_return_raises=True) as channel:
        try:
            await asyncio.wait_for(attempt(channel), 10)
        except aio_pika.exceptions.ChannelClosed as error:
            return str(error).partition(" ")[0]
    return "done"


async def all_refused(urls: dict[str, str], service: str, tries: dict[str, Try]) -> None:
    async with stolen(urls, service) as connection:
        outcomes = {name: await outcome(connection, attempt) for name, attempt in tries.items()}
    assert {name: answer for name, answer in outcomes.items() if answer != "ACCESS_REFUSED"} == {}


def publish(exchange: str, key: str, message: aio_pika.Message | None = None) -> Try:
    async def attempt(channel: AbstractChannel) -> object:
        target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
        return await target.publish(message or aio_pika.Message(b"{}"), key, mandatory=True)

    return attempt


def on_queue(name: str, method: str, *arguments: object) -> Try:
    async def attempt(channel: AbstractChannel) -> object:
        queue = await channel.get_queue(name, ensure=False)
        return await getattr(queue, method)(*arguments)

    return attempt


def bind_exchange(destination: str, source: str, key: str) -> Try:
    async def attempt(channel: AbstractChannel) -> object:
        return await (await channel.get_exchange(destination, ensure=False)).bind(source, key)

    return attempt


@pytest.mark.parametrize("service", SERVICES)
async def test_no_exchange_takes_a_foreign_event(urls: dict[str, str], service: str) -> None:
    own = {event.type for event in PUBLISHED_BY[service]}
    keys = [name for queue in ALL_QUEUES for name in (queue.name, queue.dead)]
    others = [own_exchange(other) for other in SERVICES if other != service]
    tries = {f"{exchange}/{key}": publish(exchange, key) for exchange in (*BUILT_IN, *others) for key in keys}
    tries |= {f"events/{type_}": publish("bursar.events", type_) for type_ in FOREIGN if type_ not in own}
    await all_refused(urls, service, tries)


@pytest.mark.parametrize("service", SERVICES)
async def test_nobody_publishes_under_another_name(urls: dict[str, str], service: str) -> None:
    own = PUBLISHED_BY[service][0].type
    async with stolen(urls, service) as connection:
        for name in {*SERVICES, "deployment", "admin", ""} - {service, ""}:
            message = aio_pika.Message(b"{}", user_id=name)
            assert await outcome(connection, publish("bursar.events", own, message)) == "PRECONDITION_FAILED", name


@pytest.mark.parametrize("service", SERVICES)
async def test_nothing_can_be_read_that_is_not_ones_own(urls: dict[str, str], service: str) -> None:
    names = [
        name
        for other, queues in QUEUES.items()
        if other != service
        for queue in queues
        for name in (queue.name, queue.dead)
    ]
    methods = {"get": (), "purge": (), "consume": (print,)}
    tries = {f"{method} {name}": on_queue(name, method, *given) for name in names for method, given in methods.items()}
    await all_refused(urls, service, tries)


@pytest.mark.parametrize("service", SERVICES)
async def test_nothing_can_be_bound(urls: dict[str, str], service: str) -> None:
    exchanges = ("bursar.events", *BUILT_IN[1:], *map(own_exchange, SERVICES))
    own, foreign = QUEUES[service][0].name, next(q.name for q in ALL_QUEUES if q not in QUEUES[service])
    tries: dict[str, Try] = {}
    for exchange in exchanges:
        for queue in (own, foreign, QUEUES[service][0].dead):
            tries[f"bind {queue} {exchange}"] = on_queue(queue, "bind", exchange, "#")
            tries[f"unbind {queue} {exchange}"] = on_queue(queue, "unbind", exchange, queue)
        for other in exchanges:
            tries[f"{exchange} <- {other}"] = bind_exchange(exchange, other, "#")
    await all_refused(urls, service, tries)


@pytest.mark.parametrize("service", SERVICES)
async def test_nothing_can_be_declared_or_deleted(urls: dict[str, str], service: str) -> None:
    def declare_queue(name: str, *, exclusive: bool = False) -> Try:
        return lambda channel: channel.declare_queue(name, exclusive=exclusive)

    def declare_exchange(name: str, kind: ExchangeType) -> Try:
        return lambda channel: channel.declare_exchange(name, kind)

    def delete_queue(name: str) -> Try:
        return lambda channel: channel.queue_delete(name)

    def delete_exchange(name: str) -> Try:
        return lambda channel: channel.exchange_delete(name)

    own = QUEUES[service][0].name
    tries = {f"queue {name}": declare_queue(name) for name in (own, f"{service}.more", "more")}
    tries |= {f"exclusive {name}": declare_queue(name, exclusive=True) for name in ("", f"{own}.lock")}
    for name in ("bursar.events", own_exchange(service), f"{service}.more"):
        tries |= {
            f"exchange {name} {kind.name}": declare_exchange(name, kind)
            for kind in (ExchangeType.TOPIC, ExchangeType.HEADERS)
        }
        tries[f"delete exchange {name}"] = delete_exchange(name)
    tries |= {f"delete {name}": delete_queue(name) for queue in ALL_QUEUES for name in (queue.name, queue.dead)}
    await all_refused(urls, service, tries)


@pytest.fixture(scope="module")
def enrollments(urls: dict[str, str], postgres_server: PostgresServer) -> Iterator[Database]:
    """enrollment, with its own broker login. Returns its database."""
    database = postgres_server.create_database("enrollment_stolen")
    env = {**logins(database), "AMQP_URL": urls["enrollment"], "MIGRATE_AMQP_URL": urls["deployment"]}
    migrate("enrollment", env)
    roles = [RunningRole("enrollment", role, env).start() for role in ("consumers", "relay")]
    try:
        wait_all_ready(roles)
        yield database
    finally:
        stop_all(roles)


def paid_for(student: UUID) -> OutgoingMessage:
    paid = PaymentSucceeded(
        refs=PaymentRefs(payment_intent=f"pi_{student}"),
        purchase_id=uuid4(),
        student_id=student,
        program=Program(slug="barber-apprenticeship", id="prog_1"),
        amount=usd(489_000),
    )
    return to_message(envelope(f"evt_{student}", paid, source="webhook-gateway"))


async def enrolled(database: Database) -> set[UUID]:
    connection = await asyncpg.connect(database.owner_url)
    try:
        return {row["student_id"] for row in await connection.fetch("SELECT student_id FROM enrollments")}
    finally:
        await connection.close()


async def forged(urls: dict[str, str], service: str) -> int:
    """Sends forged payments in every manner that the broker lets through. Returns how many it took."""
    taken = 0
    own = PUBLISHED_BY[service][0].type
    tricks = [
        {},
        {PUBLISHER_HEADER: "webhook-gateway"},
        {PUBLISHER_HEADER: "deployment"},
        {KEY_HEADER: "rescheduled/1"},
    ]
    async with stolen(urls, service) as connection:
        for user_id in (service, None):
            tries: list[Try] = []
            for trick in tricks:
                event = paid_for(uuid4())
                message = aio_pika.Message(event.body, headers={**event.headers, **trick}, user_id=user_id)
                tries.append(publish(own_exchange(service), "enrollment.payments", message))
                tries.append(publish(own_exchange(service), "enrollment.payments.dead", message))
            for header in ("CC", "BCC"):
                event = paid_for(uuid4())
                headers = {**event.headers, header: [PaymentSucceeded.type, "enrollment.payments"]}
                message = aio_pika.Message(event.body, headers=headers, user_id=user_id)
                tries += [publish("bursar.events", own, message), publish(own_exchange(service), "none", message)]
            for attempt in tries:
                with suppress(aio_pika.exceptions.DeliveryError):
                    taken += await outcome(connection, attempt) == "done"
    return taken


@pytest.mark.parametrize("service", [name for name in SERVICES if name not in ("webhook-gateway", "checkout")])
async def test_what_the_broker_lets_through_opens_no_enrollment(
    urls: dict[str, str], enrollments: Database, service: str
) -> None:
    before = await enrolled(enrollments)
    taken = await forged(urls, service)
    async with dead_letters(urls["deployment"], "enrollment.payments") as letters:
        await letters.replay(lambda _: True)
    publisher = Publisher(urls["webhook-gateway"], name="tests")
    student = uuid4()
    await publisher.publish(paid_for(student))
    await publisher.close()

    async def opened() -> bool:
        return student in await enrolled(enrollments)

    await until(opened, what="the genuine payment, published after the forged ones")
    assert await enrolled(enrollments) - before == {student}
    async with dead_letters(urls["deployment"], "enrollment.payments") as letters:
        refused = [letter.reason for letter in await letters.letters()]
        assert all("may not publish payment.succeeded.v1" in reason for reason in refused)
        if service == "enrollment":
            assert 16 <= len(refused) <= taken, "what it has put into its own queue"
        await letters.discard(lambda _: True)
