"""What each login may do: requests of students and the public, and those of staff, who have a login of their own."""

from alembic import op

from kit.db import ddl
from kit.db.row_security import CALLER, Command, Logins, policy, role_is

revision = "0004"
down_revision = "0003"

ADMIN, STAFF = ("admin",), ("admin", "case_manager")
# What a student's own request publishes and enqueues. Only the worker says that something was paid.
EVENTS = (
    "purchase.created.v1",
    "purchase.ended.v1",
    "student.updated.v1",
    "refund.requested.v1",
    "stripe_events.requested.v1",
)
JOBS = ("free_payment", "intent_expiry", "membership_sync", "page_expiry", "refund", "subscription_cancel")
STAFF_EVENTS = (
    "payment.succeeded.v1",
    "payment.refunded.v1",
    "payment.failed.v1",
    "payment.expired.v1",
    "purchase.accepted.v1",
    "purchase.recorded.v1",
    "refund.decided.v1",
    "catalog.item_changed.v1",
    "collection.stopped.v1",
)
STAFF_JOBS = ("off_sale", "installment_close", "installment_debit_result", "unmatched_refund")
# table -> what students may do to their own rows
OWN_ROWS: dict[str, Command | None] = {
    "purchases": "ALL",
    "redemptions": "ALL",
    "contacts": "ALL",
    "customers": "ALL",
    "installments": "ALL",
    "memberships": "ALL",
    "purchase_ends": "ALL",
    "funding_payments": "ALL",
    "funding_payment_changes": "SELECT",
    "enrollments": "SELECT",
    "enrollment_progress": "SELECT",
    "disputes": "SELECT",
    "manual_payments": "SELECT",
    "cancellations": "SELECT",
    "documents": "SELECT",
    "payments": None,
    "refunds": None,
    "refund_requests": None,
}
OWN = f"student_id = {CALLER}"
# (the setting REFERRAL_PERCENT is at most 50: nobody makes themselves a code that gives everything away)
REFERRAL = f"referrer_id = {CALLER} AND uses = 0 AND percent_off <= 50 AND most_per_student = 1"
LINK = "NULLIF(current_setting('app.pay_link', true), '')::uuid"
CANCELLATIONS = "kind = 'subscription_cancel' AND split_part(key, '/', 1) IN (SELECT purchases.id::text FROM purchases)"
# The student's, or of a sponsor who pays for them.
SPONSORS = "code IN (SELECT purchases.funding_source FROM purchases)"
# By its code, the student's own, or one that they have used: nobody can list the codes.
PROMOTIONS = (
    "code = current_setting('app.promotion_code', true) "
    f"OR referrer_id = {CALLER} OR id IN (SELECT redemptions.promotion_code_id FROM redemptions)"
)


def own(logins: Logins) -> list[str]:
    split = (logins.split_own_rows(table, student=student, staff=STAFF) for table, student in OWN_ROWS.items())
    return [statement for statements in split for statement in statements]


def money(logins: Logins) -> list[str]:
    """Students ask for payments and refunds. That they were made, nobody but the worker says, and staff by hand."""
    api = logins.api
    return [
        policy("callers_rows", "payments", api, "SELECT", OWN),
        policy("callers_new", "payments", api, "INSERT", f"{OWN} AND status = 'requires_payment' AND refunded = 0"),
        # (FOR UPDATE locks what may be updated)
        policy("callers_lock", "payments", api, "UPDATE", OWN, written=f"{OWN} AND status <> 'succeeded'"),
        policy("callers_rows", "refunds", api, "SELECT", OWN),
        policy("callers_new", "refunds", api, "INSERT", f"{OWN} AND origin = 'student' AND status = 'pending'"),
        policy("callers_rows", "refund_requests", api, "SELECT", OWN),
        policy("callers_new", "refund_requests", api, "INSERT", f"{OWN} AND status = 'pending'"),
        policy("callers_lock", "refund_requests", api, "UPDATE", OWN, written=f"{OWN} AND status = 'pending'"),
    ]


def catalog(logins: Logins) -> list[str]:
    """Students read what they need to buy, and change nothing of it but how often a code was used."""
    api, staff = logins.api, logins.staff
    statements = [
        *logins.close("items"),
        policy("everybody_reads", "items", api, "SELECT", "true"),
        policy("everybody_locks", "items", api, "UPDATE", "true", written="false"),
        *logins.close("bundle_items"),
        policy("everybody_reads", "bundle_items", api, "SELECT", "true"),
        *logins.close("sponsors"),
        policy("callers_sponsors", "sponsors", api, "SELECT", SPONSORS),
        *logins.close("sponsor_customers"),
        policy("callers_sponsors", "sponsor_customers", api, "ALL", SPONSORS),
        *logins.close("promotion_codes"),
        policy("callers_codes", "promotion_codes", api, "SELECT", PROMOTIONS),
        policy("callers_referral", "promotion_codes", api, "INSERT", REFERRAL),
        policy("callers_uses", "promotion_codes", api, "UPDATE", PROMOTIONS),
        f'REVOKE UPDATE ON promotion_codes FROM "{api}"',
        f'GRANT UPDATE (uses, guest_holds) ON promotion_codes TO "{api}"',
        f'GRANT UPDATE ON promotion_codes TO "{staff}"',
        *logins.close("test_clock"),
        policy("everybody_reads", "test_clock", api, "SELECT", "true"),
    ]
    for table in ("items", "bundle_items", "sponsors", "sponsor_customers", "promotion_codes", "test_clock"):
        statements.append(policy("staff_rows", table, staff, "ALL", role_is(*STAFF)))
        statements += logins.previous_version(table, "true")
    return statements


def upgrade() -> None:
    logins = ddl.logins()
    statements = [
        *logins.secure_delivery(events=EVENTS, jobs=JOBS, staff_events=STAFF_EVENTS, staff_jobs=STAFF_JOBS),
        *own(logins),
        # the trigger writes it, with the owner's rights
        f'REVOKE INSERT, UPDATE, DELETE ON funding_payment_changes FROM "{logins.worker}"',
        *logins.split_own_rows("unmatched_payments", student=None, staff=ADMIN),
        *(f'ALTER POLICY own_revenue ON {table} TO "{logins.staff}"' for table in ("payments", "disputes")),
        *money(logins),
        *catalog(logins),
        # (whether a subscription that has ended is canceled at Stripe)
        policy("callers_jobs", "jobs", logins.api, "SELECT", CANCELLATIONS),
        # Whoever has the link of a payment may pay it. (It is signed; the API has checked that.)
        policy("pay_link", "purchases", logins.api, "SELECT", f"id = {LINK}"),
        policy("pay_link", "installments", logins.api, "SELECT", f"id = {LINK} OR purchase_id = {LINK}"),
    ]
    for statement in statements:
        op.execute(statement)
