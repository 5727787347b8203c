"""Row-level security: which login sees and changes which rows. Statements for migrations, frozen as those are.

The owner's login (<database>_owner) migrates. The worker's (<database>: consumers, relay) reads and writes all rows.
The API's (<database>_api: students and the public) has what a request needs, for the rows of the student that it names
in `app.student_id`. Staff have the login <database>_staff, a member of the API's, which sees more by `app.role`: no
setting gives a student's login what staff may do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Command = Literal["ALL", "SELECT", "INSERT", "UPDATE", "DELETE"]

EVENTS_EXCHANGE = "bursar.events"
CALLER = "NULLIF(current_setting('app.student_id', true), '')::uuid"
OF_THIS_TRANSACTION = "created_at = now()"
"""What RETURNING and ON CONFLICT need to see, and no more: keys contain ids of students."""


def own_rows(
    table: str, *, owner: str, column: str | None = "student_id", staff: tuple[str, ...] = ("admin",)
) -> list[str]:
    """The statements of revisions 0001 and 0002, from before staff had a login: `split_own_rows` follows them.

    The login `owner` (the worker's) sees all rows. Any other login sees the rows of `app.student_id`, or all if
    `app.role` is one of `staff`; without these settings it sees none. `column` None: no row is a student's.
    """
    mine = role_is(*staff)
    if column is not None:
        mine = f"{column} = {CALLER} OR {mine}"
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f'CREATE POLICY everything ON {table} TO "{owner}" USING (true) WITH CHECK (true)',
        f"CREATE POLICY own_rows ON {table} USING ({mine}) WITH CHECK ({mine})",
    ]


def role_is(*roles: str) -> str:
    return f"current_setting('app.role', true) IN ({_listed(roles)})"


@dataclass(frozen=True, kw_only=True)
class Logins:
    """`until`: when the API's login loses what the previous version's processes do with it (a timestamp); None if there
    is no previous version."""

    worker: str
    api: str
    staff: str
    until: str | None = None

    def close(self, table: str) -> list[str]:
        """Only the worker sees and changes rows, until other policies follow."""
        return [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            policy("everything", table, self.worker, "ALL", "true"),
        ]

    def split_own_rows(self, table: str, *, student: Command | None = "ALL", staff: tuple[str, ...]) -> list[str]:
        """Makes the policies of `own_rows` those of staff. Students may do `student` to the rows that are theirs; None:
        nothing, or what other policies say."""
        statements = [f'ALTER POLICY own_rows ON {table} TO "{self.staff}"']
        if student is not None:
            statements.append(policy("callers_rows", table, self.api, student, f"student_id = {CALLER}"))
        return statements + self.previous_version(table, role_is(*staff))

    def previous_version(self, table: str, rows: str, command: Command = "ALL") -> list[str]:
        """Lets the API's login of the previous version do this until its processes have been replaced."""
        if self.until is None:
            return []
        over = f"now() < '{self.until}'::timestamptz"
        return [policy("previous_version", table, self.api, command, f"({rows}) AND {over}")]

    def secure_delivery(
        self,
        *,
        events: Collection[str] = (),
        jobs: Collection[str] = (),
        staff_events: Collection[str] = (),
        staff_jobs: Collection[str] = (),
    ) -> list[str]:
        """What requests of students, and those of staff beside it, may publish and enqueue. Of what is there they see
        neither messages, nor payloads, nor keys."""
        new_job = f"{OF_THIS_TRANSACTION} AND attempts = 0 AND done_at IS NULL AND failed_at IS NULL AND lease IS NULL"
        statements = [
            # the table of version 1, to which only the previous version's processes write
            *self.close("outbox"),
            policy("own_transaction", "outbox", self.api, "SELECT", OF_THIS_TRANSACTION),
            *self.previous_version("outbox", _message(EVENTS_EXCHANGE, (*events, *staff_events)), "INSERT"),
            *self.close("outbox_messages"),
            policy("own_transaction", "outbox_messages", self.api, "SELECT", OF_THIS_TRANSACTION),
            *self.close("outbox_due"),
            # only of messages that are there: a row for a later one would make its transaction fail
            f'GRANT SELECT ON SEQUENCE outbox_messages_id_seq TO "{self.api}"',
            policy(
                "of_messages",
                "outbox_due",
                self.api,
                "INSERT",
                "id <= pg_sequence_last_value('outbox_messages_id_seq') AND attempts = 0",
            ),
            *self.close("jobs"),
            policy("own_transaction", "jobs", self.api, "SELECT", OF_THIS_TRANSACTION),
            policy("state", "jobs", self.staff, "SELECT", "true"),
            *self.previous_version("jobs", "true", "SELECT"),
            *self.close("idempotency_keys"),
            policy("own_request", "idempotency_keys", self.api, "ALL", _OWN_REQUEST),
            *self.previous_version("idempotency_keys", "true"),
        ]
        for login, types, kinds in ((self.api, events, jobs), (self.staff, staff_events, staff_jobs)):
            name = "students" if login == self.api else "staff"
            if types:
                rows = _message(EVENTS_EXCHANGE, types)
                statements.append(policy(f"events_of_{name}", "outbox_messages", login, "INSERT", rows))
            if kinds:
                rows = f"kind IN ({_listed(kinds)}) AND {new_job}"
                statements.append(policy(f"jobs_of_{name}", "jobs", login, "INSERT", rows))
        if self.until is not None and staff_jobs:
            rows = f"kind IN ({_listed(staff_jobs)}) AND {new_job} AND now() < '{self.until}'::timestamptz"
            statements.append(policy("jobs_of_previous_version", "jobs", self.api, "INSERT", rows))
        # which revision a database has is the owner's business
        return [*statements, f'REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM "{self.worker}"']

    def staff_publish(self, name: str, types: Collection[str]) -> list[str]:
        """What requests of staff may publish beside what `secure_delivery` lists."""
        return [policy(name, "outbox_messages", self.staff, "INSERT", _message(EVENTS_EXCHANGE, types))]


_OWN_REQUEST = "caller = current_setting('app.caller', true) AND key = current_setting('app.idempotency_key', true)"


def policy(name: str, table: str, login: str, command: Command, rows: str, *, written: str | None = None) -> str:
    """Lets `login` do `command` to these rows. `written`: what an UPDATE may make of them, if not `rows`."""
    using = "" if command == "INSERT" else f" USING ({rows})"
    check = "" if command in ("SELECT", "DELETE") else f" WITH CHECK ({rows if written is None else written})"
    return f'CREATE POLICY {name} ON {table} FOR {command} TO "{login}"{using}{check}'


def grants(login: str, tables: Mapping[str, str]) -> list[str]:
    """`tables`: table -> rights."""
    return [f'GRANT {rights} ON {table} TO "{login}"' for table, rights in tables.items()]


def _message(exchange: str, types: Collection[str]) -> str:
    if not types:
        return "false"
    # consumers read the type from the headers, whose names may have either prefix
    is_that_type = "headers ->> 'cloudEvents:type' = routing_key AND NOT jsonb_exists(headers, 'cloudEvents_type')"
    kinds = f"exchange = '{exchange}' AND routing_key IN ({_listed(types)})"
    return f"{kinds} AND {is_that_type} AND {OF_THIS_TRANSACTION}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
