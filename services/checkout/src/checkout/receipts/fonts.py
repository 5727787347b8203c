"""Fonts for any text: an embedded font, the PDF reader's own fonts for Chinese, Japanese and Korean, and a replacement
character for everything else. Nothing here raises, for any text.

reportlab keeps track of the characters that a document uses in the font itself: render one document at a time, in one
thread.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

REGULAR = "DejaVuSans"
BOLD = "DejaVuSans-Bold"

_FOLDER = Path(__file__).parent / "fonts"
_MISSING = "\N{REPLACEMENT CHARACTER}"
_MOST = 500
"""Characters of one text; longer texts are truncated, so that a document stays small."""

# PDF readers have these fonts themselves, so nothing is embedded. The codec tells which characters a font has.
_ASIAN = (
    ("gbk", "STSong-Light"),
    ("big5", "MSung-Light"),
    ("shift_jis", "HeiseiMin-W3"),
    ("euc_kr", "HYSMyeongJo-Medium"),
)


class Run(NamedTuple):
    font: str
    text: str


@cache
def _own() -> frozenset[str]:
    """The characters that both embedded fonts have. Registers all fonts with reportlab."""
    fonts = [TTFont(name, str(_FOLDER / f"{name}.ttf")) for name in (REGULAR, BOLD)]
    for font in (*fonts, *(UnicodeCIDFont(face) for _, face in _ASIAN)):
        pdfmetrics.registerFont(font)
    return frozenset(chr(code) for code in set.intersection(*(set(font.face.charToGlyph) for font in fonts)))


def clean(text: str) -> str:
    """One line in NFC, without control or format characters, lone surrogates or repeated spaces."""
    cut = text if len(text) <= _MOST else text[: _MOST - 1] + "…"
    composed = unicodedata.normalize("NFC", cut)
    return " ".join("".join(_plain(character) for character in composed).split())


def _plain(character: str) -> str:
    match unicodedata.category(character):
        case "Cf":
            return ""
        case "Cc" | "Zl" | "Zp" | "Zs":
            return " "
        case "Cs" | "Cn" | "Co":
            return _MISSING
        case _:
            return character


def runs(text: str, font: str) -> list[Run]:
    """Splits clean text into runs of one font each."""
    own, found = _own(), []
    for ours, group in groupby(text, own.__contains__):
        piece = "".join(group)
        found += [Run(font, piece)] if ours else _foreign(piece, font)
    return found


def _foreign(piece: str, font: str) -> list[Run]:
    """One reader font for the whole text if there is one; otherwise each character by itself."""
    face = _face(piece)
    if face is not None:
        return [Run(face, piece)]
    if len(piece) == 1:
        return [Run(font, _MISSING)]
    return [run for character in piece for run in _foreign(character, font)]


def _face(piece: str) -> str | None:
    for codec, face in _ASIAN:
        try:
            piece.encode(codec)
        except UnicodeError:
            continue
        return face if piece.isprintable() else None
    return None


def markup(text: str, font: str) -> str:
    """The cleaned text as a platypus paragraph, with a font for each run."""
    return "".join(f'<font name="{run.font}">{escape(run.text)}</font>' for run in runs(clean(text), font))
