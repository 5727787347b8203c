"""Any text in letters that a PDF has: our own embedded font, a reader's own font for Chinese, Japanese and Korean, and
a mark for what neither can show. Nothing here raises for any text.

reportlab keeps what a document uses of a font in the font itself: draw one document at a time, in one thread.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

REGULAR = "DejaVuSans"
BOLD = "DejaVuSans-Bold"

_FOLDER = Path(__file__).parent / "fonts"
_MISSING = "\N{REPLACEMENT CHARACTER}"
_MOST = 500
"""Letters of one text; the rest is cut off, so that a document stays small whatever somebody calls themselves."""

# Readers bring these fonts themselves: nothing is embedded. A codec tells what such a font has.
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
    """The letters that both of our fonts have. Makes all fonts known to reportlab."""
    fonts = [TTFont(name, str(_FOLDER / f"{name}.ttf")) for name in (REGULAR, BOLD)]
    for font in (*fonts, *(UnicodeCIDFont(face) for _, face in _ASIAN)):
        pdfmetrics.registerFont(font)
    return frozenset(chr(code) for code in set.intersection(*(set(font.face.charToGlyph) for font in fonts)))


def clean(text: str) -> str:
    """One line of composed letters: no control, formatting or half characters, no runs of blanks."""
    cut = text if len(text) <= _MOST else text[: _MOST - 1] + "…"
    composed = unicodedata.normalize("NFC", cut)
    return " ".join("".join(_plain(letter) for letter in composed).split())


def _plain(letter: str) -> str:
    match unicodedata.category(letter):
        case "Cf":
            return ""
        case "Cc" | "Zl" | "Zp" | "Zs":
            return " "
        case "Cs" | "Cn" | "Co":
            return _MISSING
        case _:
            return letter


def runs(text: str, font: str) -> list[Run]:
    """The clean text in pieces of one font each."""
    own, found = _own(), []
    for ours, letters in groupby(text, own.__contains__):
        piece = "".join(letters)
        found += [Run(font, piece)] if ours else _foreign(piece, font)
    return found


def _foreign(piece: str, font: str) -> list[Run]:
    """One reader's font for all of it where there is one, else each letter as it can be shown."""
    face = _face(piece)
    if face is not None:
        return [Run(face, piece)]
    if len(piece) == 1:
        return [Run(font, _MISSING)]
    return [run for letter in piece for run in _foreign(letter, font)]


def _face(piece: str) -> str | None:
    for codec, face in _ASIAN:
        try:
            piece.encode(codec)
        except UnicodeError:
            continue
        return face if piece.isprintable() else None
    return None


def width(text: str, font: str, size: float) -> float:
    return sum(pdfmetrics.stringWidth(run.text, run.font, size) for run in runs(text, font))


def wrap(text: str, font: str, size: float, most: float) -> list[str]:
    """The text in lines that are at most `most` points wide; a word that is wider is broken."""
    lines = [""]
    for word in clean(text).split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer, font, size) <= most:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for part in _broken(word, font, size, most):
            lines[-1:] = [part, ""]
        lines.pop()
    return lines


def _broken(word: str, font: str, size: float, most: float) -> list[str]:
    parts, room = [""], most
    for letter in word:
        wide = width(letter, font, size)
        if wide > room and parts[-1]:
            parts.append("")
            room = most
        parts[-1] += letter
        room -= wide
    return parts
