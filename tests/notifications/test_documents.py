"""A receipt waits for its document and attaches it; after a timeout it goes out without one. One mail either way."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from sqlalchemy import text
from tests.notifications.harness import (
    CONTACT,
    NO_DELAYS,
    PDF,
    Harness,
    bodies,
    envelope_of,
    files,
    issued,
    one,
    paid,
    subjects,
)

from contracts.envelope import Event
from contracts.people import Contact
from kit.db.database import Database
from kit.runtime.failures import Permanent
from notifications import documents

RECEIPT = "Receipt: 4,890.00 USD for Barber Apprenticeship"
SPONSOR = "finance@sponsor.example.com"
FILE = {"receipt-R-2026-0001.pdf": PDF}


@pytest.fixture
def delayed(harness: Harness) -> Harness:
    """Waits for documents longer than any test."""
    return Harness(harness.database, harness.mail, rules=replace(NO_DELAYS, receipt_document=timedelta(hours=1)))


async def test_a_document_ends(harness: Harness) -> None:
    await harness.receive(issued())
    expiry = text(documents.expiry(timedelta(days=30)).statement)
    for age, left in ((29, 1), (31, 0)):
        async with harness.database.transaction() as db:
            await db.execute(
                text("UPDATE documents SET created_at = now() - make_interval(days => :age)"), {"age": age}
            )
            await db.execute(expiry, {"keep": timedelta(days=30), "chunk": 10})
        assert await harness.value("SELECT count(*) FROM documents") == left


STORY: tuple[Event, ...] = (CONTACT, paid(), paid(checkout_session="cs_1", payment_intent="pi_1"), issued())


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_a_receipt_goes_out_as_soon_as_its_document_arrives(delayed: Harness, order: tuple[int, ...]) -> None:
    """In any order, each event twice, with a delivery after each of them."""
    for n in (*order, *order):
        await delayed.receive(envelope_of(n, STORY[n]))
        mails = await delayed.deliver_due()
    assert subjects(mails) == [RECEIPT]
    receipt = one(mails, RECEIPT)
    assert files(receipt) == FILE
    for body in bodies(receipt):
        assert "R-2026-0001" in body and "receipt is attached" in body
    assert receipt.get_content_type() == "multipart/mixed"


async def test_without_a_document_a_receipt_waits(delayed: Harness) -> None:
    await delayed.receive(CONTACT, paid())
    assert await delayed.deliver_due() == []
    await delayed.receive(issued(number="R-2", n=2))
    assert await delayed.deliver_due() == [], "another purchase's document"


async def test_a_receipt_goes_out_without_a_document_and_a_late_one_makes_no_second_mail(harness: Harness) -> None:
    await harness.receive(CONTACT, paid())
    await harness.deliver_due()
    await harness.receive(issued())
    (mail,) = await harness.deliver_due()
    assert files(mail) == {} and "attached" not in bodies(mail)[0] and "number" not in bodies(mail)[0]


async def test_a_document_finds_its_payment_by_the_purchase_alone(delayed: Harness) -> None:
    """Checkout knows the invoice and we know its intent, but no event has linked them yet."""
    await delayed.receive(CONTACT, paid(payment_intent="pi_1"), issued(invoice="in_1"))
    assert files(one(await delayed.deliver_due(), RECEIPT)) == FILE


async def test_a_document_of_another_installment_is_not_attached(delayed: Harness) -> None:
    await delayed.receive(CONTACT, paid(100, payment_intent="pi_1"), issued(100, payment_intent="pi_2", number="R-2"))
    assert await delayed.deliver_due() == []
    await delayed.receive(paid(100, payment_intent="pi_2"))
    assert list(files((await delayed.deliver_due())[0])) == ["receipt-R-2.pdf"]


async def test_a_sponsor_gets_the_invoice(delayed: Harness) -> None:
    by_sponsor = paid(contact=Contact(email=SPONSOR)).model_copy(update={"payer": "sponsor"})
    invoice = issued(number="I-7").model_copy(update={"kind": "invoice", "filename": "invoice I/7.pdf"})
    await delayed.receive(CONTACT, by_sponsor, invoice)
    mails = await delayed.deliver_due()
    assert subjects(mails, SPONSOR) == [RECEIPT] and subjects(mails) == []
    assert files(mails[0]) == {"invoice-I-7.pdf": PDF}, "the file name is sanitized"
    for body in bodies(mails[0]):
        assert "Invoice number" in body and "I-7" in body and "invoice is attached" in body
        assert "Receipt number" not in body


async def test_tax_is_listed(harness: Harness) -> None:
    await harness.receive(CONTACT, paid().model_copy(update={"tax": paid(4_000).amount}))
    for body in bodies(one(await harness.deliver_due(), RECEIPT)):
        assert "Tax included" in body and "40.00 USD" in body


async def test_the_document_is_stored_once_and_hidden_from_the_api(harness: Harness, api_database: Database) -> None:
    await harness.receive(CONTACT, paid(), issued(), issued())
    await harness.deliver_due()
    (row,) = await harness.rows()
    assert row["attachment"] == "receipt-R-2026-0001.pdf"
    assert await harness.value("SELECT count(*) FROM documents") == 1
    assert await harness.value("SELECT count(*) FROM facts WHERE body ->> 'pdf' <> ''") == 0
    async with api_database.transaction_of(student_id=row["student_id"], role="admin") as db:
        denied = "SELECT has_table_privilege(current_user, 'documents', 'SELECT')"
        assert not await db.scalar(text(denied)), "the API cannot read documents"


async def test_an_invalid_document_is_rejected(harness: Harness) -> None:
    with pytest.raises(Permanent):
        await harness.receive(issued().model_copy(update={"pdf": "no base64!"}))
    assert await harness.value("SELECT count(*) FROM facts") == 0
