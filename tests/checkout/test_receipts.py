"""Each payment has one receipt, each sponsor's purchase one invoice, and the numbers have no gaps."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import insert, text
from tests.checkout.installment_steps import School
from tests.checkout.pdf_text import text_of
from tests.checkout.service import CREATE, Service, bearer, wanted
from tests.deliveries import deliver_together, handle

from checkout.purchases.tables import purchases
from checkout.receipts.jobs import PUBLICATION
from contracts.envelope import Envelope
from contracts.money import Money, usd
from contracts.payments import PaymentPending, PaymentRefs, PaymentSucceeded
from contracts.people import Contact
from kit.jobs.jobs import Job

ISSUED = "receipt.issued.v1"


async def bought(service: Service, **other: Any) -> tuple[UUID, UUID]:
    """A student with an open purchase, without calling Stripe."""
    row = {
        "id": uuid4(),
        "student_id": uuid4(),
        "program_id": "p-1",
        "program_slug": "dsp",
        "program_name": "Direct Support Professional",
        "covers": ["dsp"],
        "list_price": 432_500,
        "amount": 432_500,
        "currency": "usd",
        "payer": "student",
        "payment_type": "full",
        "state": "session_open",
        **other,
    }
    async with service.database.transaction() as db:
        await db.execute(insert(purchases).values(**row))
    return row["student_id"], row["id"]


def paid(student: UUID, purchase: UUID, *, id: str = "", **other: Any) -> Envelope[PaymentSucceeded]:
    name = uuid4().hex[:12]
    data = PaymentSucceeded(
        **{
            "refs": PaymentRefs(payment_intent=f"pi_{name}", charge=f"ch_{name}"),
            "purchase_id": purchase,
            "student_id": student,
            "amount": usd(432_500),
            "method": "card",
            **other,
        }
    )
    id = id or f"evt_{name}/payment.succeeded.v1"
    return Envelope(id=id, source="test", subject=str(purchase), time=datetime(2026, 3, 1, 9, tzinfo=UTC), data=data)


async def _documents(service: Service, *purchases: UUID) -> list[dict[str, Any]]:
    return await service.rows(
        "SELECT * FROM documents WHERE purchase_id = ANY(:ids) ORDER BY series, serial", ids=list(purchases)
    )


async def only(service: Service, purchase: UUID) -> dict[str, Any]:
    (found,) = await _documents(service, purchase)
    return found


async def _receive(service: Service, student: UUID) -> tuple[dict[str, Any], str]:
    """The only published receipt, and its text."""
    (event,) = await service.published(student, ISSUED)
    pdf = base64.b64decode(event["pdf"])
    assert len(pdf) < 60_000
    return event, text_of(pdf)


def _are_consecutive(serials: Sequence[int]) -> bool:
    return list(serials) == list(range(serials[0], serials[0] + len(serials)))


async def test_a_card_payment_gets_its_receipt(service: Service) -> None:
    student = uuid4()
    headers = bearer("student", student, email="lukasz@example.org", name="Łukasz Żółć")
    assert (await service.call("POST", CREATE, json=wanted("dsp", 4325), headers=headers)).status_code == 200
    purchase = (await service.purchase(student))["id"]
    (session,) = await service.sandbox.sessions_of(student)
    await service.sandbox.pay(session.id)
    await service.deliver_stripe_events(student)
    await service.deliver_stripe_events(student)  # and again, as a replay would
    event, pdf = await _receive(service, student)
    row = await only(service, purchase)
    assert (event["document_id"], event["number"], event["kind"]) == (str(row["id"]), row["number"], "receipt")
    assert (event["amount"], event["purchase_id"]) == ({"amount": 432_500, "currency": "usd"}, str(purchase))
    assert event["filename"] == f"receipt-{row['number']}.pdf"
    assert row["number"] == f"R-{row['issued_at'].year}-{row['serial']:06d}"
    done = await service.sandbox.api.checkout.sessions.retrieve_async(session.id)
    assert {session.id, done.payment_intent} <= set(row["refs"]), "including those of later events"
    for part in (row["number"], "Received from Łukasz Żółć lukasz@example.org", "4,325.00 USD", str(student)):
        assert part in pdf, (part, pdf)
    (message,) = await service.rows(
        "SELECT headers->>'cloudEvents:id' AS id, headers->>'cloudEvents:subject' AS subject FROM outbox_messages "
        "WHERE headers->>'cloudEvents:id' = :id",
        id=f"{row['id']}/{ISSUED}",
    )
    assert message["subject"] == str(purchase)


async def test_each_installment_has_its_own_receipt(school: School) -> None:
    await school.started("dsp")
    for _ in range(6):
        await school.later(days=31)
    assert await school.statuses() == ["paid"] * 6
    events = await school.service.published(school.student, ISSUED)
    texts = [text_of(base64.b64decode(each["pdf"])) for each in events]
    assert sum(each["amount"]["amount"] for each in events) == 432_500
    so_far = 0
    for n, (event, pdf) in enumerate(zip(events, texts, strict=True), start=1):
        so_far += event["amount"]["amount"]
        assert f"installment {n} of 6 {Money(**event['amount'])}" in pdf
        assert "Total 4,325.00 USD" in pdf
        assert f"Paid so far, of 4,325.00 USD {usd(so_far)} Balance {usd(432_500 - so_far)}" in pdf
    assert len({each["number"] for each in events}) == 6


async def test_a_sponsor_who_pays_the_invoice_gets_a_receipt(service: Service) -> None:
    """The invoice is Stripe's: a second one would claim the same money twice."""
    student = uuid4()
    assert (await service.fund(student, slug="barber-apprenticeship")).status_code == 200
    invoice = await service.invoice(student)
    await service.sandbox.operate(f"/invoices/{invoice.id}/pay")
    await service.deliver_stripe_events(student)
    event, pdf = await _receive(service, student)
    row = await only(service, (await service.purchase(student))["id"])
    assert (event["kind"], row["number"][:2], invoice.id in row["refs"]) == ("receipt", "R-", True)
    for part in ("Received from Workforce Innovation and Opportunity Act", "Funding WIOA", str(student)):
        assert part in pdf, (part, pdf)


async def test_a_sponsor_who_pays_otherwise_gets_one_invoice(service: Service) -> None:
    student, purchase = await bought(service, payer="sponsor", funding_source="WIOA")
    await service.deliver(paid(student, purchase, amount=usd(100)))
    await service.deliver(paid(student, purchase, amount=usd(200)))
    event, pdf = await _receive(service, student)
    row = await only(service, purchase)
    assert (event["kind"], row["number"][:2]) == ("invoice", "I-")
    for part in ("Invoice", "Billed to Workforce Innovation and Opportunity Act", "Funding WIOA", str(student)):
        assert part in pdf, (part, pdf)


async def test_discount_and_tax_have_lines(service: Service) -> None:
    student, purchase = await bought(
        service, amount=400_000, promotion_code="EARLY", terms_version="7", terms_accepted_at=datetime.now(UTC),
        includes=[{"slug": "cpr", "id": "1", "name": "First aid"}],
    )  # fmt: skip
    contact = Contact(email="li@example.org", name="李 Ada")
    await service.deliver(paid(student, purchase, amount=usd(433_000), tax=usd(33_000), contact=contact))
    _, pdf = await _receive(service, student)
    for part in ("Discount (EARLY) -325.00 USD", "First aid", "Terms 7 accepted on", "Received from 李 Ada"):
        assert part in pdf, (part, pdf)
    assert "Tax 330.00 USD Total 4,330.00 USD Paid on 2026-03-01 by card 4,330.00 USD" in pdf


async def test_with_automatic_tax_the_receipt_waits_for_the_tax(service: Service) -> None:
    """The intent's event can arrive before the session's, and does not state the tax."""
    student, purchase = await bought(service, session_params={"automatic_tax": {"enabled": True}})
    intent = PaymentRefs(payment_intent=f"pi_{purchase.hex}")
    await service.deliver(paid(student, purchase, amount=usd(440_000), refs=intent))
    assert await service.published(student, ISSUED) == []
    session = PaymentRefs(payment_intent=f"pi_{purchase.hex}", checkout_session=f"cs_{purchase.hex}")
    await service.deliver(paid(student, purchase, amount=usd(440_000), refs=session, tax=usd(7_500)))
    _, pdf = await _receive(service, student)
    assert "75.00 USD" in pdf


@pytest.mark.parametrize("nothing", [{"amount": usd(0)}, {"method": "waiver"}])
async def test_without_money_there_is_no_receipt(service: Service, nothing: dict[str, Any]) -> None:
    student, purchase = await bought(service)
    await service.deliver(paid(student, purchase, **nothing))
    assert await _documents(service, purchase) == []


@pytest.mark.parametrize("method", ["cash", "check", "bank_transfer"])
async def test_a_manual_payment_gets_a_receipt(service: Service, method: str) -> None:
    student, purchase = await bought(service)
    refs = PaymentRefs(manual=str(uuid4()))
    await service.deliver(paid(student, purchase, refs=refs, method=method))
    _, pdf = await _receive(service, student)
    assert f"by {method.replace('_', ' ')}" in pdf


async def test_any_order_and_repetition_is_one_document(service: Service) -> None:
    for order in permutations(range(3)):
        student, purchase = await bought(service)
        name = purchase.hex
        facts = [
            paid(student, purchase, refs=PaymentRefs(payment_intent=f"pi_{name}", charge=f"ch_{name}")),
            paid(student, purchase, refs=PaymentRefs(payment_intent=f"pi_{name}", checkout_session=f"cs_{name}")),
            paid(student, purchase, refs=PaymentRefs(payment_intent=f"pi_{name}")),
        ]
        await service.deliver(*(facts[n] for n in order), *facts)
        await asyncio.gather(*(service.deliver(fact) for fact in facts))
        row = await only(service, purchase)
        assert set(row["refs"]) == {f"pi_{name}", f"ch_{name}", f"cs_{name}"}
        assert len(await service.published(student, ISSUED)) == 1


async def test_a_payment_that_is_connected_later_was_received_at_stripes_time(service: Service) -> None:
    student, purchase = await bought(service)
    received = datetime(2026, 2, 27, 23, 30, tzinfo=UTC)
    success = paid(student, purchase, student_id=None, purchase_id=None, as_of=received)
    connecting = PaymentPending(refs=success.data.refs, purchase_id=purchase, student_id=student)
    await service.deliver(success)
    await service.publish(connecting)
    assert datetime.fromisoformat((await only(service, purchase))["content"]["paid_at"]) == received


async def test_concurrent_events_of_a_purchase_are_one_document(service: Service) -> None:
    student, purchase = await bought(service)
    refs = PaymentRefs(payment_intent=f"pi_{purchase.hex}")
    await asyncio.gather(*(service.deliver(paid(student, purchase, refs=refs)) for _ in range(8)))
    assert len(await _documents(service, purchase)) == 1


async def test_forty_concurrent_receipts_leave_no_gap(service: Service) -> None:
    forty = [await bought(service) for _ in range(40)]
    await asyncio.gather(*(service.deliver(paid(*each)) for each in forty))
    rows = await _documents(service, *(purchase for _, purchase in forty))
    assert len(rows) == 40
    assert _are_consecutive([row["serial"] for row in rows])
    assert [row["issued_at"] for row in rows] == sorted(row["issued_at"] for row in rows), "numbers follow the dates"


async def test_the_receipts_of_a_batch_have_consecutive_numbers(service: Service) -> None:
    """Also of two purchases whose events belong together, because they are for one enrollment."""
    first = await bought(service)
    five = [first, await bought(service, student_id=first[0], state="paid"), *[await bought(service) for _ in range(3)]]
    await deliver_together(service.database, service.consumers, "checkout", [paid(*each) for each in five])
    rows = await _documents(service, *(purchase for _, purchase in five))
    assert {row["purchase_id"] for row in rows} == {purchase for _, purchase in five}
    assert _are_consecutive([row["serial"] for row in rows])
    for student, _ in five[1:]:
        events = await service.published(student, ISSUED)
        own = [row["number"] for row in rows if row["student_id"] == student]
        assert sorted(each["number"] for each in events) == own


async def test_a_receipt_is_rendered_as_of_its_issue_and_published_once(service: Service) -> None:
    student, purchase = await bought(service)
    await service.deliver(paid(student, purchase, amount=usd(100_000)))
    (row,) = await service.rows("SELECT * FROM jobs WHERE key = :key", key=str((await only(service, purchase))["id"]))
    job = Job(id=row["id"], kind=row["kind"], key=row["key"], payload=row["payload"], cause=None, attempt=1)
    before = await service.handlers[PUBLICATION].perform(job)
    await service.deliver(paid(student, purchase, amount=usd(332_500)))
    assert await service.handlers[PUBLICATION].perform(job) == before, "what was paid later is on the next receipt"
    for _ in range(2):
        await service.perform(student, PUBLICATION)
    events = await service.published(student, ISSUED)
    assert sorted(each["amount"]["amount"] for each in events) == [100_000, 332_500]
    assert before.pdf in {each["pdf"] for each in events}


async def test_a_rollback_leaves_no_gap(service: Service) -> None:
    first, broken, last = [await bought(service) for _ in range(3)]
    await service.deliver(paid(*first))
    event = paid(*broken)
    with pytest.raises(ZeroDivisionError):
        async with service.database.transaction() as db:
            await handle(db, service.consumers, "checkout", event)
            serial = (await db.execute(text("SELECT max(serial) FROM documents WHERE kind = 'receipt'"))).scalar_one()
            raise ZeroDivisionError
    await service.deliver(paid(*last))
    rows = await _documents(service, first[1], broken[1], last[1])
    assert [row["purchase_id"] for row in rows] == [first[1], last[1]]
    assert rows[1]["serial"] == serial == rows[0]["serial"] + 1
    await service.deliver(event)
    assert (await only(service, broken[1]))["serial"] == serial + 1


async def test_numbers_start_at_one_every_year(service: Service) -> None:
    student, purchase = await bought(service)
    event = paid(student, purchase)
    async with service.database.transaction() as db:
        await handle(db, service.consumers, "checkout", event, now=datetime(2031, 1, 1, tzinfo=UTC))
    assert (await only(service, purchase))["number"] == "R-2031-000001"


async def test_another_currency(service: Service) -> None:
    student, purchase = await bought(service)
    await service.deliver(paid(student, purchase, amount=Money(amount=650_000, currency="jpy")))
    _, pdf = await _receive(service, student)
    assert "650,000 JPY" in pdf
    assert "4,325.00 USD" in pdf
