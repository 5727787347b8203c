"""Packages of Debian or Ubuntu, unpacked into a cache folder: no root, nothing installed.

Uses `apt-get download` and `dpkg -x`; if the machine's package lists are missing or outdated, `apt-get update` creates
private ones in the cache folder.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from testkit.engines import Unavailable, say

_COMMANDS = ("apt-get", "apt-cache", "dpkg")


def cache_folder(name: str) -> Path:
    """Below XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bursar" / name


def require_commands() -> None:
    """Raises Unavailable."""
    if missing := [c for c in _COMMANDS if not shutil.which(c)]:
        raise Unavailable(f"not a Debian or Ubuntu machine (no {', '.join(missing)})")


def download(work: Path, what: str, names_in: Callable[[Sequence[str]], Sequence[str]]) -> None:
    """Puts the .deb files into `work`. `names_in`: the packages, by the options that choose the package lists; none if
    they are not there. Raises Unavailable."""
    private = [
        *("-o", f"Dir::State::lists={work / 'lists'}", "-o", f"Dir::Cache={work / 'cache'}"),
        *("-o", "Debug::NoLocking=1", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User="),
    ]
    why = ""
    for view in ([], private):
        if view:
            say(f"{what}: reading fresh package lists (a private copy)")
            for part in ("lists/partial", "cache/archives/partial"):
                (work / part).mkdir(parents=True)
            try:
                run(["apt-get", *view, "-qq", "update"])
            except Unavailable as error:
                raise Unavailable(f"{error} (before that: {why})") from error
        names = names_in(view)
        if not names:
            why = f"no {what} in the package lists"
            continue
        try:
            run(["apt-get", *view, "-q", "download", *names], cwd=work)
            return
        except Unavailable as error:  # lists from before the last point release name files that are gone
            why = str(error)
    raise Unavailable(why)


def run(argv: Sequence[str], cwd: Path | None = None) -> str:
    """Its output. Raises Unavailable."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        end = " ".join((done.stderr or done.stdout).split())[-300:]
        raise Unavailable(f"{argv[0]} failed: {end}")
    return done.stdout


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
