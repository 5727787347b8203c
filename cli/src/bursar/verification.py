"""`bursar verify`: the invariant over all students, and the rows of every service against its facts."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from bursar.environment import Environment
from bursar.output import Json, Output
from bursar.service_client import LONG_SECONDS, ServiceClient, Unreachable, path_of

SERVICES = ("checkout", "enrollment", "instructor_assignment", "milady_integration", "notifications")
"""Those that compare their rows with their facts."""
LOOK_SECONDS = 0.5
MOST_BREAKS = 1_000
Found = dict[str, Any]
"""JSON of an API."""


def verify(
    context: typer.Context,
    student: Annotated[str | None, typer.Option(help="Only the invariant, and only of this student.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Bring rows in line with the facts, where these allow it (audited).")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="With --repair: also what was repaired before and is broken again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Is everything that is paid also enrolled, taught, with the provider, notified, booked and agreed by Stripe, and
    the reverse? Are the rows of every service those that its facts say?"""
    environment = Environment.load(context.obj)
    reporting = ServiceClient(environment, "reporting")
    services: dict[str, Found] = {}
    if student is not None:
        invariant = reporting.get("/api/admin/invariant", {"student_id": student})
    else:
        clients = {service: ServiceClient(environment, service) for service in SERVICES}
        asked = {service: _ask(client, repair=repair, again=again) for service, client in clients.items()}
        services = {
            service: _finished(clients[service], path_of("/api/admin/verification/{}", id))
            for service, id in asked.items()
        }
        invariant = _invariant(reporting)
    holds = invariant["holds"] and all(found["holds"] for found in services.values())
    output = Output(as_json=as_json)
    if as_json:
        output.json({"holds": holds, "invariant": invariant, "services": services})
    else:
        _print(output, invariant, services)
    raise typer.Exit(0 if holds else 1)


def _ask(client: ServiceClient, *, repair: bool, again: bool) -> str:
    if repair:
        return str(client.post("/api/admin/verification/repair", {"again": again})["id"])
    return str(client.post("/api/admin/verification", {})["id"])


def _invariant(reporting: ServiceClient) -> Found:
    """By a run that begins now, with all breaks up to MOST_BREAKS."""
    run = reporting.post("/api/admin/invariant/runs", {})
    finished = _finished(reporting, path_of("/api/admin/invariant/runs/{}", run["id"]))
    if finished["error"]:
        raise Unreachable(f"reporting has not finished: {finished['error']}")
    found = reporting.get("/api/admin/invariant", {"limit": "1"})
    return {**found, "items": list(reporting.pages("/api/admin/invariant", {}, limit=MOST_BREAKS)), "next": None}


def _finished(client: ServiceClient, path: str) -> Found:
    """Waits until the work in the background is finished. Raises Unreachable if it takes too long."""
    until = time.monotonic() + LONG_SECONDS
    while time.monotonic() < until:
        found = client.get(path)
        if found["finished_at"] is not None:
            return found
        time.sleep(LOOK_SECONDS)
    raise Unreachable(f"not finished after {LONG_SECONDS:.0f} s; is the relay of the service running?")


def _print(output: Output, invariant: Found, services: dict[str, Found]) -> None:
    columns = ("since", "student_id", "program_slug", "part", "cause", "requested_at")
    rows = [[each[column] or "" for column in columns] for each in invariant["items"]]
    output.table(columns, rows, empty="The invariant holds.")
    output.line(f"{invariant['students']} students, {invariant['breaks']} breaks, {invariant['repaired']} repaired")
    of_row = ("table", "row", "column", "stored", "expected", "outcome", "reason")
    for service, found in services.items():
        rows = [
            ["" if each[column] is None else str(each[column]) for column in of_row] for each in found["differences"]
        ]
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found["counts"].items()))
        if rows:
            output.table(of_row, rows, empty="")
        output.line(f"{service}: {found['error'] or counts or 'every row is what its facts say'}")
