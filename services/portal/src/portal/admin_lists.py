"""Which lists the administration has. tests/portal/test_admin_lists.py holds them against docs/openapi/bursar.json."""

from __future__ import annotations

from portal.admin_records import BY_TIME, RECORDS
from portal.record_list import Column, Filter, RecordList

GATEWAY = "webhook-gateway-admin"

_BY_AMOUNT = (("-amount", "largest amount first"), ("amount", "smallest amount first"))
_PURCHASE = "/admin/purchases/{purchase_id}"
_STUDENT = Column("student_id", "Student", link="/admin/purchases?user_id={student_id}")
_OF_STUDENT = Filter("student_id", "Student's id")
_OF_PURCHASE = Filter("purchase_id", "Purchase's id")
_PAYER = Filter("payer", "Payer", "choice", ("student", "sponsor"))

PURCHASES = RecordList(
    path="/admin/purchases",
    title="Purchases",
    service="checkout",
    api="/api/purchases",
    columns=(
        Column("created_at", "Bought", "day"),
        Column("name", "Item", link="/admin/purchases/{id}"),
        Column("student_id", "Student", link="/admin/purchases?user_id={student_id}"),
        Column("payer", "Payer"),
        Column("status", "Status", "words"),
        Column("reason", "Reason", "words"),
        Column("amount", "Price", "amount"),
        Column("paid", "Paid", "amount"),
        Column("due", "Due", "amount"),
    ),
    filters=(
        Filter(
            "status",
            "Status",
            "choice",
            (
                *("awaiting_payment", "processing", "active", "pending", "paused", "withdrawn", "completed"),
                *("canceled", "expired", "paid"),
            ),
        ),
        Filter("product", "Item (its slug)"),
        _PAYER,
        Filter("funding_source", "Sponsor (its code)"),
        Filter("user_id", "Student's id"),
    ),
    orders=(*BY_TIME, *_BY_AMOUNT),
    exported=("id", "product", "kind", "plan"),
)
PAYMENTS = RecordList(
    path="/admin/payments",
    title="Payments",
    service="checkout",
    api="/api/admin/payments",
    columns=(
        Column("created_at", "Created", "moment"),
        Column("item_name", "Item", link=_PURCHASE),
        _STUDENT,
        Column("amount", "Amount", "amount"),
        Column("refunded", "Refunded", "amount"),
        Column("method", "Method", "words"),
        Column("status", "Status", "words"),
        Column("failure_code", "Failure", "words"),
        Column("disputed", "Disputed", "yes_no"),
        Column("payment_intent_id", "At Stripe", link="/admin/audit?stripe_id={payment_intent_id}"),
    ),
    filters=(
        Filter("status", "Status", "choice", ("requires_payment", "processing", "succeeded", "failed", "canceled")),
        Filter("item_slug", "Item (its slug)"),
        Filter("method", "Method"),
        _PAYER,
        Filter("funding_source", "Sponsor (its code)"),
        Filter("disputed", "Disputed", "yes_no"),
        Filter("late", "After the end of the purchase", "yes_no"),
        Filter("from", "From", "since"),
        Filter("to", "Through", "until"),
        _OF_STUDENT,
        _OF_PURCHASE,
    ),
    orders=(*BY_TIME, *_BY_AMOUNT),
    exported=("id", "purchase_id", "item_slug", "payer", "tax", "manual_id", "stripe_invoice_id", "paid_at"),
)
INSTALLMENTS = RecordList(
    path="/admin/installments",
    title="Installments",
    service="checkout",
    api="/api/admin/payments/schedules",
    columns=(
        Column("due_at", "Due", "day"),
        Column("position", "No.", "number"),
        Column("amount", "Amount", "amount"),
        Column("status", "Status", "words", link="/admin/installments/{id}"),
        Column("attempts", "Attempts", "number"),
        Column("next_attempt_at", "Next attempt", "moment"),
        Column("failure_code", "Failure", "words"),
        Column("purchase_id", "Purchase", link=_PURCHASE),
        _STUDENT,
    ),
    filters=(
        Filter("status", "Status", "choice", ("open", "processing", "overdue", "paused", "paid", "waived", "canceled")),
        Filter("due_from", "Due from", "since"),
        Filter("due_to", "Due through", "until"),
        _OF_STUDENT,
    ),
    orders=(*BY_TIME, ("due_at", "due first"), ("-due_at", "due last"), *_BY_AMOUNT),
    exported=("id", "kind", "paid_at"),
    note="Open the status of an installment to pause it, to change its due date, or to record a payment.",
)
REFUND_REQUESTS = RecordList(
    path="/admin/refund-requests",
    title="Refund requests",
    service="checkout",
    api="/api/admin/refund-requests",
    columns=(
        Column("created_at", "Requested", "day"),
        Column("item_name", "Item", link=_PURCHASE),
        Column("amount", "Paid", "amount"),
        Column("refunded", "Refunded", "amount"),
        Column("reason", "Reason"),
        Column("status", "Status", "words"),
        Column("note", "Note"),
    ),
    filters=(Filter("status", "Status", "choice", ("pending", "approved", "rejected"), default="pending"),),
    exported=("id", "purchase_id", "student_id", "decided_amount", "decided_at", "decided_by", "refund_status"),
    row_forms="refund_request_forms.html",
    empty="None is waiting.",
)
UNMATCHED_PAYMENTS = RecordList(
    path="/admin/unmatched-payments",
    title="Payments that match nobody",
    service="checkout",
    api="/api/admin/unmatched-payments",
    columns=(
        Column("first_seen_at", "First seen", "moment"),
        Column("amount", "Amount", "amount"),
        Column("email", "From"),
        Column("code", "Why", "words"),
        Column("status", "Status", "words"),
        Column("failure", "Refund failed", "words"),
        Column("payment_refs.payment_intent", "At Stripe"),
    ),
    filters=(
        Filter("status", "Status", "choice", ("open", "matched", "assigned", "refunding", "refunded"), default="open"),
        Filter("code", "Why", "choice", ("no_student", "no_item", "unknown_item", "conflicting_students")),
    ),
    exported=("id", "purchase_id", "student_id", "payer", "funding_source", "resolved_at", "resolved_by"),
    row_forms="unmatched_payment_forms.html",
)
DISPUTES = RecordList(
    path="/admin/disputes",
    title="Disputes",
    service="checkout",
    api="/api/admin/disputes",
    columns=(
        Column("created_at", "Opened", "day"),
        Column("evidence_due_by", "Evidence due by", "moment"),
        Column("amount", "Amount", "amount"),
        Column("reason", "Reason", "words"),
        Column("status", "Status", "words"),
        Column("closed_at", "Closed", "day"),
        Column("stripe_dispute_id", "At Stripe"),
        Column("purchase_id", "Purchase", link=_PURCHASE),
    ),
    filters=(Filter("open", "Open", "yes_no", default="true"), _OF_STUDENT),
    orders=(*BY_TIME, *_BY_AMOUNT),
    exported=("id", "payment_id", "student_id", "funds"),
    note="Evidence is submitted in Stripe's dashboard.",
)
RECEIPTS = RecordList(
    path="/admin/receipts",
    title="Receipts",
    service="checkout",
    api="/api/receipts",
    columns=(
        Column("issued_at", "Issued", "day"),
        Column("number", "Number", link="/receipts/{id}.pdf"),
        Column("kind", "Kind"),
        Column("program", "Item", link=_PURCHASE),
        Column("amount.amount", "Amount", "amount"),
        Column("method", "Method"),
        _STUDENT,
    ),
    filters=(Filter("kind", "Kind", "choice", ("receipt", "invoice")), _OF_STUDENT, _OF_PURCHASE),
    exported=("id", "purchase_id", "payment_id"),
)
AUDIT_TRAIL = RecordList(
    path="/admin/audit",
    title="Audit trail",
    service="reporting",
    api="/api/admin/audit",
    columns=(
        Column("created_at", "When", "moment"),
        Column("action", "Action"),
        Column("object_type", "Object", "words"),
        Column("object_id", "Its id", link="/admin/audit?object_id={object_id}"),
        Column("actor_role", "By", "words"),
        Column("actor_id", "Actor", link="/admin/audit?actor_id={actor_id}"),
        Column("reason", "Reason"),
        Column("purchase_id", "Purchase", link=_PURCHASE),
        Column("refs", "At Stripe"),
    ),
    filters=(
        _OF_PURCHASE,
        _OF_STUDENT,
        Filter("actor_id", "Actor's id"),
        Filter("stripe_id", "Id at Stripe"),
        Filter("action", "Action"),
        Filter("object_id", "Object's id"),
        Filter("since", "From", "since"),
        Filter("until", "Through", "until"),
    ),
    orders=BY_TIME,
    exported=("id", "position", "service", "student_id", "address", "trace_id"),
)
DIFFERENCES = RecordList(
    path="/admin/differences",
    title="Differences from Stripe",
    service=GATEWAY,
    api="/api/admin/differences",
    columns=(
        Column("object_id", "Object"),
        Column("field", "Field"),
        Column("stripe", "At Stripe"),
        Column("published", "Published"),
        Column("first_seen_at", "Since", "moment"),
        Column("purchase_id", "Purchase", link=_PURCHASE),
    ),
    exported=("object_kind", "last_seen_at"),
    note="Fields of objects at Stripe that differ from what was published about them. They are closed when both agree.",
)
BREAKS = RecordList(
    path="/admin/invariant",
    title="Breaks of the invariant",
    service="reporting",
    api="/api/admin/invariant",
    columns=(
        Column("since", "Since", "moment"),
        Column("part", "Part"),
        Column("cause", "Cause", "words"),
        Column("program_slug", "Program"),
        Column("student_id", "Student", link="/admin/purchases?user_id={student_id}"),
        Column("purchase_id", "Purchase", link=_PURCHASE),
    ),
    filters=(
        Filter("part", "Part", "choice", ("enrolled", "instructor", "provider", "notified", "booked", "stripe")),
        Filter("repaired", "Repaired", "yes_no", default="false"),
        _OF_STUDENT,
    ),
    exported=(),
    note="Students of whom not all is true: paid, enrolled, taught, with the provider, notified, booked, agreed by "
    "Stripe.",
)
REDEMPTIONS = RecordList(
    path="/admin/promotions/{code}/redemptions",
    title="Redemptions",
    service="checkout",
    api="/api/admin/promotions/{code}/redemptions",
    columns=(
        Column("created_at", "Used", "moment"),
        Column("status", "Status", "words"),
        Column("amount", "Discount", "amount"),
        Column("purchase_id", "Purchase", link=_PURCHASE),
        _STUDENT,
    ),
)
ASSIGNMENTS = RecordList(
    path="/admin/instructor-assignments",
    title="Assignments",
    service="instructor-assignment",
    api="/api/admin/instructor-assignments",
    columns=(
        Column("since", "Since", "day"),
        Column("program_slug", "Program"),
        Column("instructor.name", "Instructor", link="/admin/instructors/{instructor.id}"),
        Column("status", "Status", "words"),
        Column("reason", "Reason", "words"),
        _STUDENT,
        Column("purchase_id", "Purchase", link=_PURCHASE),
    ),
    filters=(
        Filter("status", "Status", "choice", ("assigned", "waiting", "released")),
        Filter("program_slug", "Program (its slug)"),
        _OF_STUDENT,
        Filter("instructor_id", "Instructor's id"),
    ),
    others=(("Instructors", "/admin/instructors"),),
)

PROVIDER_ENROLLMENTS = RecordList(
    path="/admin/milady",
    title="Enrollments at the outside course provider",
    service="milady-integration",
    api="/api/admin/milady/enrollments",
    columns=(
        Column("created_at", "Since", "day"),
        Column("program_slug", "Program"),
        Column("desired_state", "Wanted", "words"),
        Column("status", "Status", "words"),
        Column("failure", "Failure", "words"),
        Column("last_error", "Last error"),
        Column("milady_enrollment_id", "Id there"),
        _STUDENT,
    ),
    filters=(
        Filter("status", "Status", "choice", ("wanted", "enrolled", "withdrawn", "failed", "manual")),
        Filter("program_slug", "Program (its slug)"),
        _OF_STUDENT,
    ),
    exported=("id", "purchase_id", "attempts"),
    others=(
        ("To enroll by hand (CSV)", "/admin/milady/enroll.csv"),
        ("To withdraw by hand (CSV)", "/admin/milady/withdraw.csv"),
    ),
    row_forms="provider_enrollment_forms.html",
)
DEAD_LETTERS = RecordList(
    path="/admin/dead-letters/messages",
    title="Messages that were given up",
    service=GATEWAY,
    api="/api/admin/dead-letters",
    columns=(
        Column("dead_lettered_at", "Given up"),
        Column("type", "Event", link="/admin/dead-letters/message?queue={queue}&event_id={event_id}"),
        Column("event_id", "Its id"),
        Column("reason", "Reason"),
        Column("attempts", "Attempts", "number"),
    ),
    filters=(Filter("queue", "Queue"),),
    exported=("queue", "login", "publisher"),
    others=(("All queues", "/admin/dead-letters"),),
    row_forms="dead_letter_forms.html",
    file="dead-letters",
    note="Oldest first. Open an event to see its content; that is recorded in the audit trail.",
)

RECORD_LISTS = (
    *(PURCHASES, PAYMENTS, INSTALLMENTS, REFUND_REQUESTS, UNMATCHED_PAYMENTS, DISPUTES, RECEIPTS, REDEMPTIONS),
    *(each.record_list for each in RECORDS),
    *(ASSIGNMENTS, PROVIDER_ENROLLMENTS, AUDIT_TRAIL, DIFFERENCES, BREAKS, DEAD_LETTERS),
)
