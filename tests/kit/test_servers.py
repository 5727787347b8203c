"""The servers of the tests: found or started, restricted logins, stop and start, nothing left behind."""

import asyncio
import os
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import aiormq
import asyncpg
import pytest

from testkit import postgres_binaries, rabbit_packages, servers
from testkit.engines import Unavailable
from testkit.postgres_binaries import PostgresEngine
from testkit.postgres_server import PostgresServer
from testkit.processes import Command, Process, ProcessDied, free_ports, is_free
from testkit.rabbit_server import RabbitServer
from testkit.smtp import Fault, MailCatcher

pytestmark = pytest.mark.server  # starts servers of its own


@pytest.fixture(scope="module")
def no_urls() -> Iterator[None]:
    """These tests stop and start servers, so they need their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BURSAR_TEST_POSTGRES_URL", raising=False)
        patch.delenv("BURSAR_TEST_AMQP_URL", raising=False)
        yield


@pytest.fixture(scope="module")
def pg(no_urls: None) -> Iterator[PostgresServer]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="module")
def mq(no_urls: None) -> Iterator[RabbitServer]:
    with servers.rabbitmq() as server:
        yield server


async def rows(url: str, sql: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


class TestPostgres:
    async def test_every_login_is_bound_by_row_level_security(self, pg: PostgresServer) -> None:
        db = pg.create_database("shop")
        sql = "SELECT rolname::text, rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = current_user"
        for url, name in (
            (db.owner_url, "shop_owner"),
            (db.url, "shop"),
            (db.api_url, "shop_api"),
            (db.staff_url, "shop_staff"),
        ):
            assert await rows(url, sql) == [(name, False, False, False)]

    async def test_the_owner_creates_and_the_worker_writes(self, pg: PostgresServer) -> None:
        db = pg.create_database("grants")
        await rows(db.owner_url, "CREATE TABLE things (id int)")
        await rows(db.url, "INSERT INTO things VALUES (1)")
        for url in (db.api_url, db.staff_url):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await rows(url, "SELECT * FROM things")
        for url in (db.url, db.api_url, db.staff_url):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await rows(url, "CREATE TABLE mine (id int)")
        await rows(db.owner_url, f"GRANT SELECT ON things TO {db.api_login}")
        for url in (db.api_url, db.staff_url):
            assert await rows(url, "SELECT * FROM things") == [(1,)]

    async def test_a_login_cannot_connect_to_the_database_of_another(self, pg: PostgresServer) -> None:
        first, second = pg.create_database("first"), pg.create_database("second")
        for url in (first.owner_url, first.url, first.api_url, first.staff_url):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await rows(url.rsplit("/", 1)[0] + "/second", "SELECT 1")
        assert second.url != first.url

    async def test_create_is_idempotent_and_drop_is_thorough(self, pg: PostgresServer) -> None:
        db = pg.create_database("again-and-again")  # a name that needs quoting
        await rows(db.owner_url, "CREATE TABLE kept (id int)")
        assert pg.create_database("again-and-again") == db
        another = PostgresServer(admin_url=pg.admin_url, rung="the same server, another run", engine=None)
        renewed = another.create_database("again-and-again")
        assert await rows(renewed.url, "SELECT * FROM kept") == []
        pg.drop_database("again-and-again")
        pg.drop_database("again-and-again")
        with pytest.raises(asyncpg.PostgresError):
            await rows(renewed.url, "SELECT 1")

    @pytest.mark.parametrize("end", ["stop", "kill"])
    async def test_commits_survive(self, pg: PostgresServer, end: str) -> None:
        db = pg.create_database(f"survive_{end}")
        await rows(db.owner_url, "CREATE TABLE kept (id int)")
        await rows(db.url, "INSERT INTO kept VALUES (7)")
        getattr(pg, end)()
        with pytest.raises(OSError):
            await rows(db.url, "SELECT 1")
        pg.start()
        assert await rows(db.url, "SELECT id FROM kept") == [(7,)]

    def test_driver_names_in_a_given_url_do_not_matter(self) -> None:
        server = PostgresServer(admin_url="postgresql+asyncpg://a:b@h:1/x?sslmode=require", rung="", engine=None)
        assert server.admin_url == "postgresql://a:b@h:1/x?sslmode=require"
        assert server.url("db", "me", "p@ss/word") == "postgresql://me:p%40ss%2Fword@h:1/db?sslmode=require"

    def test_a_given_server_is_used_and_cannot_be_stopped(
        self, pg: PostgresServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("BURSAR_TEST_SERVERS", raising=False)
        monkeypatch.setenv("BURSAR_TEST_POSTGRES_URL", pg.admin_url)
        with servers.postgres() as given:
            assert given.admin_url == pg.admin_url
            with pytest.raises(servers.NotOurs, match="BURSAR_TEST_POSTGRES_URL"):
                given.stop()
        assert "given by BURSAR_TEST_POSTGRES_URL" in capsys.readouterr().err
        assert pg.create_database("after")

    def test_a_given_server_that_does_not_answer_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("BURSAR_TEST_SERVERS", raising=False)
        monkeypatch.setenv("BURSAR_TEST_POSTGRES_URL", f"postgresql://u:p@127.0.0.1:{free_ports(1)[0]}/x")
        monkeypatch.setattr(servers, "GIVEN_SECONDS", 0.2)
        with pytest.raises(servers.NoServer, match="BURSAR_TEST_POSTGRES_URL"), servers.postgres():
            pass

    async def test_a_data_dir_is_found_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BURSAR_TEST_SERVERS", "binaries")  # a container would leave its volume behind
        with servers.postgres(tmp_path / "postgres") as server:
            await rows(server.create_database("lasting").owner_url, "CREATE TABLE kept (id int)")
        with servers.postgres(tmp_path / "postgres") as server:
            assert await rows(server.create_database("lasting").url, "SELECT * FROM kept") == []

    async def test_the_data_can_be_in_a_private_folder(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        engine = PostgresEngine(postgres_binaries.on_machine(), closed / "postgres", durable=False)
        engine.start()
        try:
            assert await rows(engine.admin_url, "SELECT 1") == [(1,)]
        finally:
            engine.close(keep=False)

    async def test_the_wheel_works(self, tmp_path: Path) -> None:
        engine = PostgresEngine(postgres_binaries.in_wheel(), tmp_path / "wheel", durable=False)
        engine.start()
        try:
            assert int(str((await rows(engine.admin_url, "SHOW server_version_num"))[0][0])) >= 130000
        finally:
            engine.close(keep=False)


class TestRabbit:
    async def test_a_user_can_do_what_was_granted_and_nothing_else(self, mq: RabbitServer) -> None:
        url = mq.create_user("enrollment", configure="^enrollment", write="^enrollment", read="^enrollment")
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("enrollment.a", durable=True, arguments={"x-queue-type": "quorum"})
            assert queue.name == "enrollment.a"
            with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
                await channel.declare_queue("checkout.a", durable=True)

    async def test_a_user_publishes_only_the_granted_types(self, mq: RabbitServer) -> None:
        grant = servers.Grant("teller", ".*", ".*", ".*", publishes={"teller.events": r"^teller\."})
        async with await aio_pika.connect(mq.create_users([grant])["teller"]) as connection:
            channel = await connection.channel(publisher_confirms=True)
            exchange = await channel.declare_exchange("teller.events", aio_pika.ExchangeType.TOPIC)
            await exchange.publish(aio_pika.Message(b""), "teller.told", mandatory=False)
            with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
                await exchange.publish(aio_pika.Message(b""), "banker.told", mandatory=False)

    async def test_a_renewed_user_has_a_new_password(self, mq: RabbitServer) -> None:
        old = mq.create_user("renewed", ".*", ".*", ".*")
        new = mq.create_user("renewed", ".*", ".*", ".*")
        await (await aio_pika.connect(new)).close()
        with pytest.raises(aiormq.exceptions.AMQPConnectionError):
            await aio_pika.connect(old)

    def test_several_users_at_once(self, mq: RabbitServer) -> None:
        urls = mq.create_users([servers.Grant(name, f"^{name}", ".*", ".*") for name in ("one", "two", "three")])
        assert set(urls) == {"one", "two", "three"}
        assert "one" in mq.control("list_users")

    @pytest.mark.parametrize("end", ["stop", "kill"])
    async def test_confirmed_messages_survive(self, mq: RabbitServer, end: str) -> None:
        name = f"survive.{end}"
        async with await aio_pika.connect(mq.url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
            await asyncio.sleep(1.5)  # see RabbitServer.kill: the queue, not the message, needs a moment
            message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, name)
            await asyncio.to_thread(getattr(mq, end))
        await asyncio.to_thread(mq.start)
        async with await aio_pika.connect(mq.url) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(name)
            got = await _get(queue)
            await got.ack()
            assert got.body == b"kept"

    def test_a_given_broker_has_one_user(self, mq: RabbitServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("BURSAR_TEST_SERVERS", raising=False)
        monkeypatch.setenv("BURSAR_TEST_AMQP_URL", mq.url)
        with servers.rabbitmq() as given:
            assert given.create_user("anyone", "", "", "") == mq.url
            with pytest.raises(servers.NotOurs):
                given.kill()

    def test_packages_that_were_moved_are_not_trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        moved = tmp_path / "bursar" / "rabbitmq"
        moved.mkdir(parents=True)
        (moved / ".complete").write_text("/somewhere/else")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr("shutil.which", lambda _: None)
        with pytest.raises(Unavailable, match="not a Debian or Ubuntu machine"):
            rabbit_packages.unpacked()


async def _get(queue: aio_pika.abc.AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    """A quorum queue elects its leader for a moment after a restart."""
    for _ in range(50):
        if message := await queue.get(fail=False):
            return message
        await asyncio.sleep(0.1)
    raise AssertionError("the message is lost")


def test_the_error_of_a_forced_rung_names_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURSAR_TEST_SERVERS", "containers")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    why = r"(?s)Docker engine does not answer.*What to do: install"
    with pytest.raises(servers.NoServer, match=why), servers.postgres():
        pass


def test_an_unknown_rung_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURSAR_TEST_SERVERS", "clouds")
    with pytest.raises(servers.NoServer, match="clouds"), servers.rabbitmq():
        pass


PARENT = """
import sys, time
from testkit import servers
with servers.postgres() as pg, servers.rabbitmq() as mq:
    print(pg.admin_url.rsplit(":", 1)[1].split("/")[0], mq.url.rsplit(":", 1)[1].strip("/"), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_its_parent(number: signal.Signals, no_urls: None, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    tmp_path.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout
        ports = [int(port) for port in parent.stdout.readline().split()]
        assert len(ports) == 2
        assert not any(is_free(port) for port in ports)
        parent.send_signal(number)
        parent.wait(120)  # both servers shut down in order
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (all(map(is_free, ports)) and not list(tmp_path.glob("bursar-*"))):
        time.sleep(0.1)
    assert all(map(is_free, ports))
    assert not list(tmp_path.glob("bursar-*"))
    assert _running_in(tmp_path) == []


def _running_in(folder: Path) -> list[str]:
    """Command lines and environments that name the folder (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text and int(process.name) != os.getpid():
            found.append(text.replace(b"\0", b" ").decode())
    return found


class TestProcesses:
    def test_readiness_is_asked_over_http(self, tmp_path: Path) -> None:
        port = free_ports(1)[0]
        argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", str(tmp_path)]
        command = Command(name="web", argv=argv, log=tmp_path / "web.log", ready_url=f"http://127.0.0.1:{port}/")
        process = Process(command).start().wait_ready(20)
        assert process.is_ready()
        assert process.stop() == -signal.SIGTERM
        assert not process.is_ready()
        process.start().wait_ready(20)
        assert process.kill() == -signal.SIGKILL
        assert process.starts == 2

    def test_the_error_of_a_dead_process_contains_the_end_of_its_log(self, tmp_path: Path) -> None:
        argv = [sys.executable, "-c", "raise SystemExit('no such table')"]
        command = Command(name="api", argv=argv, log=tmp_path / "api.log", ready_url="http://127.0.0.1:1/readyz")
        with pytest.raises(ProcessDied, match=r"(?s)api ended with code 1.*no such table"):
            Process(command).start().wait_ready(20)

    def test_a_process_that_ignores_sigterm_is_killed(self, tmp_path: Path) -> None:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
        log = tmp_path / "deaf.log"
        process = Process(Command(name="deaf", argv=[sys.executable, "-c", code], log=log)).start()
        while "deaf" not in process.tail():
            time.sleep(0.02)
        assert process.stop(timeout=0.2) == -signal.SIGKILL


class TestMail:
    @pytest.fixture
    def mail(self, tmp_path: Path) -> Iterator[MailCatcher]:
        with MailCatcher(tmp_path / "mail") as catcher:
            yield catcher

    def send(self, mail: MailCatcher, subject: str) -> None:
        with smtplib.SMTP(mail.host, mail.port, timeout=5) as client:
            client.sendmail("school@x.test", ["student@x.test"], f"Subject: {subject}\r\n\r\nhello\r\n")

    def test_one_file_per_message_in_order(self, mail: MailCatcher) -> None:
        for subject in ("one", "two"):
            self.send(mail, subject)
        assert [m["Subject"] for m in mail.messages()] == ["one", "two"]
        assert mail.messages()[0]["X-Envelope-To"] == "student@x.test"
        assert all(f.suffix == ".eml" for f in mail.files())

    def test_refused_then_accepted(self, mail: MailCatcher) -> None:
        mail.order(Fault.REFUSE)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            self.send(mail, "later")
        assert mail.files() == []
        self.send(mail, "later")
        assert len(mail.files()) == 1

    @pytest.mark.parametrize(("fault", "stored"), [(Fault.DROP_AFTER_DATA, 1), (Fault.DROP_BEFORE_STORE, 0)])
    def test_dropped_without_an_answer(self, mail: MailCatcher, fault: Fault, stored: int) -> None:
        mail.order(fault)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            self.send(mail, "doubtful")
        assert len(mail.files()) == stored

    def test_slow(self, mail: MailCatcher) -> None:
        mail.order(Fault.SLOW, seconds=0.3)
        begin = time.monotonic()
        self.send(mail, "slow")
        assert time.monotonic() - begin >= 0.3

    def test_gone_and_back_on_the_same_port(self, mail: MailCatcher) -> None:
        mail.stop()
        with pytest.raises(ConnectionRefusedError):
            self.send(mail, "lost")
        mail.start()
        self.send(mail, "found")
        assert len(mail.files()) == 1
