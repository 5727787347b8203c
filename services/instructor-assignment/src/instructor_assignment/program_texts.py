"""What the chat may say of each program: topics of plain text, from programs.yaml or the school's own file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MOST_CHARACTERS = 16_000
"""Of one program: all of it is sent with each question."""


class Topic(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    title: str = Field(min_length=1, max_length=200)
    text: str = Field(min_length=1, max_length=4_000)


class ProgramTexts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=200)
    topics: Annotated[tuple[Topic, ...], Field(max_length=100)] = ()


_FORM = TypeAdapter(dict[str, ProgramTexts])


def load(file: Path | None) -> Mapping[str, ProgramTexts]:
    """By the slug of the program. None: those that are shipped. Raises ValueError."""
    source = files("instructor_assignment") / "programs.yaml" if file is None else file
    try:
        found = _FORM.validate_python(yaml.safe_load(source.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ValueError(f"CHAT_TEXTS_FILE cannot be read: {error}") from error
    for slug, program in found.items():
        if sum(len(topic.title) + len(topic.text) for topic in program.topics) > MOST_CHARACTERS:
            raise ValueError(f"CHAT_TEXTS_FILE: {slug} has more than {MOST_CHARACTERS} characters")
    return found
