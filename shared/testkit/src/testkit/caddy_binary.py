"""The Caddy binary: the one on the machine, else from the Debian or Ubuntu package (13 MB, once per user)."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testkit import debian_packages
from testkit.engines import NoServer, Unavailable, say

PACKAGE = "caddy"


def caddy() -> Path:
    """Raises NoServer."""
    if found := shutil.which("caddy"):
        return Path(found)
    binary = debian_packages.cache_folder(PACKAGE) / "usr/bin/caddy"
    try:
        if not binary.exists():
            _unpack(binary)
    except Unavailable as error:
        raise NoServer(f"there is no Caddy: install the package `caddy` ({error})") from error
    return binary


def _unpack(binary: Path) -> None:
    debian_packages.require_commands()
    folder = debian_packages.cache_folder(PACKAGE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with debian_packages.lock(folder.with_name(folder.name + ".lock")):
        if binary.exists():  # another run did it while this one waited
            return
        say(f"Caddy: downloading the package of this distribution (13 MB, once) to {folder}")
        with tempfile.TemporaryDirectory(prefix="debs.", dir=folder.parent) as name:
            work = Path(name)
            debian_packages.download(work, PACKAGE, _names)
            (package,) = work.glob("*.deb")
            debian_packages.run(["dpkg", "-x", str(package), str(work / "content")])
            binary.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(work / "content/usr/bin/caddy", binary)


def _names(view: Sequence[str]) -> list[str]:
    try:
        return [PACKAGE] if debian_packages.run(["apt-cache", *view, "show", PACKAGE]).strip() else []
    except Unavailable:
        return []
