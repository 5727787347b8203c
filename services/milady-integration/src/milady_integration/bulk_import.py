"""The CSV for the bulk import of a provider without an API. No cell is interpreted as a formula by a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Line:
    student_ref: str
    name: str
    email: str
    program_slug: str
    program: str
    course_ids: str
    milady_enrollment_id: str
    since: str


def to_csv(lines: Iterable[Line]) -> str:
    """RFC 4180, every cell quoted."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Line)], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    for line in lines:
        writer.writerow({name: escape_formula(value) for name, value in asdict(line).items()})
    return out.getvalue()


def escape_formula(cell: str) -> str:
    """Prefixes a cell that starts like a formula with an apostrophe, and replaces control characters by spaces.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    plain = "".join(character if character.isprintable() else " " for character in cell)
    return f"'{plain}" if plain.lstrip().startswith(("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")) else plain
