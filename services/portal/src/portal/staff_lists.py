"""The lists of case managers and sponsors."""

from __future__ import annotations

from portal.admin_lists import PURCHASES
from portal.record_list import Column, Filter, RecordList

_SPONSOR = Filter("funding_source", "Sponsor (its code)")
_ITEM = Filter("product", "Item (its slug)")

CASELOAD = RecordList(
    path="/caseload",
    title="Caseload",
    service="checkout",
    api="/api/admin/caseload",
    columns=(
        Column("name", "Student"),
        Column("email", "Email address"),
        Column("student_id", "Student's id", link="/caseload/purchases?user_id={student_id}"),
        Column("updated_at", "Assigned", "day"),
    ),
    filters=(_ITEM, _SPONSOR, Filter("case_manager_id", "Case manager's id")),
    orders=(
        ("name", "by name"),
        ("-name", "by name, reversed"),
        ("-updated_at", "assigned last"),
        ("updated_at", "assigned first"),
    ),
    exported=("case_manager_id",),
    others=(("All purchases", "/caseload/purchases"), ("Add a student whom a sponsor pays for", "#fund")),
    row_forms="caseload_forms.html",
    empty="No student is assigned to you yet, or none by these filters. Start the funding for one below.",
)
CASELOAD_PURCHASES = RecordList(
    path="/caseload/purchases",
    title="Purchases of the caseload",
    service="checkout",
    api=PURCHASES.api,
    columns=(
        Column("created_at", "Bought", "day"),
        Column("name", "Item"),
        Column("student_id", "Student's id", link="/caseload/purchases?user_id={student_id}"),
        Column("payer", "Payer"),
        Column("funding_source", "Sponsor"),
        Column("status", "Status", "words"),
        Column("reason", "Reason", "words"),
        Column("amount", "Price", "amount"),
        Column("co_pay", "Co-pay", "amount"),
        Column("paid", "Paid", "amount"),
        Column("due", "Due", "amount"),
    ),
    filters=PURCHASES.filters,
    orders=PURCHASES.orders,
    exported=PURCHASES.exported,
    others=(("Caseload", "/caseload"),),
    row_forms="sponsored_purchase_forms.html",
)
SPONSOR_INVOICES = RecordList(
    path="/sponsor/{token}",
    file="invoices",
    title="Invoices",
    service="checkout",
    api="/api/sponsor-statements/{token}",
    columns=(
        Column("created_at", "Invoiced", "day"),
        Column("student", "Student"),
        Column("program", "Program"),
        Column("authorization_number", "Authorization"),
        Column("period_start", "Training from", "day"),
        Column("period_end", "Training until", "day"),
        Column("amount", "Amount", "amount"),
        Column("state", "State", "stage"),
    ),
    filters=(Filter("open", "Open", "yes_no"), Filter("authorization_number", "Authorization number"), _ITEM),
    orders=PURCHASES.orders,
    exported=("id",),
    row_forms="sponsor_invoice_links.html",
    note="A student is enrolled as soon as their invoice is paid, and their co-pay if they have one. Keep the address "
    "of this page to yourselves: it needs no password.",
)

STAFF_LISTS = (CASELOAD, CASELOAD_PURCHASES, SPONSOR_INVOICES)
