"""What the school sells and who takes part: lists whose rows can be created and changed."""

from __future__ import annotations

from portal.record_form import Field, Record
from portal.record_list import Column, Filter, RecordList

KINDS = ("program", "track", "course", "product", "service", "merchandise", "bundle", "membership")
BY_TIME = (("-created_at", "newest first"), ("created_at", "oldest first"))
_BY_NAME = (("name", "by name"), ("-name", "by name, reversed"))
_AMOUNT_HELP = "In minor units: 2500 is $25.00."

ITEMS = Record(
    record_list=RecordList(
        path="/admin/items",
        title="Catalog",
        service="checkout",
        api="/api/admin/items",
        columns=(
            Column("name", "Name", link="/admin/items/{slug}"),
            Column("slug", "Slug"),
            Column("kind", "Kind"),
            Column("category", "Category"),
            Column("amount", "Price", "amount"),
            Column("active", "On sale", "yes_no"),
            Column("errors", "Errors"),
        ),
        filters=(
            Filter("kind", "Kind", "choice", KINDS),
            Filter("active", "On sale", "yes_no"),
            Filter("category", "Category"),
            Filter("owner_id", "Specialist's id"),
        ),
        orders=(*BY_TIME, *_BY_NAME, ("-price", "highest price first"), ("price", "lowest price first")),
        exported=("id", "total_cost", "annual_price", "provider", "tier", "owner_id", "created_at"),
        others=(("Add an item", "/admin/new/items"),),
    ),
    noun="Item",
    key="slug",
    fields=(
        Field("kind", "Kind", "choice", KINDS, required=True, only="new"),
        Field("slug", "Slug", required=True, only="new", help="Small letters, digits and hyphens. It does not change."),
        Field("name", "Name", required=True),
        Field("price", "Price", "price", required=True, help="Of a membership: each month."),
        Field("currency", "Currency", required=True, default="usd"),
        Field("active", "On sale", "yes_no", required=True, default="true"),
        Field("category", "Category"),
        Field("provider", "Outside course provider"),
        Field("taught", "Has an instructor", "yes_no", required=True, default="true"),
        Field("owner_id", "Specialist's id"),
        Field("total_cost", "Total cost", "price", help="What a sponsor pays, if it differs."),
        Field("tier", "Tier", help="Of a membership."),
        Field("annual_price", "Price each year", "price", help="Of a membership."),
        Field("includes", "Includes", "list", only="new", help="Of a bundle: the slugs of its parts."),
        Field(
            "auto_assign_payment_plan", "Payment plan by the school's rules", "yes_no", required=True, default="true"
        ),
        Field(
            "payment_plan.type",
            "Payment plan",
            "choice",
            ("full", "installments", "deposit_installments", "subscription"),
            help="Empty: by the school's rules.",
        ),
        Field("payment_plan.installments", "Number of installments", "integer"),
        Field("payment_plan.deposit_percent", "Deposit in percent", "integer"),
        Field("payment_plan.interval_days", "Days from one installment to the next", "integer", help="Empty: monthly."),
        Field("projects", "Projects", "projects", help="Of a track: titles, each followed by its steps as “- step”."),
    ),
)
PROMOTIONS = Record(
    record_list=RecordList(
        path="/admin/promotions",
        title="Promotions",
        service="checkout",
        api="/api/admin/promotions",
        columns=(
            Column("code", "Code", link="/admin/promotions/{code}"),
            Column("percent_off", "Percent off", "number"),
            Column("amount_off", "Amount off", "amount"),
            Column("uses", "Uses", "number", link="/admin/promotions/{code}/redemptions"),
            Column("most_uses", "Of at most", "number"),
            Column("valid_from", "From", "moment"),
            Column("valid_until", "Until", "moment"),
            Column("active", "Active", "yes_no"),
        ),
        filters=(Filter("active", "Active", "yes_no"),),
        orders=(
            *(*BY_TIME, ("code", "by code"), ("-code", "by code, reversed")),
            *(("-uses", "most used first"), ("uses", "least used first")),
        ),
        exported=("id", "kinds", "items", "most_per_student", "guest_holds", "referrer_id", "created_at"),
        others=(("Add a promotion", "/admin/new/promotions"),),
    ),
    noun="Promotion",
    key="code",
    fields=(
        Field("code", "Code", required=True, only="new"),
        Field("percent_off", "Percent off", "integer", help="Either this or an amount."),
        Field("amount_off", "Amount off", "integer", help=_AMOUNT_HELP),
        Field("currency", "Currency of the amount"),
        Field("kinds", "Kinds of items", "list", help=f"Empty: all. {', '.join(KINDS)}."),
        Field("items", "Items", "list", help="Their slugs. Empty: all."),
        Field("valid_from", "Valid from (UTC)", "moment"),
        Field("valid_until", "Valid until (UTC)", "moment"),
        Field("most_uses", "At most so many uses", "integer"),
        Field("most_per_student", "At most so many by one student", "integer"),
        Field("active", "Active", "yes_no", required=True, default="true"),
    ),
    related=(("Redemptions", "/admin/promotions/{code}/redemptions"),),
)
SPONSORS = Record(
    record_list=RecordList(
        path="/admin/sponsors",
        title="Sponsors",
        service="checkout",
        api="/api/admin/sponsors",
        columns=(
            Column("code", "Code", link="/admin/sponsors/{code}"),
            Column("name", "Name"),
            Column("finance_email", "Invoices to"),
            Column("active", "Active", "yes_no"),
            Column("created_at", "Added", "day"),
        ),
        orders=(*BY_TIME, *_BY_NAME),
        others=(("Add a sponsor", "/admin/new/sponsors"), ("Receivables", "/admin/receivables")),
    ),
    noun="Sponsor",
    key="code",
    fields=(
        Field("code", "Code", required=True, only="new", help="Capital letters and digits. It does not change."),
        Field("name", "Name", required=True),
        Field("finance_email", "Email address for invoices", "email"),
        Field("active", "Active", "yes_no", required=True, default="true"),
    ),
    related=(("Payments", "/admin/payments?funding_source={code}"),),
)
INSTRUCTORS = Record(
    record_list=RecordList(
        path="/admin/instructors",
        title="Instructors",
        service="instructor-assignment",
        api="/api/admin/instructors",
        columns=(
            Column("name", "Name", link="/admin/instructors/{id}"),
            Column("program_slug", "Program"),
            Column("specialty", "Specialty"),
            Column("students", "Students", "number", link="/admin/instructor-assignments?instructor_id={id}"),
            Column("capacity", "Capacity", "number"),
            Column("is_active", "Active", "yes_no"),
        ),
        filters=(Filter("program_slug", "Program (its slug)"), Filter("is_active", "Active", "yes_no")),
        orders=(*BY_TIME, *_BY_NAME, ("-students", "most students first"), ("students", "fewest students first")),
        exported=("id", "avatar", "created_at"),
        others=(("Add an instructor", "/admin/new/instructors"), ("Assignments", "/admin/instructor-assignments")),
    ),
    noun="Instructor",
    key="id",
    fields=(
        Field("name", "Name", required=True),
        Field("program_slug", "Program (its slug)", required=True, only="new"),
        Field("specialty", "Specialty"),
        Field("avatar", "Picture", help="Its URL."),
        Field("capacity", "Capacity", "integer", required=True, help="At most so many students."),
        Field("is_active", "Active", "yes_no", required=True, default="true"),
    ),
    related=(("Students", "/admin/instructor-assignments?instructor_id={id}"),),
    removal="Remove; the others take the students",
)

RECORDS = (ITEMS, PROMOTIONS, SPONSORS, INSTRUCTORS)
