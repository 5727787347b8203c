"""`bursar dead-letters`: what could not be processed, of all services."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from bursar.environment import Environment
from bursar.output import Json, Output
from bursar.service_client import ServiceClient

app = typer.Typer(no_args_is_help=True, help="Messages that no consumer could process: list, show, replay, discard.")

Queue = Annotated[str, typer.Argument(help="Such as enrollment.payments.")]
EventId = Annotated[str, typer.Argument(help="As `list` prints it.")]
BATCH = 100
"""As many as the API replays at once."""

_PATH = "/api/admin/dead-letters"


def _client(context: typer.Context) -> ServiceClient:
    return ServiceClient(Environment.load(context.obj), "admin")


@app.command("list")
def list_(
    context: typer.Context,
    queue: Annotated[str | None, typer.Argument(help="Only of this queue.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many of each queue.")] = 50,
    as_json: Json = False,
) -> None:
    """What could not be processed, and why. Exits with 1 if there is any."""
    client, output = _client(context), Output(as_json=as_json)
    counts = {each["queue"]: each["messages"] for each in client.get(f"{_PATH}/queues")["items"]}
    wanted = [queue] if queue else [name for name, messages in counts.items() if messages]
    found: list[dict[str, Any]] = []
    for name in output.progress(wanted, "reading queues"):
        found += client.get(_PATH, {"queue": name, "limit": str(limit)})["items"]
    if as_json:
        output.json(found)
    else:
        columns = ("queue", "event_id", "type", "attempts", "login", "reason", "dead_lettered_at")
        rows = [[each[column] for column in columns] for each in found]
        output.table(columns, rows, empty="No dead letters.")
        if (total := sum(counts.get(name, 0) for name in wanted)) > len(found):
            output.line(f"{len(found)} of {total}")
    raise typer.Exit(1 if found else 0)


@app.command()
def show(context: typer.Context, queue: Queue, event_id: EventId, as_json: Json = False) -> None:
    """One message with its content, which may have personal data: that you have read it is recorded."""
    found = _client(context).get(f"{_PATH}/message", {"queue": queue, "event_id": event_id})
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    output.line(f"{found['type']} {found['event_id']}")
    output.line(f"{found['reason']}, after {found['attempts']} attempts, {found['dead_lettered_at'] or 'time unknown'}")
    output.line(f"published first by {found['publisher'] or 'unknown'}, put there by {found['login'] or 'unknown'}")
    for line in [*found["stack"].splitlines(), *(f"{name}: {value}" for name, value in found["headers"].items())]:
        output.line(line)
    for line in json.dumps(found["body"], indent=2).splitlines():
        output.line(line)


@app.command()
def replay(
    context: typer.Context,
    queue: Queue,
    event_ids: Annotated[list[str] | None, typer.Argument(help="As `list` prints them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are there now.")] = False,
    as_json: Json = False,
) -> None:
    """Return messages to their queue, after the cause is mended. Twice has one effect."""
    if everything == bool(event_ids):
        raise typer.BadParameter("name events, or --all")
    client, output = _client(context), Output(as_json=as_json)
    if not everything:
        replayed = client.post(f"{_PATH}/replay", {"queue": queue, "event_ids": event_ids})["messages"]
    else:
        counts = {each["queue"]: each["messages"] for each in client.get(f"{_PATH}/queues")["items"]}
        total, replayed = counts.get(queue, 0), 0
        # what fails again is a dead letter again: no more than were there
        for most in output.progress([min(BATCH, total - start) for start in range(0, total, BATCH)], "replaying"):
            count = client.post(f"{_PATH}/replay", {"queue": queue, "all": True})["messages"]
            replayed += count
            if count < most:
                break
    _done(output, {"replayed": replayed})


@app.command()
def discard(
    context: typer.Context,
    queue: Queue,
    event_ids: Annotated[list[str], typer.Argument(help="As `list` prints them.")],
    reason: Annotated[str, typer.Option(help="Why; for the audit trail.")],
    as_json: Json = False,
) -> None:
    """Delete messages, such as forged ones. The gateway's journal and the outboxes still have what was genuine."""
    body = {"queue": queue, "event_ids": event_ids, "reason": reason}
    _done(Output(as_json=as_json), {"discarded": _client(context).post(f"{_PATH}/discard", body)["messages"]})


def _done(output: Output, result: dict[str, int]) -> None:
    if output.as_json:
        output.json(result)
    else:
        output.line(", ".join(f"{name}: {count}" for name, count in result.items()))
    raise typer.Exit(0 if any(result.values()) else 1)
