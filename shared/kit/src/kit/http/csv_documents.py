"""CSV responses. No cell is interpreted as a formula by a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from fastapi import Response
from pydantic import BaseModel


class CsvResponse(Response):
    """The class to declare a route with (`response_class`)."""

    media_type = "text/csv"


def csv_response(columns: Sequence[str], rows: Iterable[Iterable[object]], *, filename: str) -> CsvResponse:
    """RFC 4180 with a header, every cell quoted; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([_cell(each) for each in row] for row in rows)
    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"}
    return CsvResponse(out.getvalue(), headers=headers)


def csv_of_models(kind: type[BaseModel], lines: Iterable[BaseModel], *, filename: str) -> CsvResponse:
    """One line for each, with the model's fields as columns."""
    return csv_response(list(kind.model_fields), ([value for _, value in line] for line in lines), filename=filename)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return escape_formula(value) if isinstance(value, str) else str(value)


def escape_formula(cell: str) -> str:
    """Prefixes a cell that starts like a formula with an apostrophe, and replaces control characters by spaces.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    plain = "".join(character if character.isprintable() else " " for character in cell)
    return f"'{plain}" if plain.lstrip().startswith(("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")) else plain
