"""The documents are current: generated ones match the code, and what the others name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.architecture.source import CODE, ROOT, packages, python_files, relative

from devstack.documents import stale

PAGES = tuple(
    sorted(
        path
        for pattern in ("*.md", "docs/**/*.md", "deploy/*.md", "shared/*/*.md", "services/*/*.md", "sandboxes/*/*.md")
        for path in ROOT.glob(pattern)
    )
)
SUFFIXES = ("py", "md", "toml", "yml", "yaml", "sh", "json", "conf", "html")
_QUOTED = re.compile(r"`([^`\s]+)`")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
_FILE = re.compile(rf"[\w./*-]+\.({'|'.join(SUFFIXES)})|[\w./*-]+/")
_MODULE = re.compile(r"python -m ([\w.]+)")
_TARGET = re.compile(r"`make ([a-z-]+)|^make ([a-z-]+)", re.MULTILINE)
MADE_BY_COMMANDS = {".local/stack.json"}


def test_generated_documents_are_current() -> None:
    """If this fails, run `make docs` and review what changed."""
    assert [relative(path) for path in stale()] == []


def paths_in(text: str) -> Iterator[str]:
    """The files and folders that a page names in backticks or links to."""
    for quoted in _QUOTED.findall(text):
        if _FILE.fullmatch(quoted) and quoted not in MADE_BY_COMMANDS and not quoted.startswith("/"):
            yield quoted
    for link in _LINK.findall(text):
        if "://" not in link and not link.startswith("mailto:"):
            yield link


def exists(name: str, page: Path) -> bool:
    """Looks below the repository, the page's folder, every package and every service.

    A name without a folder may be anywhere: below a README, or in the code if the page is in docs/.
    """
    roots = [ROOT, page.parent, *packages(), *ROOT.glob("services/*"), *page.parent.glob("src/*")]
    if any(next(root.glob(name.rstrip("/")), None) if ".." not in name else (root / name).exists() for root in roots):
        return True
    if "/" in name:
        return False
    if page.parent != ROOT and ROOT / "docs" not in page.parents:
        return any(page.parent.rglob(name))
    return any(path.name == name for path in python_files(*CODE))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    missing = sorted({name for name in paths_in(page.read_text()) if not exists(name, page)})
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_the_commands_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    modules = set(_MODULE.findall(text)) - {"venv"}
    assert not {module for module in modules if find_spec(module) is None}
    targets = {first or second for first, second in _TARGET.findall(text)}
    assert not targets - set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", sorted((ROOT / "docs/decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_has_its_sections_and_a_check(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {int(page.name[:4])}. ")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "What would make us revisit"]
    assert "\nCheck: `" in text


def test_paths_are_found() -> None:
    text = "see `docs/glossary.md`, `api.py`, [deploy](deploy/README.md#x), `a word`, [out](https://example.com/x.md)"
    assert list(paths_in(text)) == ["docs/glossary.md", "api.py", "deploy/README.md"]
    page = ROOT / "docs/architecture.md"
    assert exists("webhook_gateway/api.py", page) and exists("services/*/README.md", page)
    assert not exists("webhook_gateway/no_such.py", page)
