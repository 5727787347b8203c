"""RabbitMQ and Erlang from the Debian or Ubuntu packages, unpacked into a cache folder: no root, nothing installed.

Downloads 31 MB and takes 90 MB of disk space, once per user.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from testkit import debian_packages
from testkit.engines import Unavailable, say

_WANTED = re.compile(r"^(erlang-[a-z0-9-]+|rabbitmq-server)$", re.MULTILINE)


def cache_folder() -> Path:
    return debian_packages.cache_folder("rabbitmq")


def unpacked() -> Path:
    """The folder with usr/lib/rabbitmq and usr/lib/erlang; downloads them if necessary. Raises Unavailable."""
    folder = cache_folder()
    if _complete(folder):
        _remove_optional_plugins(folder)
        return folder
    debian_packages.require_commands()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with debian_packages.lock(folder.with_name(folder.name + ".lock")):
        if not _complete(folder):  # else another run did it while this one waited
            say(f"RabbitMQ: downloading the packages of this distribution (31 MB, once) to {folder}")
            _unpack(folder)
            _remove_optional_plugins(folder)
    return folder


def _complete(folder: Path) -> bool:
    """Whether it was unpacked and not moved since: Erlang's scripts contain their path."""
    mark = folder / ".complete"
    return mark.exists() and mark.read_text() == str(folder)


def _unpack(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="debs.", dir=folder.parent) as name:
        work = Path(name)
        debian_packages.download(work, "rabbitmq-server", _closure)
        for package in sorted(work.glob("*.deb")):
            debian_packages.run(["dpkg", "-x", str(package), str(folder)])
    for unused in ("usr/share/doc", "usr/share/man", "usr/share/lintian", "etc", "lib", "var"):
        shutil.rmtree(folder / unused, ignore_errors=True)
    erlang = folder / "usr/lib/erlang"
    scripts = [*erlang.glob("bin/*"), *erlang.glob("erts-*/bin/*"), *erlang.glob("releases/**/*")]
    for script in scripts:
        _point_at(script, erlang)
    (folder / ".complete").write_text(str(folder))


def _remove_optional_plugins(folder: Path) -> None:
    """They are never enabled here, but at each start the node reads them all: a third of its CPU time."""
    for plugins in folder.glob("usr/lib/rabbitmq/lib/*/plugins"):
        libraries = {path.name.rsplit("-", 1)[0]: path for path in plugins.iterdir() if path.is_dir()}
        needed: set[str] = set()
        more = {"rabbit", "rabbitmq_prelaunch"}
        while more:
            needed |= more
            more = {library for name in more for library in _applications(libraries.get(name), name)} - needed
        for name, path in libraries.items():
            if name.startswith("rabbitmq_") and name not in needed:
                shutil.rmtree(path, ignore_errors=True)


def _applications(library: Path | None, name: str) -> list[str]:
    """What the library depends on, by its `.app` file."""
    if library is None or not (file := library / "ebin" / f"{name}.app").exists():
        return []
    found = re.search(r"{applications,\s*\[([^]]*)]", file.read_text())
    return re.findall(r"\w+", found.group(1)) if found else []


def _closure(view: Sequence[str]) -> list[str]:
    """rabbitmq-server and its Erlang dependencies, installed on this machine or not. The others (logrotate, adduser,
    ...) are for the packaged service only, and every Debian has the C libraries that Erlang needs."""
    without = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
    flags = ["--recurse", *(f"--no-{kind}" for kind in without)]
    try:
        listing = debian_packages.run(["apt-cache", *view, "depends", *flags, "rabbitmq-server"])
    except Unavailable:
        return []
    names = {name for name in _WANTED.findall(listing) if "hipe" not in name}
    return sorted(names) if len(names) > 1 else []


def _point_at(script: Path, erlang: Path) -> None:
    if script.is_symlink() or not script.is_file():
        return
    content = script.read_bytes()
    if b"\0" not in content and b"/usr/lib/erlang" in content:
        script.write_bytes(content.replace(b"/usr/lib/erlang", str(erlang).encode()))
