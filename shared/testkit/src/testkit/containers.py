"""PostgreSQL and RabbitMQ in containers, by testcontainers; used only if a Docker engine answers at once."""

import contextlib
import hashlib
import importlib
import os
import secrets
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from testkit.engines import Unavailable, say, until_answer
from testkit.postgres_server import version_of
from testkit.processes import free_ports, guardian
from testkit.rabbit_server import await_broker

PULL_SECONDS = 120.0
_REMOVE = "import docker,sys; docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)"


class _Container(ABC):
    """One container that publishes one port on 127.0.0.1, the same for its whole life."""

    def __init__(self, image: str, inner_port: int) -> None:
        _engine_with(image)
        from testcontainers.core.container import DockerContainer  # a slow import, needed on this rung only

        self.rung = f"container of {image}"
        self.port = free_ports(1)[0]
        self.container = DockerContainer(image)
        # docker-py takes (address, port) here; testcontainers' own with_bind_ports would listen on every address
        cast(dict[str, Any], self.container.ports)[f"{inner_port}/tcp"] = ("127.0.0.1", self.port)
        self._started = False
        self._key = ""

    def start(self) -> None:
        if self._started:
            self.container.get_wrapped_container().start()
        else:
            _disable_unavailable_reaper()
            try:
                self.container.start()
            except Exception as error:  # docker, requests and testcontainers each raise their own
                raise Unavailable(f"{self.rung} does not start: {error}") from error
            self._started = True
            name = self.container.get_container_id()
            self._key = guardian.watch_command(f"container {name}", [sys.executable, "-c", _REMOVE, name])
        self.await_ready()

    @abstractmethod
    def await_ready(self) -> None:
        """Returns when the server in the container accepts connections."""

    def pause(self, *, signal: str | None) -> None:
        """Stops the server; keeps the container with its data and port."""
        with contextlib.suppress(Exception):  # it may have stopped already
            wrapped = self.container.get_wrapped_container()
            if signal:
                wrapped.kill(signal)
                wrapped.wait(timeout=30)
            else:
                wrapped.stop(timeout=30)

    def stop(self) -> None:
        self.pause(signal=None)

    def kill(self) -> None:
        self.pause(signal="SIGKILL")

    def close(self, *, keep: bool) -> None:
        """Removes the container and its anonymous volumes (a named volume of a data_dir stays)."""
        if keep:
            self.stop()
        with contextlib.suppress(Exception):
            self.container.stop(force=True, delete_volume=True)
        guardian.forget(self._key)

    def alive(self) -> bool:
        wrapped = self.container.get_wrapped_container()
        try:
            wrapped.reload()
        except Exception:  # removed, or the engine does not answer
            return False
        return bool(wrapped.status == "running")

    def keep(self, data_dir: Path | None, kind: str, folder: str) -> str:
        """Mounts a named volume in place of data_dir; returns the password of the data in it."""
        if data_dir is None:
            return secrets.token_hex(16)
        data_dir.mkdir(parents=True, exist_ok=True)
        file = data_dir / "container-password"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        password = file.read_text().strip()
        # named after the password too: a data_dir that was deleted and recreated starts with an empty volume
        tag = hashlib.sha256(f"{password} {self.container.image}".encode()).hexdigest()[:12]
        self.container.with_volume_mapping(f"bursar-{kind}-{tag}", folder, "rw")
        return password


class PostgresContainer(_Container):
    """The image POSTGRES_IMAGE, default postgres:17."""

    def __init__(self, data_dir: Path | None, *, durable: bool) -> None:
        super().__init__(os.environ.get("POSTGRES_IMAGE") or "postgres:17", 5432)
        self._password = self.keep(data_dir, "postgres", "/bursar")
        self.container.with_envs(POSTGRES_USER="postgres", POSTGRES_PASSWORD=self._password, TZ="UTC")
        if data_dir:
            self.container.with_env("PGDATA", "/bursar/data")
        settings = ["max_connections=300", "timezone=UTC", "jit=off"]
        if not durable:
            settings += ["fsync=off", "full_page_writes=off"]
        self.container.with_command(["postgres", *(part for s in settings for part in ("-c", s))])

    @property
    def admin_url(self) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def await_ready(self) -> None:
        until_answer(lambda: version_of(self.admin_url), timeout=60, still=self.alive, what=self.rung)


class RabbitContainer(_Container):
    """The image RABBITMQ_IMAGE, default rabbitmq:4.0; the management plugin is not needed."""

    def __init__(self, data_dir: Path | None) -> None:
        super().__init__(os.environ.get("RABBITMQ_IMAGE") or "rabbitmq:4.0", 5672)
        self._password = self.keep(data_dir, "rabbitmq", "/var/lib/rabbitmq")
        self.container.with_envs(RABBITMQ_DEFAULT_USER="bursar", RABBITMQ_DEFAULT_PASS=self._password)
        # Erlang sizes its tables by the limit on open files, which is 10^9 in some containers
        self.container.with_env("ERL_MAX_PORTS", "65536")
        self.container.with_kwargs(hostname="bursar")  # the node is named after the host, and its data after the node

    @property
    def url(self) -> str:
        return f"amqp://bursar:{self._password}@127.0.0.1:{self.port}/"

    def await_ready(self) -> None:
        await_broker(self.url, still=self.alive)

    def control(self, arguments: Sequence[str], text: str) -> str:
        """rabbitmqctl inside the container, `text` in a file as its last argument. Raises RuntimeError."""
        script = 'f=; [ -z "$TEXT" ] || { f=$(mktemp) && printf %s "$TEXT" >$f; }; rabbitmqctl -q "$@" $f'
        done = self.container.get_wrapped_container().exec_run(
            ["sh", "-c", script, "rabbitmqctl", *arguments], environment={"TEXT": text}
        )
        output = bytes(done.output).decode(errors="replace")
        if done.exit_code != 0:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {output[-1000:]}")
        return output


def _engine_with(image: str) -> None:
    """Raises Unavailable if no engine answers within two seconds or it cannot get the image."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        raise Unavailable("no Docker engine (no DOCKER_HOST, no /var/run/docker.sock)")
    docker: Any = importlib.import_module("docker")  # a slow import, needed on this rung only, without types
    try:
        docker.from_env(timeout=2).ping()
    except Exception as error:
        raise Unavailable("the Docker engine does not answer") from error
    client = docker.from_env(timeout=int(PULL_SECONDS))
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        _pull(client, image)
    except Exception as error:
        raise Unavailable(f"the Docker engine does not say whether it has {image}: {error}") from error


def _pull(client: Any, image: str) -> None:
    seconds = float(os.environ.get("BURSAR_TEST_PULL_SECONDS") or PULL_SECONDS)
    say(f"pulling {image} (for at most {seconds:.0f} s)")
    failure: list[Exception] = []

    def pull() -> None:
        try:
            client.images.pull(image)
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Unavailable(f"{image} was not pulled within {seconds:.0f} s")
    if failure:
        raise Unavailable(f"{image} cannot be pulled: {failure[0]}")


def _disable_unavailable_reaper() -> None:
    """testcontainers' reaper (Ryuk) is an image of its own. Our guardian removes containers too."""
    from testcontainers.core.config import testcontainers_config

    if not testcontainers_config.ryuk_disabled:
        try:
            _engine_with(testcontainers_config.ryuk_image)
        except Unavailable:
            testcontainers_config.ryuk_disabled = True
