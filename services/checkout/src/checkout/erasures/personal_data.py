"""What checkout stores about students. Payments and numbered documents stay, with amounts, dates and the student's id;
names, addresses and what people have written themselves go."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, func, or_, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from checkout.catalog.tables import promotion_codes, redemptions
from checkout.erasures.tables import erasure_receipts, erasures
from checkout.installments.tables import cancellations, installments, manual_payments
from checkout.memberships.tables import memberships
from checkout.payments.tables import disputes, payments, purchase_ends, refund_requests, refunds
from checkout.purchases.customer_events import DELETION
from checkout.purchases.tables import (
    authorizations,
    contacts,
    customers,
    enrollment_progress,
    enrollments,
    funding_payment_changes,
    funding_payments,
    purchases,
    unmatched_payments,
)
from checkout.receipts.tables import documents
from checkout.schema import overlaps
from kit.db.caseload import caseload
from kit.jobs.jobs import NewJob, put_all
from kit.personal_data.declaration import Person, PersonalData, PersonalTable

_DOCUMENT = func.jsonb_set(
    func.jsonb_set(documents.c.content, text("'{buyer}'"), text("'{}'::jsonb")),
    text("'{method}'"),
    func.coalesce(
        func.to_jsonb(func.regexp_replace(documents.c.content["method"].astext, r"( \(| ending in ).*$", "")),
        text("'null'::jsonb"),
    ),
)
"""The buyer's name and address, and the bank and the number of the card or account (receipts.domain.method_name)."""

TABLES = (
    PersonalTable(
        table=purchases,
        emptied={
            "session_params": None,
            "client_secret": None,
            "checkout_url": None,
            "authorization_number": None,
            "cancel_reason": None,
            "acceptance_reason": None,
        },
    ),
    PersonalTable(
        table=payments,
        emptied={"method_details": payments.c.method_details.op("-")(text("'last4'")).op("-")(text("'bank'"))},
    ),
    PersonalTable(table=refunds, emptied={"reason": ""}),
    PersonalTable(table=refund_requests, emptied={"reason": "", "note": None}),
    PersonalTable(table=disputes),
    PersonalTable(table=purchase_ends, emptied={"reason": ""}),
    PersonalTable(table=installments, emptied={"client_secret": None, "pay_url": None, "pay_page": None}),
    PersonalTable(
        table=manual_payments,
        emptied={"notes": None, "transaction_reference": text("'erased ' || id")},
    ),
    PersonalTable(table=cancellations, emptied={"reason": ""}),
    PersonalTable(table=memberships),
    PersonalTable(table=redemptions),
    PersonalTable(table=promotion_codes, person="referrer_id"),
    PersonalTable(table=documents, emptied={"content": _DOCUMENT}),
    PersonalTable(table=authorizations, deleted=True),
    PersonalTable(table=funding_payments),
    PersonalTable(table=funding_payment_changes),
    PersonalTable(table=enrollments),
    PersonalTable(table=enrollment_progress),
    PersonalTable(table=contacts, deleted=True),
    PersonalTable(table=customers, deleted=True),
    PersonalTable(table=unmatched_payments, emptied={"email": None}),
    PersonalTable(table=caseload),
    PersonalTable(table=erasures),
    PersonalTable(table=erasure_receipts),
)


async def erase_unmatched(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    """Payments that nobody has assigned to the student, although they are theirs."""
    own = or_(unmatched_payments.c.student_id == person.id, overlaps(unmatched_payments.c.refs, person.identifiers))
    statement = update(unmatched_payments).where(own, unmatched_payments.c.email.is_not(None)).values(email=None)
    return {"unmatched_payments": (await db.execute(statement)).rowcount}


async def delete_customers(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    """With those that only facts name. The job that deletes them at Stripe is enqueued with it, so the event of that
    replaces nobody's customer."""
    own = delete(customers).where(customers.c.student_id == person.id).returning(customers.c.stripe_customer_id)
    deleted = list(await db.scalars(own))
    theirs = {*deleted, *(each for each in person.identifiers if each.startswith("cus_"))}
    await put_all(
        db, [NewJob(kind=DELETION, key=f"{each}/deletion", payload={"customer": each}) for each in sorted(theirs)]
    )
    return {"customers": len(deleted)}


async def erase(db: AsyncConnection, person: Person) -> Mapping[str, int]:
    return {**await erase_unmatched(db, person), **await delete_customers(db, person)}


PERSONAL = PersonalData(tables=TABLES, erase=erase)
