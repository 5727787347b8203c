"""`bursar`: the operator's command. Exits with 0 if all is well, 1 if something is wrong, 2 if it cannot tell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bursar import dead_letters
from bursar import doctor as examination
from bursar.environment import Environment, NotConfigured
from bursar.operations import reconcile, replay, scale
from bursar.output import Json, Output, change
from bursar.service_client import Refused, ServiceClient, Unreachable
from bursar.students import erase, export
from bursar.timeline import timeline
from bursar.verification import verify

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown")
SEE, CHANGE = "Look", "Act (recorded in the audit trail)"
ID_LENGTH = 8
"""So much of an id is printed; `--json` has all of it."""

Limit = Annotated[int, typer.Option(min=1, help="Print at most so many.")]


@app.callback()
def options(
    context: typer.Context,
    stack: Annotated[
        Path | None,
        typer.Option(envvar="BURSAR_STACK", help="The stack.json of `make serve`, instead of BURSAR_* variables."),
    ] = None,
) -> None:
    """The operator's command of Bursar: is everything well, what happened to a payment, and what was lost?

    Begin with **bursar doctor**. Beside `make serve`, set BURSAR_STACK=.local/stack.json. Otherwise set
    BURSAR_TOKEN (an admin's), BURSAR_CHECKOUT_URL and so on for each service's API, BURSAR_ADMIN_URL (of
    webhook-gateway-admin), and BURSAR_HEALTH (JSON: process -> base URL).

    Exit codes: 0 all is well, or done. 1 something is wrong, refused or not found. 2 it cannot tell: a setting is
    missing, an argument is invalid, or a service does not answer. `--json` prints what the APIs return.
    """
    context.obj = stack


@app.command(rich_help_panel=SEE)
def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Is every process ready, does everything answer that it depends on, and does no alert hold?"""
    environment = Environment.load(context.obj)
    if not environment.health:
        raise NotConfigured('set BURSAR_HEALTH, for example {"checkout.api": "http://checkout-api:8000"}')
    findings = examination.examine(environment.health)
    failed = [finding for finding in findings if not finding.is_ok]
    output = Output(as_json=as_json)
    if as_json:
        output.json([asdict(finding) for finding in findings])
    else:
        rows = [(each.process, each.subject, each.outcome, each.remedy) for each in failed]
        output.table(("process", "subject", "what is wrong", "what to do"), rows, empty="Nothing is wrong.")
        output.line(f"{len(environment.health)} processes, {len(findings)} checks, {len(failed)} failed")
    raise typer.Exit(1 if failed else 0)


app.command(rich_help_panel=SEE)(timeline)
app.command(rich_help_panel=SEE)(verify)
app.command(rich_help_panel=CHANGE)(reconcile)
app.command(rich_help_panel=CHANGE)(replay)
app.command(rich_help_panel=CHANGE)(scale)
app.command(rich_help_panel=CHANGE)(export)
app.command(rich_help_panel=CHANGE)(erase)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel=CHANGE)


@app.command(rich_help_panel=SEE)
def audit(
    context: typer.Context,
    purchase: Annotated[str | None, typer.Option(help="Of this purchase.")] = None,
    student: Annotated[str | None, typer.Option(help="Of this student.")] = None,
    stripe: Annotated[str | None, typer.Option(help="Of this object at Stripe, such as pi_...")] = None,
    actor: Annotated[str | None, typer.Option(help="By this person or process.")] = None,
    action: Annotated[str | None, typer.Option(help="Such as price.changed.")] = None,
    since: Annotated[datetime | None, typer.Option(help="UTC.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Who did what: administrative acts, newest first."""
    options = {
        "purchase_id": purchase,
        "student_id": student,
        "stripe_id": stripe,
        "actor_id": actor,
        "action": action,
        "since": f"{since.isoformat()}Z" if since else None,
    }
    client = ServiceClient(Environment.load(context.obj), "reporting")
    found = list(client.pages("/api/admin/audit", _given(options), limit=limit))
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
        return
    rows = [
        (
            f"{datetime.fromisoformat(each['created_at']):%Y-%m-%d %H:%M:%S}",
            f"{each['actor_role']} {each['actor_id'][:ID_LENGTH]}",
            each["action"],
            each["object_id"],
            ", ".join(filter(None, (change(each["before"], each["after"]), each["reason"]))),
        )
        for each in found
    ]
    output.table(("time (UTC)", "by", "action", "of", "what and why"), rows, empty="No such acts.")


@app.command("verify-audit", rich_help_panel=SEE)
def verify_audit(context: typer.Context, as_json: Json = False) -> None:
    """Was no audit record changed, removed or put in between?"""
    found = ServiceClient(Environment.load(context.obj), "reporting").get("/api/admin/audit/verify")
    output = Output(as_json=as_json)
    if as_json:
        output.json(found)
    elif found["holds"]:
        output.line(f"The chain of {found['records']} records holds: {found['hash']}")
    else:
        output.line(f"Record {found['broken']} does not hold: {found['reason']}")
    raise typer.Exit(0 if found["holds"] else 1)


@app.command(rich_help_panel=SEE)
def unmatched(context: typer.Context, limit: Limit = 50, as_json: Json = False) -> None:
    """Payments that name no student, or nothing that is sold here."""
    client = ServiceClient(Environment.load(context.obj), "checkout")
    found = list(client.pages("/api/admin/unmatched-payments", {}, limit=limit))
    columns = ("id", "status", "code", "amount", "currency", "first_seen_at")
    _list(Output(as_json=as_json), columns, found, empty="Every payment is matched.")


def _list(output: Output, columns: tuple[str, ...], found: list[dict[str, Any]], *, empty: str) -> None:
    if output.as_json:
        output.json(found)
    else:
        output.table(columns, [[each.get(column, "") for column in columns] for each in found], empty=empty)


def _given(options: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def main() -> None:
    """Errors are one line, without a traceback."""
    run: Callable[[], Any] = app
    try:
        run()
    except (NotConfigured, Unreachable) as error:
        sys.exit(_fail(str(error), 2))
    except Refused as error:
        sys.exit(_fail(str(error), 1))


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"bursar: {message}\n")
    return code


if __name__ == "__main__":
    main()
