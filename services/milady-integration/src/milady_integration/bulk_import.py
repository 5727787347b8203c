"""The CSV for the bulk import of a provider without an API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from kit.http.csv_documents import CsvResponse, csv_response


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


def csv_of(lines: Sequence[Line], *, filename: str) -> CsvResponse:
    return csv_response([field.name for field in fields(Line)], map(astuple, lines), filename=filename)
