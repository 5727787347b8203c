"""American spelling, in code and in prose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests.architecture.source import ROOT, relative

FOLDERS = ("shared", "services", "sandboxes", "devstack", "deploy", "docs", "tests")
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".html", ".txt", ".sh", ".conf"}

AMERICAN = {
    "analyse": "analyze",
    "authorise": "authorize",
    "authorisation": "authorization",
    "behaviour": "behavior",
    "cancelled": "canceled",
    "cancelling": "canceling",
    "catalogue": "catalog",
    "centre": "center",
    "cheque": "check",
    "colour": "color",
    "defence": "defense",
    "enrol": "enroll",
    "enrolment": "enrollment",
    "enrols": "enrolls",
    "favour": "favor",
    "favourite": "favorite",
    "fulfil": "fulfill",
    "fulfilment": "fulfillment",
    "grey": "gray",
    "honour": "honor",
    "initialise": "initialize",
    "instalment": "installment",
    "judgement": "judgment",
    "labelled": "labeled",
    "labour": "labor",
    "learnt": "learned",
    "licence": "license",
    "modelled": "modeled",
    "neighbour": "neighbor",
    "normalise": "normalize",
    "optimise": "optimize",
    "organisation": "organization",
    "organise": "organize",
    "practise": "practice",
    "programme": "program",
    "recognise": "recognize",
    "serialise": "serialize",
    "spelt": "spelled",
    "spoilt": "spoiled",
    "synchronise": "synchronize",
    "travelled": "traveled",
    "whilst": "while",
}
"""Checked in the plural and the past tense, too."""

FOREIGN = re.compile(r"CancelledError|\.cancelled\(\)")
"""Names of the standard library."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_BRITISH = {
    form: american
    for word, american in AMERICAN.items()
    for form in (word, f"{word}s", f"{word.removesuffix('e')}ed")
    if form != "programmed"
}
_TOKENS = re.compile("[A-Za-z]+")


def files() -> Iterator[Path]:
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in SUFFIXES)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__):
                yield path


def british(text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and words."""
    if not any(map(_is_british, set(_TOKENS.findall(text)))):
        return
    for number, line in enumerate(text.splitlines(), 1):
        if any(map(_is_british, _TOKENS.findall(line))):
            for word in _WORDS.findall(FOREIGN.sub("", line)):
                if word.lower() in _BRITISH:
                    yield number, word


@cache
def _is_british(token: str) -> bool:
    return any(word.lower() in _BRITISH for word in _WORDS.findall(token))


def test_spelling_is_american() -> None:
    found = [
        f"{relative(path)}:{number}: {word}: use {_BRITISH[word.lower()]}"
        for path in files()
        for number, word in british(path.read_text(errors="ignore"))
    ]
    assert not found, f"{len(found)} words:\n" + "\n".join(found)


@pytest.mark.parametrize("line", ["an instalment", "class EnrolmentStore", "cancelled_at", "Behaviour", "two colours"])
def test_the_check_finds(line: str) -> None:
    assert list(british(line))


@pytest.mark.parametrize("line", ["except asyncio.CancelledError:", "if task.cancelled():", "enrollment", "programmed"])
def test_the_check_ignores(line: str) -> None:
    assert not list(british(line))
