"""Each message at most once, with any failure of the mail server: see docs/decisions/0006-mail-at-most-once.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from tests.notifications.harness import ADMIN, ANN, CONTACT, EMAIL, Harness, bodies, one, paid, subjects

from contracts.checkout import StudentUpdated
from contracts.people import Contact
from kit.jobs.jobs import Job
from notifications.delivery import DeliveryResult
from testkit.smtp import Fault

RECEIPT = "Receipt: 4,890.00 USD for Barber Apprenticeship"


async def statuses(harness: Harness) -> dict[str, str]:
    return {row["key"]: row["status"] for row in await harness.rows("recipient <> 'admin'")}


async def test_a_server_that_dies_after_storing_gets_it_once(harness: Harness) -> None:
    harness.mail.order(Fault.DROP_AFTER_DATA)
    await harness.receive(CONTACT, paid())
    mails = await harness.deliver_due()
    assert subjects(mails) == [RECEIPT]
    assert await statuses(harness) == {"receipt/pi_1": "unknown"}
    text, _ = bodies(one(mails, "may or may not have been delivered"))
    assert "Message: receipt" in text and "/resend" in text
    (row,) = await harness.rows("key = 'receipt/pi_1'")
    assert f"{row['id']}/1/notification.failed.v1" in await harness.published()
    await harness.receive(paid(checkout_session="cs_1", payment_intent="pi_1"))
    assert subjects(await harness.deliver_due()) == [RECEIPT], "nor when the payment is reported again"


async def test_a_server_that_dies_before_storing_leaves_it_unknown(harness: Harness) -> None:
    """To us it looks the same as the case above: no second mail is sent automatically, an admin decides."""
    harness.mail.order(Fault.DROP_BEFORE_STORE)
    await harness.receive(CONTACT, paid())
    mails = await harness.deliver_due()
    assert subjects(mails) == [] and len(subjects(mails, ADMIN)) == 1
    assert await statuses(harness) == {"receipt/pi_1": "unknown"}


async def test_a_relay_that_dies_after_the_hand_over_leaves_it_unknown(harness: Harness) -> None:
    await harness.receive(CONTACT, paid())
    job = await _taken(harness)
    harness.mail.order(Fault.DROP_AFTER_DATA)
    await harness.delivery.perform(job)  # and nothing is recorded: the process was killed
    assert (await harness.delivery.perform(job)).status == "unknown"
    assert len(harness.mail.messages()) == 1


async def test_a_relay_that_dies_after_the_answer_has_recorded_it(harness: Harness) -> None:
    await harness.receive(CONTACT, paid())
    job = await _taken(harness)
    for _ in range(2):
        assert await harness.delivery.perform(job) == DeliveryResult(status="sent")
    assert subjects(harness.mail.messages()) == [RECEIPT]


async def test_two_attempts_at_once_hand_over_one_mail(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease of a slow attempt expires, and another relay makes its own between its reading and its hand-over."""
    await harness.receive(CONTACT, paid())
    job = await _taken(harness)
    send = harness.delivery._mailer.send
    others: list[DeliveryResult] = []

    async def send_second(*args: Any, **keywords: Any) -> None:
        if not others:
            others.append(DeliveryResult(status="noop"))  # not again for the other attempt
            others.append(await harness.delivery.perform(job))
        await send(*args, **keywords)

    monkeypatch.setattr(harness.delivery._mailer, "send", send_second)
    assert (await harness.delivery.perform(job)).status == "noop"
    assert others[-1].status == "sent"
    assert subjects(harness.mail.messages()) == [RECEIPT]


async def _taken(harness: Harness) -> Job:
    async with harness.database.transaction() as connection:
        row = (await connection.execute(text("SELECT * FROM jobs"))).one()
    return Job(id=row.id, kind=row.kind, key=row.key, payload=row.payload, cause=None, attempt=1)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_temporary_rejection_is_retried(harness: Harness, times: int) -> None:
    harness.mail.order(Fault.REFUSE, times=times)
    await harness.receive(CONTACT, paid())
    assert subjects(await harness.deliver_due()) == [RECEIPT]
    assert await statuses(harness) == {"receipt/pi_1": "sent"}


async def test_an_unreachable_server_gets_it_when_it_is_back(harness: Harness) -> None:
    harness.mail.stop()
    await harness.receive(CONTACT, paid())
    job = await _taken(harness)
    with pytest.raises(Exception, match="smtp connection failed"):
        await harness.delivery.perform(job)
    assert await statuses(harness) == {"receipt/pi_1": "waiting"}
    harness.mail.start()
    assert subjects(await harness.deliver_due()) == [RECEIPT]


async def test_a_missing_mailbox_is_final_and_published(harness: Harness) -> None:
    harness.mail.order(Fault.REJECT)
    await harness.receive(CONTACT, paid())
    await harness.deliver_due()
    (row,) = await harness.rows("key = 'receipt/pi_1'")
    assert (row["status"], row["code"], row["attempts"]) == ("failed", "smtp_550", 1)
    assert f"{row['id']}/1/notification.failed.v1" in await harness.published()
    await harness.receive(paid(checkout_session="cs_1", payment_intent="pi_1"))
    assert subjects(await harness.deliver_due()) == [], "a new reference does not retry a missing mailbox"


async def test_a_slow_answer_counts(harness: Harness) -> None:
    harness.mail.order(Fault.SLOW, seconds=1.0)
    await harness.receive(CONTACT, paid())
    assert subjects(await harness.deliver_due()) == [RECEIPT]
    assert await statuses(harness) == {"receipt/pi_1": "sent"}


async def test_the_message_id_is_derived_from_the_cause(harness: Harness) -> None:
    await harness.receive(CONTACT, paid())
    (first,) = await harness.deliver_due()
    (row,) = await harness.rows()
    assert first["Message-ID"] == f"<{row['id']}@school.example.com>"
    assert first["Auto-Submitted"] == "auto-generated"


async def test_without_an_address_it_waits_and_alerts_the_admins(harness: Harness) -> None:
    await harness.receive(paid())
    mails = await harness.deliver_due()
    assert await statuses(harness) == {"receipt/pi_1": "no_contact"}
    assert "Message: receipt" in bodies(one(mails, "A message has no address to go to"))[0]
    await harness.receive(CONTACT)
    assert subjects(await harness.deliver_due()) == [RECEIPT]


async def test_an_address_that_arrives_in_time_alerts_nobody(harness: Harness) -> None:
    calm = Harness(harness.database, harness.mail, rules=replace(harness.rules, no_contact=timedelta(hours=1)))
    await calm.receive(paid())
    await calm.deliver_due()
    await calm.receive(CONTACT)
    mails = await calm.deliver_due()
    async with harness.database.transaction() as connection:
        await connection.execute(text("UPDATE jobs SET available_at = now() WHERE done_at IS NULL"))
    assert subjects(mails) == [RECEIPT] and len(await calm.deliver_due()) == 1
    (row,) = await calm.rows("recipient = 'admin'")
    assert row["status"] == "skipped"


async def test_the_payments_own_contact_ends_the_wait(harness: Harness) -> None:
    await harness.receive(paid(payment_intent="pi_1"))
    await harness.deliver_due()
    await harness.receive(paid(payment_intent="pi_1", checkout_session="cs_1", contact=Contact(email=EMAIL)))
    assert subjects(await harness.deliver_due()) == [RECEIPT]


async def test_the_latest_address_counts_in_any_order(harness: Harness) -> None:
    addresses = [
        harness.envelope(StudentUpdated(student_id=ANN, contact=Contact(email=f"{name}@student.example.com")))
        for name in ("old", "new")
    ]
    await harness.receive(addresses[1], addresses[0], paid())
    assert subjects(await harness.deliver_due(), "new@student.example.com") == [RECEIPT]


@pytest.mark.parametrize(
    "address",
    [
        "no-at-sign",
        "a@b@c.example.com",
        "ann@x.example.com\r\nBcc: all@x.example.com",
        "ann @x.example.com",
        "é@x.example.com",
        "a@" + "x" * 64,
    ],
)
async def test_an_invalid_address_fails_and_reaches_nobody(harness: Harness, address: str) -> None:
    await harness.receive(StudentUpdated(student_id=ANN, contact=Contact(email=address)), paid())
    mails = await harness.deliver_due()
    assert [mail["X-Envelope-To"] for mail in mails] == [ADMIN]
    (row,) = await harness.rows("recipient = 'student'")
    assert (row["status"], row["code"]) == ("failed", "address_invalid")


async def test_thirty_students_at_once_get_one_each(harness: Harness) -> None:
    students = [UUID(int=1000 + n) for n in range(30)]
    for n, student in enumerate(students):
        own = paid(n=n + 1).model_copy(update={"student_id": student})
        contact = Contact(email=f"s{n}@student.example.com")
        await harness.receive(own, StudentUpdated(student_id=student, contact=contact))
    mails = await harness.deliver_due()
    assert sorted(str(mail["X-Envelope-To"]) for mail in mails) == sorted(
        f"s{n}@student.example.com" for n in range(30)
    )
