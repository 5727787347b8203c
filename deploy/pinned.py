"""The part of requirements.lock that an image needs: what some of our packages ask for, and what that asks for in turn.

    python deploy/pinned.py requirements.lock [--without FILE] PROJECT_FOLDER_OR_PACKAGE_NAME... > wanted.txt

The lock pins everything, tools and tests included; its `# via` comments say who needs what. `--without` leaves out what
another such file has already. Exits with 1 and the names of what the lock does not pin.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pin:
    """One requirement with its hashes, as it stands in the lock, and the names of those that need it."""

    text: str
    via: frozenset[str]


def pins_of(lock: str) -> dict[str, Pin]:
    blocks = re.split(r"^(?=[^\s#])", lock, flags=re.MULTILINE)
    return {_name(block): Pin(_without_comments(block), _via(block)) for block in blocks if "==" in block}


def closure(pins: dict[str, Pin], roots: set[str]) -> list[str]:
    """The roots and all that they need, in the lock's order."""
    if missing := roots - pins.keys():
        sys.exit(f"not in the lock: {', '.join(sorted(missing))}")
    found: set[str] = set()
    more = roots
    while more:
        found |= more
        more = {name for name, pin in pins.items() if pin.via & found} - found
    return [name for name in pins if name in found]


def asked_for(project: Path) -> set[str]:
    """The packages of others that this project names as dependencies (no extras: they are for tests)."""
    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"].get("dependencies", [])
    return {name for requirement in declared if not (name := _name(requirement)).startswith("bursar-")}


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group()).lower() if found else ""


def _via(block: str) -> frozenset[str]:
    comments = " ".join(line.strip().lstrip("#") for line in block.splitlines() if line.strip().startswith("#"))
    return frozenset(_name(word) for word in comments.replace("via", " ", 1).split())


def _without_comments(block: str) -> str:
    return "\n".join(line for line in block.splitlines() if not line.strip().startswith("#"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path)
    parser.add_argument("wanted", nargs="+")
    parser.add_argument("--without", type=Path)
    arguments = parser.parse_args()
    pins = pins_of(arguments.lock.read_text())
    roots: set[str] = set()
    for wanted in arguments.wanted:
        roots |= asked_for(Path(wanted)) if Path(wanted).is_dir() else {_name(wanted)}
    already = pins_of(arguments.without.read_text()).keys() if arguments.without else ()
    chosen = (pins[name].text for name in closure(pins, roots) if name not in already)
    sys.stdout.writelines(f"{text}\n" for text in chosen)


if __name__ == "__main__":
    main()
