"""`bursar timeline`: which purchases are meant, and how their events are printed."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

from bursar import story
from bursar.environment import Environment
from bursar.output import Json, Output
from bursar.service_client import Refused, ServiceClient, path_of


def timeline(
    context: typer.Context,
    about: Annotated[
        str,
        typer.Argument(
            metavar="PURCHASE|STUDENT|MAIL|STRIPE_ID",
            help="A purchase's or a student's id, an email address, or an id at Stripe: pi_, in_, cs_, ch_, re_, dp_, "
            "sub_, evt_, cus_. With - it is read from the input, so that it is not in the shell's history.",
        ),
    ],
    all_events: Annotated[bool, typer.Option("--all", help="One line for each event, as it was received.")] = False,
    as_json: Json = False,
) -> None:
    """What happened to a purchase, across all services, oldest first."""
    wanted = sys.stdin.readline().strip() if about == "-" else about.strip()
    found = _found(Environment.load(context.obj), wanted)
    output = Output(as_json=as_json)
    if as_json:
        output.json(found[0] if len(found) == 1 else found)
        return
    for number, each in enumerate(found):
        if number:
            output.line("")
        output.line(f"purchase {each['purchase_id'] or 'unknown'}: {story.title(each['events'])}")
        _print(output, each["events"], all_events=all_events)


def _found(environment: Environment, wanted: str) -> list[dict[str, Any]]:
    """The timelines. Raises Refused if nothing is known."""
    reporting = ServiceClient(environment, "reporting")
    if "@" in wanted:
        checkout = ServiceClient(environment, "checkout")
        students = checkout.post("/api/admin/students/search", {"email": wanted})["items"]
        found = [each for student in students for each in _timelines(reporting, student_id=student["student_id"])]
    elif _is_uuid(wanted):
        found = _timelines(reporting, student_id=wanted)
        if not found:
            return [reporting.get(path_of("/api/admin/purchases/{}/timeline", wanted))]
    else:
        found = _timelines(reporting, stripe_id=wanted)
    if not found:
        raise Refused("unknown_purchase", "reporting: unknown_purchase: No event names it.")
    return found


def _timelines(reporting: ServiceClient, **wanted: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = reporting.get("/api/admin/timelines", wanted)["items"]
    return items


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _print(output: Output, events: list[dict[str, Any]], *, all_events: bool) -> None:
    if all_events:
        received = [(_time(each["time"]), each["source"], each["type"], " ".join(each["refs"])) for each in events]
        output.table(("time (UTC)", "service", "event", "ids at Stripe"), received, empty="No events.")
        return
    lines = story.lines(events)
    rows: list[tuple[str, str, str, str, str]] = []
    day = ""
    for line in lines:
        if f"{line.time:%Y-%m-%d}" != day:
            day = f"{line.time:%Y-%m-%d}"
            rows.append((day, "", "", "", ""))
        several = f" x{line.events}" if line.events > 1 else ""
        after = _after((line.time - lines[0].time).total_seconds())
        rows.append((f"  {line.time:%H:%M:%S}", after, line.source, line.text + several, line.reference))
    output.table(("time (UTC)", "after", "service", "what happened", "at Stripe"), rows, empty="No events.")


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


def _after(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} d"
