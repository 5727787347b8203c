"""`bursar export` and `bursar erase`: everything that is stored about a student, and its end."""

from __future__ import annotations

import json
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from bursar.environment import Environment
from bursar.output import Json, Output
from bursar.service_client import LONG_SECONDS, Refused, ServiceClient, path_of

Student = Annotated[UUID, typer.Argument(metavar="STUDENT", help="The student's id.")]
SERVICES = (
    "checkout",
    "enrollment",
    "instructor_assignment",
    "milady_integration",
    "notifications",
    "reporting",
    "admin",
)
"""Those that have an API for admins; `admin` is the gateway's."""
POLL_SECONDS = 1.0
MOST_RECEIPTS = 100_000


def export(
    context: typer.Context,
    student: Student,
    to: Annotated[Path, typer.Option(help="The archive to write; it must not exist.")],
    as_json: Json = False,
) -> None:
    """Writes everything that the services store about a student to one archive. Recorded in the audit trail."""
    environment = Environment.load(context.obj)
    clients = {service: ServiceClient(environment, service) for service in SERVICES}
    if to.exists():
        raise Refused("file_exists", f"{to} exists")
    unfinished = to.with_name(f".{to.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise Refused("not_writable", f"{to} cannot be written: {error.strerror}") from None
    try:
        counts = _write(unfinished, clients, student)
        unfinished.rename(to)
    finally:
        unfinished.unlink(missing_ok=True)
    output = Output(as_json=as_json)
    if as_json:
        output.json({"file": str(to), "rows": counts})
    else:
        rows = [
            (service, table, count) for service, tables in counts.items() for table, count in tables.items() if count
        ]
        output.table(("service", "table", "rows"), rows, empty="Nothing is stored about this student.")
        output.line(f"written to {to}")


def _write(to: Path, clients: Mapping[str, ServiceClient], student: UUID) -> dict[str, dict[str, int]]:
    """Returns the number of rows of each table of each service."""
    counts: dict[str, dict[str, int]] = {}
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for service, client in clients.items():
            found = client.get(path_of("/api/admin/students/{}/export", str(student)), seconds=LONG_SECONDS)
            archive.writestr(f"{service}.json", json.dumps(found["tables"], indent=2, ensure_ascii=False))
            counts[service] = {table: len(rows) for table, rows in found["tables"].items()}
        for receipt in clients["checkout"].pages("/api/receipts", {"student_id": str(student)}, limit=MOST_RECEIPTS):
            name = f"documents/{receipt['kind']}-{receipt['number']}.pdf"
            archive.writestr(name, clients["checkout"].content(receipt["pdf"]))
    return counts


def erase(
    context: typer.Context,
    student: Student,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only print which services have erased.")] = False,
    seconds: Annotated[float, typer.Option(min=0, help="Wait so long until all services have erased.")] = 60,
    as_json: Json = False,
) -> None:
    """Erases a student in all services. Cannot be undone. Exit code 1: a service has not erased yet."""
    client = ServiceClient(Environment.load(context.obj), "checkout")
    path = path_of("/api/admin/students/{}/erasure", str(student))
    if show:
        found = client.get(path)
    else:
        if not yes and not typer.confirm(f"Erase student {student} in all services? This cannot be undone.", err=True):
            raise typer.Exit(1)
        found = client.post(path, {})
        deadline = time.monotonic() + seconds
        while not found["complete"] and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            found = client.get(path)
    _print(Output(as_json=as_json), found)
    sys.stdout.flush()
    raise typer.Exit(0 if found["complete"] else 1)


def _print(output: Output, found: dict[str, Any]) -> None:
    if output.as_json:
        output.json(found)
        return
    rows = [(each["service"], each["erased_at"] or "not yet", sum(each["rows"].values())) for each in found["services"]]
    output.table(("service", "erased at", "rows"), rows, empty="")
    state = (
        "complete" if found["complete"] else "overdue: see docs/runbooks/erasure.md" if found["overdue"] else "waiting"
    )
    output.line(f"requested at {found['requested_at']}, {state}")
