"""An erased student is in no table, queue, log or mail; the books still balance; and no event brings them back."""

from __future__ import annotations

import asyncio
import json
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import asyncpg
from tests.journeys.harness import BARBER, School, Student, unique
from tests.journeys.search import occurrences
from tests.journeys.test_operator_command import bursar
from tests.journeys.test_payment_flows import MONTH, advance, charge_attempted, confirm, intent, paid_installments
from tests.waiting import until
from tests.webhook_gateway import stripe_events

NAME = "Quendelin Vanishwater"
PHONE = "+15550987612"
STREET = "77 Disappearing Lane"
STUDENT_COLUMNS = """
    SELECT columns.table_name, column_name FROM information_schema.columns
    JOIN pg_class ON relname = columns.table_name AND NOT relispartition AND relnamespace = 'public'::regnamespace
    WHERE table_schema = 'public' AND column_name IN ('student_id', 'referrer_id', 'person_id')
"""


async def fetch(school: School, service: str, query: str, *values: Any) -> list[Any]:
    connection = await asyncpg.connect(school.stack.databases[service].url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


def needles(student: Student) -> tuple[str, ...]:
    return "Vanishwater", student.person.email, PHONE, STREET


async def buys_by_every_route(school: School, student: Student) -> None:
    """A card payment with a refund, a plan with a missed installment, a sponsor, and a failed attempt elsewhere."""
    await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")
    plan = await intent(student, "/api/enrollments", {"product_id": "dsp", "user_id": str(student.id)})
    await confirm(student, plan["stripe_client_secret"], name=NAME)
    await paid_installments(student, "dsp", 1)
    (intended,) = await fetch(
        school,
        "checkout",
        "SELECT stripe_customer_id FROM customers WHERE student_id = $1",
        student.id,
    )
    await school.stripe(f"/customers/{intended[0]}/fail_next_charges", {"times": 1})
    await advance(school, MONTH)
    await charge_attempted(student, "dsp", 1)
    case_manager = school.staff("case_manager")
    body = {
        "studentId": str(student.id),
        "programId": BARBER,
        "programSlug": BARBER,
        "fundingSource": "WIOA",
        "studentEmail": student.person.email,
        "studentName": NAME,
    }
    answer = await case_manager.post("checkout", "/api/funding/create-checkout", body)
    assert answer.is_success, answer.text
    await school.stripe(f"/invoices/{answer.json()['sessionId']}/pay", {"method": "card"})
    await student.enrollment_becomes("active", BARBER)
    await student.milady_becomes("enrolled")
    await student.mailed("welcome", "receipt")


async def late_events(school: School, student: Student) -> None:
    """Stripe reports more about the student's money, with all that it knows of the payer."""
    (payment, *_) = await fetch(
        school,
        "checkout",
        "SELECT stripe_payment_intent_id, stripe_charge_id, purchase_id, amount, paid_at FROM payments"
        " WHERE student_id = $1 AND stripe_charge_id IS NOT NULL ORDER BY created_at",
        student.id,
    )
    person = {
        "email": student.person.email,
        "name": NAME,
        "phone": PHONE,
        "address": {"line1": STREET, "city": "Vanishwater", "postal_code": "12345"},
    }
    ids = {"payment_intent": payment["stripe_payment_intent_id"], "id": payment["stripe_charge_id"]}
    amounts = {"amount": payment["amount"], "amount_captured": payment["amount"]}
    metadata = {"purchase_id": str(payment["purchase_id"]), "student_id": str(student.id), "note": NAME}
    charge = stripe_events.charge(
        **ids, billing_details=person, receipt_email=person["email"], description=NAME, **amounts
    )
    session = stripe_events.session(
        amount_total=payment["amount"],
        id=unique("cs_test"),
        payment_intent=payment["stripe_payment_intent_id"],
        customer_details=person,
        metadata={**stripe_events.OUR_METADATA, **metadata},
    )
    for type_, thing in (
        ("charge.updated", charge),
        ("charge.succeeded", charge),
        ("checkout.session.completed", session),
        ("customer.updated", stripe_events.customer(**person, metadata=metadata)),
    ):
        event = stripe_events.event(type_, thing, id=unique("evt"))
        event["created"] = int(payment["paid_at"].timestamp()) + 60
        await school.webhook(event, times=2)


async def dead_letter(school: School, student: Student) -> None:
    """An event that names the student and cannot be read."""
    event_id = unique("broken")
    data = {"student_id": str(student.id), "contact": {"email": student.person.email, "name": NAME}, "refs": 7}
    headers = {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": event_id,
        "cloudEvents:source": "checkout",
        "cloudEvents:type": "payment.succeeded.v1",
        "cloudEvents:subject": str(student.id),
        "cloudEvents:time": datetime.now(UTC).isoformat(),
    }
    async with await aio_pika.connect(school.stack.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("enrollment.queues", ensure=False)
        message = aio_pika.Message(json.dumps(data).encode(), headers=dict(headers), message_id=event_id)
        await exchange.publish(message, "enrollment.payments")

        async def dead() -> bool:
            queue = await channel.get_queue("enrollment.payments.dead")
            return bool(queue.declaration_result.message_count)

        await until(dead, what="the dead letter")


async def books(school: School, student: Student) -> list[tuple[Any, ...]]:
    """Amounts, numbers and dates of payments and numbered documents."""
    payments = (
        "SELECT id, amount, tax, refunded, currency, status, paid_at FROM payments WHERE student_id = $1 ORDER BY id"
    )
    documents = "SELECT number, content -> 'paid', issued_at FROM documents WHERE student_id = $1 ORDER BY number"
    found = [await fetch(school, "checkout", query, student.id) for query in (payments, documents)]
    return [tuple(row) for rows in found for row in rows]


async def replay_everything(school: School) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "webhook_gateway.replay", "--since", (datetime.now(UTC) - timedelta(days=2)).isoformat()),
        env=school.stack.processes["webhook_gateway"].command.env,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def nothing_due(school: School) -> None:
    """Waits until the gateway has published everything, and every service's outbox is empty."""

    async def quiet() -> bool:
        counts = [(await fetch(school, "webhook_gateway", "SELECT count(*) FROM journal_due"))[0][0]]
        for service in school.stack.databases:
            counts.append((await fetch(school, service, "SELECT count(*) FROM outbox_due"))[0][0])
        return not any(counts)

    await until(quiet, seconds=60, what="an empty journal_due and empty outboxes")
    await asyncio.sleep(2)


async def test_an_erased_student_is_nowhere_and_no_event_brings_them_back(school: School) -> None:
    student, admin = school.student(NAME), school.staff("admin")
    await buys_by_every_route(school, student)
    await dead_letter(school, student)
    path = f"/api/admin/students/{student.id}/erasure"

    refused = await admin.post("checkout", path, {})
    assert (refused.status_code, refused.json()["code"]) == (409, "erasure_blocked"), refused.text
    assert "installment_unpaid" in refused.json()["blocks"]
    enrollment = await student.enrollment("dsp")
    assert enrollment is not None
    reason = {"reason": f"{NAME} has moved away"}
    canceled = await admin.post("checkout", f"/api/admin/enrollments/{enrollment['id']}/cancel", reason)
    assert canceled.is_success, canceled.text
    await student.enrollment_becomes("withdrawn", "dsp")
    await school.deliveries_done()
    await nothing_due(school)

    before = await occurrences(school, *needles(student)[:2])
    stored = {place.partition(".")[0] for found in before.values() for place in found}
    assert {"webhook_gateway", "checkout", "enrollment", "milady_integration", "notifications", "reporting"} <= stored
    kept = await books(school, student)
    assert len(kept) > 4

    async def accepted() -> bool:
        answer = await admin.post("checkout", path, {})
        assert answer.status_code in (202, 409), answer.text
        return answer.status_code == 202

    await until(accepted, seconds=60, what="nothing that stands in the way of the erasure")

    async def complete() -> dict[str, Any] | None:
        found: dict[str, Any] = await admin.get("checkout", path)
        return found if found["complete"] else None

    erasure = await until(complete, seconds=60, what="all services have erased")
    assert {each["service"] for each in erasure["services"] if each["erased_at"]} == {
        name.replace("_", "-") for name in school.stack.databases
    }
    await school.deliveries_done()
    await nothing_due(school)
    mails = len(school.stack.mail.messages())

    assert await occurrences(school, *needles(student)) == {}
    assert await books(school, student) == kept

    await replay_everything(school)
    await late_events(school, student)
    contact = {"email": student.person.email, "name": NAME}
    url = f"{school.stack.url('checkout')}/api/admin/students/{student.id}/contact"
    answer = await school.http.put(url, json=contact, headers=admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "student_erased")
    again = {"programName": "hvac", "programSlug": "hvac", "price": 5000, "paymentType": "full"}
    answer = await student.post("checkout", "/api/create-checkout-session", again)
    assert (answer.status_code, answer.json()["code"]) == (409, "student_erased"), answer.text
    await nothing_due(school)

    assert await occurrences(school, *needles(student)) == {}
    assert await books(school, student) == kept
    for mail in school.stack.mail.messages()[mails:]:
        assert "Vanishwater" not in mail.as_string() and student.person.email not in mail.as_string()
    chain = await admin.get("reporting", "/api/admin/audit/verify")
    assert chain["holds"], chain
    invariant = await admin.get("reporting", "/api/admin/invariant", student_id=str(student.id))
    assert invariant["holds"], invariant


async def test_a_student_without_any_row_cannot_be_erased(school: School) -> None:
    answer = await school.staff("admin").post("checkout", f"/api/admin/students/{uuid4()}/erasure", {})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_student")


async def test_the_export_has_every_table_with_rows_of_the_student(school: School, tmp_path: Path) -> None:
    """Every table of every service that has a column with the student's id, and facts and raw events."""
    student = school.student()
    await student.buys("cpr")
    await student.enrollment_becomes("active", "cpr")
    await student.mailed("welcome", "receipt")
    await nothing_due(school)
    stored = {
        (service, table, column): (
            await fetch(school, service, f'SELECT count(*) FROM "{table}" WHERE "{column}"::text = $1', str(student.id))
        )[0][0]
        for service in school.stack.databases
        for table, column in await fetch(school, service, STUDENT_COLUMNS)
    }  # before: the export itself is recorded
    archive = tmp_path / "student.zip"
    code, output = await bursar(school.stack, "export", str(student.id), "--to", str(archive), "--json")
    assert code == 0, output
    with zipfile.ZipFile(archive) as written:
        exported = {
            service: json.loads(written.read(f"{'admin' if service == 'webhook_gateway' else service}.json"))
            for service in school.stack.databases
        }
        assert any(name.startswith("documents/receipt-") for name in written.namelist())
    for (service, table, _), count in stored.items():
        if (service, table) != ("notifications", "documents"):  # the receipts are in the archive as PDF
            assert len(exported[service].get(table, ())) >= count, f"{service}.{table}"
    assert exported["webhook_gateway"]["journal_events"]
    assert all(exported[service]["facts"] for service in ("checkout", "enrollment", "notifications"))
    assert student.person.email in json.dumps(exported["checkout"]["contacts"])
