"""Students without an address: everything waits, and goes out once when somebody adds it."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from uuid import UUID, uuid4

import httpx
import pytest
from tests.notifications.harness import (
    ADMIN,
    ANN,
    CONTACT,
    LINKS,
    Harness,
    assigned,
    body_text,
    one,
    paid,
    step,
    subjects,
)
from tests.notifications.test_api import client
from tests.tokens import bearer

from contracts.checkout import PurchaseCreated, StudentUpdated
from contracts.enrollment import EnrollmentActivated, EnrollmentCompleted, EnrollmentPaused
from contracts.envelope import Event
from contracts.money import usd
from contracts.payments import PurchaseRecorded
from contracts.people import Contact, purchase_uuid

__all__ = ["client"]
SPONSOR = "finance@sponsor.example.com"
WELCOME = "Welcome to Barber Apprenticeship"
ENDPOINT = f"PUT /api/admin/students/{ANN}/contact"
SPONSORED: tuple[Event, ...] = (
    paid(contact=Contact(email=SPONSOR)).model_copy(update={"payer": "sponsor"}),
    step(EnrollmentActivated, 1),
    assigned(),
    LINKS,
)


@pytest.mark.parametrize("between", [False, True])
async def test_everything_that_waited_goes_out_once(harness: Harness, between: bool) -> None:
    for event in (*SPONSORED, step(EnrollmentCompleted, 2)):
        await harness.receive(event)
        if between:
            await harness.deliver_due()
    assert subjects(await harness.deliver_due()) == []
    later = CONTACT.model_copy(update={"contact": Contact(email="ann@student.example.com", name="Ann B. Archer")})
    await harness.receive(CONTACT, CONTACT)
    await harness.deliver_due()
    await harness.receive(later, *SPONSORED)
    assert subjects(await harness.deliver_due()) == [WELCOME, "You have completed Barber Apprenticeship"]


async def test_the_contact_of_a_payment_that_was_not_started_here_is_used_once_it_is_recorded(harness: Harness) -> None:
    """Its record may arrive after everything that it has led to."""
    id = purchase_uuid("pi_1")
    payment = paid(contact=Contact(email="ann@student.example.com")).model_copy(update={"purchase_id": id})
    activated = step(EnrollmentActivated, 1).model_copy(update={"purchase_id": id})
    await harness.receive(payment, activated, assigned(), LINKS)
    assert subjects(await harness.deliver_due()) == []
    recorded = PurchaseRecorded(
        refs=payment.refs, purchase_id=id, student_id=ANN, program=payment.program, price=payment.amount
    )
    await harness.receive(recorded)
    assert WELCOME in subjects(await harness.deliver_due(), "ann@student.example.com")


async def test_what_is_out_of_date_by_then_is_not_sent(harness: Harness) -> None:
    await harness.receive(*SPONSORED, step(EnrollmentPaused, 2, "past_due"))
    await harness.deliver_due()
    await harness.receive(step(EnrollmentActivated, 3))
    await harness.deliver_due()
    await harness.receive(CONTACT)
    assert subjects(await harness.deliver_due()) == [WELCOME]


async def test_one_alert_for_each_student_with_the_endpoint(harness: Harness) -> None:
    await harness.receive(*SPONSORED, step(EnrollmentCompleted, 2))
    mails = await harness.deliver_due()
    assert len(await harness.rows("status = 'no_contact'")) == 2
    assert subjects(mails, ADMIN) == ["[Admin] A message has no address to go to"]
    text = body_text(one(mails, "no address"))
    assert ENDPOINT in text and f"Student: {ANN}" in text and "everything that waits for it is sent once" in text


@pytest.mark.parametrize("order", list(permutations(range(2))))
async def test_a_contact_in_any_order(harness: Harness, order: tuple[int, ...]) -> None:
    events = (CONTACT, step(EnrollmentActivated, 1))
    for n in order:
        await harness.receive(events[n])
        await harness.deliver_due()
    assert subjects(await harness.deliver_due()) == [WELCOME]


async def test_another_students_contact_changes_nothing(harness: Harness) -> None:
    await harness.receive(*SPONSORED)
    await harness.deliver_due()
    await harness.receive(StudentUpdated(student_id=uuid4(), contact=Contact(email="bob@student.example.com")))
    await harness.deliver_due()
    assert len(await harness.rows("status = 'no_contact'")) == 1


async def test_resending_a_message_that_waits_is_refused_with_what_to_do(
    harness: Harness, client: httpx.AsyncClient
) -> None:
    await harness.receive(*SPONSORED)
    await harness.deliver_due()
    (row,) = await harness.rows("status = 'no_contact'")
    url = f"/api/admin/notifications/{row['id']}/resend"
    answer = await client.post(url, headers=bearer(uuid4(), "admin"))
    assert (answer.status_code, answer.json()["code"]) == (409, "no_contact")
    assert ENDPOINT in answer.json()["detail"]


async def test_a_sponsor_without_an_address_has_another_hint(harness: Harness, client: httpx.AsyncClient) -> None:
    asked = PurchaseCreated(
        purchase_id=UUID(int=1),
        student_id=ANN,
        program=step(EnrollmentActivated, 1).program,
        amount=usd(100),
        payer="sponsor",
        payment_type="full",
        checkout_url="https://checkout.example.com/pay/token",
    )
    await harness.receive(asked)
    mails = await harness.deliver_due()
    text = body_text(one(mails, "no address"))
    assert "Contact the sponsor directly" in text and ENDPOINT not in text
    (row,) = await harness.rows("status = 'no_contact'")
    answer = await client.post(f"/api/admin/notifications/{row['id']}/resend", headers=bearer(uuid4(), "admin"))
    assert answer.json()["code"] == "no_contact" and "sponsor" in answer.json()["detail"]


async def test_resending_a_scheduled_message_is_refused_with_the_reason(
    harness: Harness, client: httpx.AsyncClient
) -> None:
    from dataclasses import replace

    delayed = Harness(harness.database, harness.mail, rules=replace(harness.rules, receipt_document=timedelta(hours=1)))
    await delayed.receive(CONTACT, paid())
    (row,) = await delayed.rows()
    answer = await client.post(f"/api/admin/notifications/{row['id']}/resend", headers=bearer(uuid4(), "admin"))
    assert answer.status_code == 409 and "scheduled already" in answer.json()["detail"]


async def test_nobody_is_asked_for_the_address_of_an_erased_student(harness: Harness) -> None:
    insert = "INSERT INTO erased_identifiers (identifier) VALUES (:id) RETURNING 1"
    await harness.value(insert, id=str(ANN))
    await harness.receive(*SPONSORED)
    assert subjects(await harness.deliver_due()) == []
    rows = await harness.rows("recipient = 'student'")
    assert {(row["status"], row["code"]) for row in rows} == {("skipped", "student_erased")}
    assert await harness.value("SELECT count(*) FROM notifications WHERE template = 'alert-undelivered'") == 0
