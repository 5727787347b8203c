"""RabbitMQ from binaries: on the machine or unpacked from packages; a private node on 127.0.0.1."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testkit.engines import Unavailable
from testkit.processes import Command, Process, await_port, free_ports
from testkit.rabbit_packages import unpacked
from testkit.rabbit_server import await_broker

_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")
_NODE = "bursar@localhost"  # the data folder is named after it, so it must not change with the port
_ADMIN = "bursar"


@dataclass(frozen=True)
class Binaries:
    """`scripts` contains rabbitmq-server and rabbitmqctl as shipped by RabbitMQ, `erlang` contains erl and epmd."""

    scripts: Path
    erlang: Path

    @property
    def version(self) -> str:
        """From the name of the plugin `rabbit`, without starting anything; 'unknown' if the layout differs."""
        home = (self.scripts / "rabbitmq-server").resolve().parent.parent
        names = sorted(p.name.removesuffix(".ez") for p in home.glob("plugins/rabbit-*"))
        return names[0].removeprefix("rabbit-") if names else "unknown"


def on_machine() -> Binaries:
    """In RABBITMQ_HOME, on PATH or in the usual folders, with erl on PATH. Raises Unavailable."""
    erl = shutil.which("erl")
    if not erl:
        raise Unavailable("no Erlang (erl) on PATH")
    folders: list[Path] = []
    if home := os.environ.get("RABBITMQ_HOME"):
        folders += [Path(home) / "sbin", Path(home) / "bin"]
    if on_path := shutil.which("rabbitmq-server"):
        folders += [Path(on_path).parent, Path(on_path).resolve().parent]
    # Debian's wrapper in /usr/sbin requires root or user rabbitmq: the real scripts are next to rabbitmq-env
    for folder in [*folders, *map(Path, _FOLDERS)]:
        if (folder / "rabbitmq-server").exists() and (folder / "rabbitmq-env").exists():
            return Binaries(folder, Path(erl).parent)
    raise Unavailable("no rabbitmq-server on PATH, in RABBITMQ_HOME or in /usr/lib/rabbitmq/bin")


def from_packages() -> Binaries:
    """Unpacked into the cache folder. Raises Unavailable."""
    folder = unpacked()
    return Binaries(folder / "usr/lib/rabbitmq/bin", folder / "usr/lib/erlang/bin")


class RabbitEngine:
    """A private node with its own ports, folders and epmd; `base` may contain the data of an earlier run."""

    def __init__(self, binaries: Binaries, base: Path, *, durable: bool) -> None:
        self._bin, self._durable = binaries, durable
        self._base = base.resolve()
        self._data = self._base / f"data-{'.'.join(binaries.version.split('.')[:2])}"
        self._log = self._base / "rabbitmq.log"
        self.port, self._dist_port, self._epmd_port = free_ports(3)
        self._broker: Process | None = None
        self._epmd: Process | None = None

    @property
    def url(self) -> str:
        return f"amqp://{_ADMIN}:{self._password()}@127.0.0.1:{self.port}/"

    def start(self) -> None:
        if self.alive:
            return
        self._configure()
        env = self._environment()
        if self._epmd is None or not self._epmd.alive:
            # in the foreground: erl would start a daemon that outlives the server
            epmd = Command(name="epmd", argv=[self._epmd_program()], env=env, log=self._log, cwd=self._base)
            self._epmd = Process(epmd).start()
            await_port(self._epmd_port)
        # Erlang sizes its tables by the limit on open files, which is 10^9 in some containers
        limited = [
            "/bin/sh",
            "-c",
            'ulimit -n 65536 2>/dev/null; exec "$0"',
            str(self._bin.scripts / "rabbitmq-server"),
        ]
        self._broker = Process(Command(name="rabbitmq", argv=limited, env=env, log=self._log, cwd=self._base)).start()
        try:
            await_broker(self.url, still=lambda: self.alive)
        except Unavailable as why:
            self.kill()
            raise Unavailable(f"{why}\n{self._broker.tail(15)}") from why

    @property
    def alive(self) -> bool:
        return self._broker is not None and self._broker.alive

    def stop(self) -> None:
        self._end(lambda broker: broker.stop(30))

    def kill(self) -> None:
        self._end(lambda broker: broker.kill())

    def close(self, *, keep: bool) -> None:
        if keep:
            self.stop()
        else:
            self.kill()

    def control(self, arguments: Sequence[str], text: str) -> str:
        """Runs rabbitmqctl on this node, with `text` in a file as the last argument. Raises RuntimeError."""
        argv = [str(self._bin.scripts / "rabbitmqctl"), "-q", *arguments]
        with tempfile.NamedTemporaryFile("w", dir=self._base, suffix=".json") as file:
            if text:
                file.write(text)
                file.flush()
                argv.append(file.name)
            return self._run(argv)

    def _run(self, argv: Sequence[str]) -> str:
        done = subprocess.run(argv, env=self._environment(), capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {(done.stderr or done.stdout)[-1000:]}")
        return done.stdout

    def _end(self, end_broker: Callable[[Process], int]) -> None:
        if self._broker:
            end_broker(self._broker)
        if self._epmd:
            self._epmd.kill()

    def _configure(self) -> None:
        for folder in ("home", self._data.name, "log"):
            (self._base / folder).mkdir(parents=True, exist_ok=True)
        (self._base / "enabled_plugins").write_text("[].\n")
        lines = [
            f"listeners.tcp.default = 127.0.0.1:{self.port}",
            "loopback_users = none",
            "log.console = true",
            "log.file = false",
            "disk_free_limit.absolute = 50MB",
        ]
        (self._base / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        # the log of quorum queues survives kill -9 of the node in both modes, a power failure only with datasync
        sync = "datasync" if self._durable else "none"
        (self._base / "advanced.config").write_text(f"[{{ra, [{{wal_sync_method, {sync}}}]}}].\n")

    def _environment(self) -> Mapping[str, str]:
        base, erlang = self._base, self._bin.erlang
        idle = "+sbwt none +sbwtdcpu none +sbwtdio none"  # no busy waiting: the cores are shared
        return {
            "PATH": f"{erlang}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "LANG": "C.UTF-8",
            "HOME": str(base / "home"),  # where the Erlang cookie goes
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # else /etc/rabbitmq/rabbitmq-env.conf
            "RABBITMQ_CONFIG_FILE": str(base / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(base / "none"),  # else /etc/rabbitmq/conf.d
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(base / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(base / "enabled_plugins"),
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(base / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ALLOW_INPUT": "1",  # the start script then execs the node instead of waiting for it
            "RABBITMQ_PID_FILE": str(base / "pid"),
            "RABBITMQ_DEFAULT_USER": _ADMIN,
            "RABBITMQ_DEFAULT_PASS": self._password(),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{127,0,0,1}} -noinput {idle}",
        }

    def _epmd_program(self) -> str:
        if (self._bin.erlang / "epmd").exists():
            return str(self._bin.erlang / "epmd")
        real = (self._bin.erlang / "erl").resolve().parent
        found = [real / "epmd", *real.parent.glob("erts-*/bin/epmd")]
        for program in found:
            if program.exists():
                return str(program)
        raise Unavailable(f"no epmd beside {self._bin.erlang / 'erl'}")

    def _password(self) -> str:
        file = self._base / "administrator"
        if not file.exists():
            self._base.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        return file.read_text().strip()
