"""Case managers see the students of their caseload. It begins with those for whom they have asked a sponsor to pay."""

from alembic import op

from kit.db import caseload_ddl, ddl
from kit.db.caseload_ddl import OWN_CASELOAD
from kit.db.row_security import policy, role_is

revision = "0010"
down_revision = "0009"

TABLES = (
    "purchases",
    "redemptions",
    "contacts",
    "customers",
    "installments",
    "memberships",
    "purchase_ends",
    "funding_payments",
    "funding_payment_changes",
    "enrollments",
    "enrollment_progress",
    "disputes",
    "manual_payments",
    "cancellations",
    "documents",
    "payments",
    "refunds",
    "refund_requests",
)
# The latest case manager of each. Revision 0: not published yet (see `checkout.purchases.caseload.publish_new`).
EXISTING = """
    INSERT INTO caseload (student_id, case_manager_id, revision)
    SELECT DISTINCT ON (student_id) student_id, split_part(actor, ':', 2)::uuid, 0
    FROM funding_payment_changes
    WHERE operation = 'insert' AND actor ~ '^case_manager:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    ORDER BY student_id, id DESC
"""


def upgrade() -> None:
    logins = ddl.logins()
    caseload_ddl.create_v1(logins, *TABLES)
    # row-level security is forced on the owner, too
    forced = ("caseload", "funding_payment_changes")
    for statement in (
        *(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in forced),
        EXISTING,
        *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in forced),
        policy("admins_add", "caseload", logins.staff, "INSERT", role_is("admin")),
        policy("admins_change", "caseload", logins.staff, "UPDATE", role_is("admin")),
        # a student without a case manager: whom another one has, or had, nobody but an admin assigns
        policy("case_managers_add", "caseload", logins.staff, "INSERT", f"{OWN_CASELOAD} AND revision = 1"),
        f'GRANT INSERT, UPDATE ON caseload TO "{logins.staff}"',
        *logins.staff_publish("caseload_of_staff", ("student.case_manager_changed.v1",)),
    ):
        op.execute(statement)
