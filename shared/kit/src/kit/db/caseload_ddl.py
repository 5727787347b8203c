"""The table of caseloads as DDL, frozen per version, and the policies that hold case managers to it."""

from __future__ import annotations

from alembic import op

from kit.db.row_security import CALLER, Logins, policy, role_is

V1 = (
    """
    CREATE TABLE caseload (
        student_id uuid NOT NULL CONSTRAINT pk_caseload PRIMARY KEY,
        case_manager_id uuid,
        revision integer NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX ix_caseload_case_manager_id ON caseload (case_manager_id)",
)

_SETTING = "NULLIF(current_setting('app.case_manager_id', true), '')"
_STUDENTS = f"SELECT caseload.student_id FROM caseload WHERE caseload.case_manager_id = {_SETTING}::uuid"  # noqa: S608
OWN_CASELOAD = f"{role_is('case_manager')} AND case_manager_id = {_SETTING}::uuid"
"""The rows of `caseload` that a case manager sees."""


def statements(logins: Logins, *tables: str) -> list[str]:
    """`tables`: those whose policy `own_rows` has let case managers see the rows of all students."""
    return [
        *V1,
        *logins.close("caseload"),
        policy("admins_rows", "caseload", logins.staff, "SELECT", role_is("admin")),
        policy("own_caseload", "caseload", logins.staff, "SELECT", OWN_CASELOAD),
        f'GRANT SELECT ON caseload TO "{logins.staff}"',
        *(limit_to_caseload(logins, table) for table in tables),
    ]


def create_v1(logins: Logins, *tables: str) -> None:
    for statement in statements(logins, *tables):
        op.execute(statement)


def limit_to_caseload(logins: Logins, table: str) -> str:
    """Alters the policy `own_rows` of a table of students' rows."""
    is_case_manager = role_is("case_manager")
    rows = f"student_id = {CALLER} OR {role_is('admin')} OR ({is_case_manager} AND student_id IN ({_STUDENTS}))"
    if logins.until is not None:  # the previous version's processes do not say who the case manager is
        over = f"now() < '{logins.until}'::timestamptz"
        rows += f" OR ({is_case_manager} AND {_SETTING} IS NULL AND {over})"
    return f"ALTER POLICY own_rows ON {table} USING ({rows}) WITH CHECK ({rows})"
