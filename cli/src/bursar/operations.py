"""`bursar reconcile`, `replay` and `scale`."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from bursar.environment import Environment
from bursar.output import Json, Output
from bursar.service_client import LONG_SECONDS, ServiceClient

Since = Annotated[datetime | None, typer.Option(help="UTC, such as 2026-11-01 or 2026-11-01T08:00:00.")]
_POLL_SECONDS = 1.0
_COUNTS = ("listed", "restored", "conflicts", "refused", "compared")


def reconcile(
    context: typer.Context,
    since: Annotated[
        datetime | None, typer.Option(help="When Stripe created the events: UTC; a day ago if it is not given.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Before when; now if it is not given.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch from Stripe what it did not deliver, and compare its objects with what was published. Exits with 1 if one
    differs, or an event cannot be taken."""
    client, output = ServiceClient(Environment.load(context.obj), "admin"), Output(as_json=as_json)
    found: dict[str, Any] = dict.fromkeys(_COUNTS, 0) | {"differing": []}
    begin = since.replace(tzinfo=UTC) if since else datetime.now(UTC) - timedelta(days=1)
    parts = list(_parts(begin, until.replace(tzinfo=UTC) if until else None, now=datetime.now(UTC)))
    for period in output.progress(parts, "comparing with Stripe"):
        part = client.post("/api/admin/reconciliations", period, seconds=LONG_SECONDS)
        found = {name: value + part[name] for name, value in found.items()}
    if as_json:
        output.json(found)
    else:
        output.line(f"Stripe lists {found['listed']} events; {found['restored']} were missing and are published now.")
        output.line(f"{found['compared']} objects were compared, {len(found['differing'])} differ.")
        for id in found["differing"]:
            output.line(f"  {id}: see docs/runbooks/reconcile.md")
        if found["conflicts"] or found["refused"]:
            output.line(f"{found['conflicts']} conflict with the journal, {found['refused']} are refused: see the log.")
    raise typer.Exit(1 if found["conflicts"] or found["refused"] or found["differing"] else 0)


def _parts(since: datetime, until: datetime | None, *, now: datetime) -> Iterator[dict[str, str]]:
    """Weeks, so that there is progress to show; at least one. Without `until`, the last has no end: Stripe's clock may
    be ahead of ours."""
    start, end = since, until or now
    while end - start > timedelta(days=7):
        yield {"since": start.isoformat(), "until": (start + timedelta(days=7)).isoformat()}
        start += timedelta(days=7)
    yield {"since": start.isoformat()} | ({"until": until.isoformat()} if until else {})


def replay(
    context: typer.Context,
    event_ids: Annotated[list[str] | None, typer.Argument(help="Stripe's, evt_...")] = None,
    since: Since = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Stripe's, such as charge.refunded.")] = None,
    student: Annotated[str | None, typer.Option(help="Only events about this student's payments.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until all are published.")] = False,
    as_json: Json = False,
) -> None:
    """Publish Stripe's events again, from the journal. Services ignore what they have processed."""
    if not event_ids and since is None and student is None:
        raise typer.BadParameter("name events, --since or --student")
    environment, output = Environment.load(context.obj), Output(as_json=as_json)
    client = ServiceClient(environment, "admin")
    named = list(event_ids or ())
    if student is not None:
        of_student = _events_of(ServiceClient(environment, "reporting"), student)
        named = [id for id in named if id in of_student] if event_ids else of_student
    count = 0
    if named or (student is None and since is not None):
        body: dict[str, Any] = {"types": type_ or []}
        body |= {"event_ids": named} if named else {}
        body |= {"since": since.replace(tzinfo=UTC).isoformat()} if since else {}
        count = client.post("/api/admin/replays", body, seconds=LONG_SECONDS)["events"]
    if wait and count:
        _wait(client, output)
    if as_json:
        output.json({"events": count})
    else:
        published = "were published again" if wait else "are published again, after live ones"
        output.line(f"{count} events {published}.")
    raise typer.Exit(0 if count else 1)


def _events_of(reporting: ServiceClient, student: str) -> list[str]:
    """The events of Stripe that are about the student's purchases."""
    timelines = reporting.get("/api/admin/timelines", {"student_id": student})["items"]
    refs = (ref for timeline in timelines for event in timeline["events"] for ref in event["refs"])
    return sorted({ref for ref in refs if ref.startswith("evt_")})


def _wait(client: ServiceClient, output: Output) -> None:
    left = client.get("/api/admin/replays")["events"]
    with output.countdown("publishing", total=left) as show:
        while left:
            time.sleep(_POLL_SECONDS)
            left = client.get("/api/admin/replays")["events"]
            show(left)


def scale(
    context: typer.Context,
    process: Annotated[str, typer.Argument(help="<service> (its consumers) or <service>-relay.")],
    replicas: Annotated[int, typer.Argument(min=0, max=50, help="How many shall run.")],
    platform: Annotated[Literal["compose", "kubernetes"], typer.Option(help="What runs the containers.")] = "compose",
    reason: Annotated[str | None, typer.Option(help="Why; for the audit trail.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Run the command here; otherwise it is only printed.")] = False,
    as_json: Json = False,
) -> None:
    """Record how many processes shall run, and print the platform's command for it, or run it."""
    body = {"process": process, "replicas": replicas, "platform": platform, "reason": reason}
    ServiceClient(Environment.load(context.obj), "admin").post("/api/admin/scalings", body)  # records it, or refuses
    command = _command(process, replicas, platform)
    output = Output(as_json=as_json)
    code = 0
    if run:
        try:
            code = subprocess.run(command, check=False).returncode
        except OSError:
            code = 127
    if as_json:
        output.json({"command": command, "exit_code": code if run else None})
    elif not run:
        output.line(shlex.join(command))
    elif code:
        output.line(f"failed with exit code {code}: {shlex.join(command)}")
    raise typer.Exit(1 if code else 0)


def _command(process: str, replicas: int, platform: str) -> list[str]:
    """Made here: a command that a server has sent is not run."""
    if platform == "kubernetes":
        return ["kubectl", "scale", f"deployment/{process}", f"--replicas={replicas}"]
    scale = ["--no-recreate", "--no-deps", "--scale", f"{process}={replicas}", process]
    return ["docker", "compose", "up", "--detach", *scale]
