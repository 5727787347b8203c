"""Sponsors: an invoice, a row that follows the payment, and an audit trail of each change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from tests.checkout.sandbox import metadata_of
from tests.checkout.service import CASE_MANAGER, FINANCE, FUND, PUBLIC, Service, bearer, wanted
from tests.databases import api_database

from contracts.envelope import Envelope
from contracts.money import usd
from contracts.payments import PaymentPending, PaymentRefs, PaymentRefunded, PaymentSucceeded


async def _changes(service: Service, payment: UUID) -> list[dict[str, Any]]:
    return await service.rows(
        "SELECT * FROM funding_payment_changes WHERE funding_payment_id = :id ORDER BY id", id=payment
    )


async def _intent_of(service: Service, invoice_id: str) -> str:
    """The id of the payment intent that pays the invoice."""
    links = await service.sandbox.api.invoice_payments.list_async({"invoice": invoice_id})
    return str(links.data[0].payment.payment_intent)


async def test_a_sponsor_gets_an_invoice_and_a_link(service: Service) -> None:
    student, caller, program_id = uuid4(), uuid4(), str(uuid4())
    body = {
        "studentId": str(student),
        "programId": program_id,
        "programSlug": "barber-apprenticeship",
        "fundingSource": "WIOA",
    }
    answer = await service.call("POST", f"{FUND}/", json=body, headers=bearer("case_manager", caller))
    assert answer.status_code == 200, answer.text
    invoice, purchase = await service.invoice(student), await service.purchase(student)
    assert answer.json() == {"ok": True, "url": purchase["checkout_url"], "sessionId": invoice.id}
    assert answer.json()["url"].startswith(f"{PUBLIC}/pay/")
    assert (invoice.status, invoice.amount_due, invoice.currency) == ("open", 489_000, "usd")
    assert (invoice.collection_method, invoice.customer_email) == ("send_invoice", FINANCE)
    (installment,) = await service.rows("SELECT * FROM installments WHERE purchase_id = :id", id=purchase["id"])
    metadata = {
        "purchase_id": str(purchase["id"]),
        "student_id": str(student),
        "program_id": program_id,
        "program_slug": "barber-apprenticeship",
        "program_name": "Barber Apprenticeship",
        "provider": "milady",
        "program_kind": "program",
        "price": "489000",
        "price_currency": "usd",
        "payer": "sponsor",
        "funding_source": "WIOA",
        "installment": f"{installment['id']}:1",
    }
    assert metadata_of(invoice) == metadata
    assert set(invoice.to_dict()["payment_settings"]["payment_method_types"]) == {"card", "us_bank_account", "link"}

    row = await service.funding(student)
    assert row["id"] == purchase["id"]
    assert (row["program_id"], row["funding_source"], row["status"]) == (program_id, "WIOA", "created")
    assert (row["amount"], row["paid_at"], row["stripe_payment_intent_id"]) == (Decimal("4890.00"), None, None)

    (event,) = await service.published(student, "purchase.created.v1")
    assert (event["payer"], event["funding_source"]) == ("sponsor", "WIOA")
    assert (event["checkout_url"], event.get("expires_at")) == (answer.json()["url"], None)
    assert event["payer_contact"] == {"email": FINANCE, "name": "Workforce Innovation and Opportunity Act"}

    await service.sandbox.operate(f"/invoices/{invoice.id}/pay")
    await service.deliver_stripe_events(student)
    await service.deliver_stripe_events(student)
    row = await service.funding(student)
    assert row["status"] == "paid"
    assert row["stripe_payment_intent_id"].startswith("pi_")
    assert row["paid_at"] is not None
    changes = await _changes(service, row["id"])
    made, invoiced, settled, *_ = changes
    assert [change["operation"] for change in (made, invoiced, settled)] == ["insert", "update", "update"]
    assert made["actor"] == invoiced["actor"] == f"case_manager:{caller}"
    assert settled["actor"].startswith("event:evt_")
    assert (made["old"], made["new"]["status"]) == (None, "created")
    assert invoiced["old"]["stripe_invoice_id"] is None
    assert invoiced["new"]["stripe_invoice_id"] == invoice.id
    assert (settled["old"]["status"], settled["new"]["status"]) == ("created", "paid")
    assert made["changed_at"] <= invoiced["changed_at"] <= settled["changed_at"]


async def test_a_program_without_a_total_cost(service: Service) -> None:
    slug, student = f"cheap-{uuid4().hex[:6]}", uuid4()
    assert (await service.admin("POST", "/api/admin/programs", slug=slug, name="X", price=900)).status_code == 201
    assert (await service.fund(student, slug=slug)).status_code == 200
    assert (await service.invoice(student)).amount_due == 29_500
    assert (await service.funding(student))["amount"] == Decimal("295.00")


async def test_a_sponsors_own_finance_mail(service: Service) -> None:
    code, student = f"ACME-{uuid4().hex[:6].upper()}", uuid4()
    await service.admin("POST", "/api/admin/sponsors", code=code, name="Acme", finance_email="bills@acme.example")
    assert (await service.fund(student, role="admin", fundingSource=code.lower())).status_code == 200
    invoice = await service.invoice(student)
    assert invoice.customer_email == "bills@acme.example"
    assert metadata_of(invoice)["funding_source"] == code
    await service.admin("PATCH", f"/api/admin/sponsors/{code}", active=False)
    refused = await service.fund(uuid4(), fundingSource=code)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_funding_source")


async def test_a_sponsor_without_a_finance_email(service: Service) -> None:
    app = service.app_with(sponsor_finance_email=None)
    body = {"studentId": str(uuid4()), "programId": "p", "programSlug": "dsp", "fundingSource": "JRI"}
    answer = await service.call("POST", FUND, app=app, json=body, headers=bearer("admin", uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (409, "no_finance_email")


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"fundingSource": "LOTTERY"}, 422, "unknown_funding_source"),
        ({"programSlug": "surgery"}, 404, "unknown_program"),
        ({"studentId": "not-a-uuid"}, 422, "invalid_request"),
        ({"studentId": None}, 422, "invalid_request"),
        ({"fundingSource": ""}, 422, "invalid_request"),
    ],
)
async def test_refusals(service: Service, wrong: dict[str, Any], status: int, code: str) -> None:
    answer = await service.fund(uuid4(), **wrong)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_two_names_for_two_programs(service: Service) -> None:
    programs = {p["slug"]: p["id"] for p in (await service.call("GET", "/api/programs")).json()["items"]}
    refused = await service.fund(uuid4(), slug="dsp", programId=programs["hvac"])
    assert (refused.status_code, refused.json()["code"]) == (422, "program_mismatch")
    assert (await service.fund(uuid4(), slug="dsp", programId=programs["dsp"])).status_code == 200


@pytest.mark.parametrize("role", ["student", "specialist"])
async def test_other_roles_may_not(service: Service, role: str) -> None:
    answer = await service.fund(uuid4(), role=role)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await service.call("POST", FUND, json={})).status_code == 401


async def test_the_same_request_twice_is_one_purchase(service: Service) -> None:
    student = uuid4()
    answers = await asyncio.gather(*(service.fund(student) for _ in range(4)))
    assert len({answer.json()["sessionId"] for answer in answers}) == 1
    assert len(await _changes(service, (await service.funding(student))["id"])) == 2


async def test_another_sponsor_voids_the_first_invoice(service: Service) -> None:
    student = uuid4()
    first = (await service.fund(student, fundingSource="WIOA")).json()["sessionId"]
    second = (await service.fund(student, fundingSource="WRG")).json()["sessionId"]
    rows = await service.rows(
        "SELECT funding_source, status FROM funding_payments WHERE student_id = :s ORDER BY created_at", s=student
    )
    assert [(row["funding_source"], row["status"]) for row in rows] == [("WIOA", "failed"), ("WRG", "created")]
    statuses = [(await service.sandbox.api.invoices.retrieve_async(id)).status for id in (first, second)]
    assert statuses == ["void", "open"]


async def test_student_and_sponsor_do_not_both_pay(service: Service) -> None:
    student = uuid4()
    await service.buy(student, wanted("dsp", 4325))
    assert (await service.fund(student)).status_code == 200, "the student's own page is closed"
    (session,) = await service.sandbox.sessions_of(student)
    assert (session.status, (await service.invoice(student)).status) == ("expired", "open")
    refused = await service.buy(student, wanted("dsp", 4325))
    assert (refused.status_code, refused.json()["code"]) == (409, "sponsor_payment_open")


async def test_a_bank_debit_succeeds(service: Service) -> None:
    student = uuid4()
    await service.fund(student)
    invoice = await service.invoice(student)
    await service.sandbox.operate(f"/invoices/{invoice.id}/pay", method="us_bank_account", account="verified")
    await service.deliver_stripe_events(student)
    assert (await service.funding(student))["status"] == "created"
    await service.sandbox.operate(f"/payment_intents/{await _intent_of(service, invoice.id)}/settle")
    await service.deliver_stripe_events(student)
    assert (await service.funding(student))["status"] == "paid"


async def test_after_a_bank_debit_that_fails_the_invoice_can_still_be_paid(service: Service) -> None:
    student = uuid4()
    await service.fund(student)
    invoice = await service.invoice(student)
    await service.sandbox.operate(f"/invoices/{invoice.id}/pay", method="us_bank_account", account="failing")
    await service.deliver_stripe_events(student)
    await service.sandbox.operate(f"/payment_intents/{await _intent_of(service, invoice.id)}/fail")
    await service.deliver_stripe_events(student)
    assert (await service.funding(student))["status"] == "created"
    assert (await service.invoice(student)).status == "open"
    await service.sandbox.operate(f"/invoices/{invoice.id}/pay")
    await service.deliver_stripe_events(student)
    assert (await service.funding(student))["status"] == "paid"


async def test_the_row_is_the_same_in_any_order(service: Service) -> None:
    first = datetime(2026, 11, 21, 12, 0, 1, tzinfo=UTC)
    outcomes = set()
    for order in permutations(range(4)):
        student = uuid4()
        await service.fund(student)
        purchase = await service.purchase(student)
        invoice_id = (await service.funding(student))["stripe_invoice_id"]
        refs = PaymentRefs(payment_intent=f"pi_{student}", invoice=invoice_id)
        common: dict[str, Any] = {"refs": refs, "purchase_id": purchase["id"], "student_id": student}
        events = [
            (PaymentPending(**common), first - timedelta(days=3)),
            (PaymentSucceeded(**common, amount=usd(432_500)), first),
            (PaymentSucceeded(**common, amount=usd(432_500), method="us_bank_account"), first + timedelta(seconds=1)),
            (PaymentRefunded(refs=refs, total=usd(432_500), before=usd(0), of=usd(432_500)), first + timedelta(days=1)),
        ]
        envelopes = [
            Envelope(id=f"{student}/{n}", source="test", subject="s", time=events[n][1], data=events[n][0])
            for n in order
        ]
        await service.deliver(*envelopes, *envelopes)
        row = await service.funding(student)
        assert row["stripe_payment_intent_id"] == f"pi_{student}"
        outcomes.add((row["status"], row["paid_at"], (await service.purchase(student))["state"]))
    assert outcomes == {("paid", first, "withdrawn")}


async def test_a_refund_leaves_it_paid(service: Service) -> None:
    student = uuid4()
    await service.fund(student)
    invoice = await service.invoice(student)
    await service.sandbox.operate(f"/invoices/{invoice.id}/pay")
    intent = await service.sandbox.api.payment_intents.retrieve_async(await _intent_of(service, invoice.id))
    await service.sandbox.operate(f"/charges/{intent.latest_charge}/refund")
    await service.deliver_stripe_events(student)
    assert (await service.funding(student))["status"] == "paid"
    assert (await service.purchase(student))["state"] == "withdrawn"


# --- the table, as the database keeps it ------------------------------------------------------------------------------


async def test_the_row_has_the_required_columns(service: Service) -> None:
    columns = await service.rows(
        "SELECT column_name, data_type, column_default, is_nullable, numeric_precision, numeric_scale "
        "FROM information_schema.columns WHERE table_name = 'funding_payments'"
    )
    found = {column["column_name"]: column for column in columns}
    assert set(found) == {
        "id",
        "student_id",
        "program_id",
        "funding_source",
        "stripe_checkout_session_id",
        "stripe_payment_intent_id",
        "stripe_invoice_id",
        "status",
        "amount",
        "paid_at",
        "created_at",
        "updated_at",
    }
    assert found["funding_source"]["column_default"].startswith("'WIOA'")
    assert found["status"]["column_default"].startswith("'created'")
    assert (found["amount"]["data_type"], found["amount"]["numeric_precision"], found["amount"]["numeric_scale"]) == (
        "numeric",
        10,
        2,
    )
    indexes = await service.rows(
        "SELECT a.attname, i.indisunique FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
        "AND a.attnum = i.indkey[0] WHERE i.indrelid = 'funding_payments'::regclass AND NOT i.indisprimary"
    )
    assert {(row["attname"], row["indisunique"]) for row in indexes} == {
        ("student_id", False),
        ("program_id", False),
        ("status", False),
        ("stripe_checkout_session_id", True),
        ("stripe_invoice_id", True),
    }
    (forced,) = await service.rows(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'funding_payments'::regclass"
    )
    assert forced == {"relrowsecurity": True, "relforcerowsecurity": True}


TABLES = ["purchases", "funding_payments", "funding_payment_changes", "enrollments", "contacts"]


async def test_the_api_login_sees_the_callers_rows_only(service: Service) -> None:
    mine, other = uuid4(), uuid4()
    for student in (mine, other):
        assert (await service.fund(student)).status_code == 200
    api = api_database(service.server)

    async def seen(table: str, student_id: UUID | None = None, role: str | None = None) -> set[UUID]:
        async with api.transaction() if role is None else api.transaction_of(student_id=student_id, role=role) as db:
            return set((await db.execute(text(f"SELECT student_id FROM {table}"))).scalars())

    for table in TABLES:
        assert await seen(table) == set(), f"{table}: no setting, no rows"
        assert await seen(table, role="student") == set()
    for table in TABLES[:3]:
        assert await seen(table, mine, "student") == {mine}
        assert await seen(table, mine, "specialist") == {mine}
        assert await seen(table, CASE_MANAGER, "case_manager") >= {mine, other}
        assert await seen(table, uuid4(), "case_manager") == set()
        assert await seen(table, None, "admin") >= {mine, other}
    await api.close()


async def test_the_api_login_can_neither_write_for_others_nor_change_the_trail(service: Service) -> None:
    student = uuid4()
    await service.fund(student)
    api = api_database(service.server)

    async def run(statement: str, role: str) -> int:
        async with api.transaction_of(student_id=uuid4(), role=role) as db:
            return int((await db.execute(text(statement))).rowcount)

    assert await run("UPDATE funding_payments SET status = 'paid'", "student") == 0
    assert await run("SELECT * FROM facts", "case_manager") == 0, "only admins export"
    for statement, role in (
        (f"INSERT INTO funding_payments (student_id, program_id, amount) VALUES ('{student}', 'p', 1)", "student"),
        ("UPDATE funding_payment_changes SET actor = 'nobody'", "admin"),
        ("DELETE FROM funding_payment_changes", "admin"),
        (
            "INSERT INTO funding_payment_changes (funding_payment_id, student_id, actor, operation) "
            f"VALUES ('{student}', '{student}', 'me', 'update')",
            "admin",
        ),
        ("DELETE FROM funding_payments", "admin"),
        ("DELETE FROM purchases", "admin"),
        ("UPDATE enrollments SET status = 'withdrawn'", "admin"),
        ("DELETE FROM facts", "admin"),
        ("DELETE FROM outbox_messages", "admin"),
    ):
        with pytest.raises(DBAPIError):
            await run(statement, role)
    await api.close()


async def test_a_manual_change_in_the_database_records_its_login(service: Service) -> None:
    student = uuid4()
    await service.fund(student)
    row = await service.funding(student)
    await service.rows("UPDATE funding_payments SET status = 'paid' WHERE id = :id RETURNING id", id=row["id"])
    *_, last = await _changes(service, row["id"])
    assert (last["actor"], last["old"]["status"], last["new"]["status"]) == ("checkout", "created", "paid")
