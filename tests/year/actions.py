"""Actions of students, admins and banks during a year.

An action selects its object by `number` among those that exist at that time. It has no effect if there is none or if
the request is rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx
from tests.year.harness import Harness

ACCEPTED, DECLINED = "4242424242424242", "4000000000000002"
PROGRAMS = {"dsp": 4_325, "cpr": 575, "hvac": 5_000}
"""slug -> price in dollars"""
TRACKS = ("dp", "fsd")
COURSES = ("barbering-safety", "dp-and-fsd")
TIERS = ("student", "career")
Method = Literal["card", "declined_card", "bank_debit", "failing_bank_debit"]
Product = Literal["program", "plan", "track", "course", "enroll", "membership"]
Spelling = Literal["slug", "course", "track", "nobody"]
"""Of the metadata of a payment that another system has started."""


def select(rows: Sequence[dict[str, Any]], number: int) -> dict[str, Any] | None:
    """A row by number, modulo the number of rows; None without rows."""
    return rows[number % len(rows)] if rows else None


@dataclass(frozen=True)
class Buy:
    student: int
    product: Product
    number: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        student_id = students[self.student % len(students)]
        program, price = list(PROGRAMS.items())[self.number % len(PROGRAMS)]
        match self.product:
            case "program" | "plan":
                kind = "plan" if self.product == "plan" else "full"
                body = {"programSlug": program, "price": price, "paymentType": kind}
                await harness.call(student_id, "POST", "/api/create-checkout-session", body)
            case "track":
                body = {"track": TRACKS[self.number % len(TRACKS)]}
                await harness.call(student_id, "POST", "/api/payments/create-payment/", body)
            case "course":
                body = {"courseId": COURSES[self.number % len(COURSES)]}
                await harness.call(student_id, "POST", "/api/checkout", body)
            case "enroll":
                body = {"product_id": (*PROGRAMS, *TRACKS)[self.number % 5], "user_id": str(student_id)}
                await harness.call(student_id, "POST", "/api/enrollments", body)
            case "membership":
                body = {"membership": TIERS[self.number % 2], "interval": ("month", "year")[self.number // 2 % 2]}
                await harness.call(student_id, "POST", "/api/memberships", body)


@dataclass(frozen=True)
class Pay:
    """Pays an open checkout session or payment intent."""

    number: int
    method: Method

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        open_payments = await harness.checkout.rows(
            "SELECT stripe_checkout_session_id AS id, 'sessions' AS at FROM purchases WHERE state = 'session_open' "
            "UNION SELECT stripe_payment_intent_id, 'payment_intents' FROM payments "
            "WHERE status = 'requires_payment' AND stripe_payment_intent_id IS NOT NULL ORDER BY 1"
        )
        if (payment := select(open_payments, self.number)) is not None:
            await operate(harness, f"/{payment['at']}/{payment['id']}/pay", **payment_form(self.method))


def payment_form(method: Method) -> dict[str, Any]:
    match method:
        case "card" | "declined_card":
            return {"method": "card", "card": ACCEPTED if method == "card" else DECLINED, "email": "ada@example.org"}
        case "bank_debit" | "failing_bank_debit":
            account = "verified" if method == "bank_debit" else "failing"
            return {"method": "us_bank_account", "account": account, "email": "ada@example.org", "name": "Ada"}


async def operate(harness: Harness, path: str, **body: Any) -> httpx.Response:
    """An operator request to the Stripe sandbox, which may reject it."""
    async with httpx.AsyncClient(base_url=harness.sandbox.url, timeout=30, verify=False) as http:
        response = await http.post(f"/sandbox/api{path}", json=body)
    assert response.status_code < 500, response.text
    return response


@dataclass(frozen=True)
class Sponsor:
    """A case manager asks a sponsor to pay."""

    student: int
    number: int
    route: Literal["funding", "enroll"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        student_id = str(students[self.student % len(students)])
        program = list(PROGRAMS)[self.number % len(PROGRAMS)]
        if self.route == "funding":
            body = {"studentId": student_id, "programId": program, "programSlug": program, "fundingSource": "WIOA"}
            await harness.call_as_admin("POST", "/api/funding/create-checkout", body)
        else:
            body = {"product_id": program, "user_id": student_id, "funding_source": "WIOA"}
            await harness.call_as_admin("POST", "/api/enrollments", body)


@dataclass(frozen=True)
class PayElsewhere:
    """A payment that another system has started, with its metadata; it may name no student, or be too small."""

    student: int
    number: int
    spelling: Spelling
    short: bool

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        student_id = str(students[self.student % len(students)])
        program, price = list(PROGRAMS.items())[self.number % len(PROGRAMS)]
        metadata = {
            "slug": {"student_id": student_id, "program_id": program, "program_slug": program},
            "course": {"userId": student_id, "courseId": COURSES[0]},
            "track": {"student_id": student_id, "track": TRACKS[self.number % len(TRACKS)]},
            "nobody": {"program_id": program},
        }[self.spelling]
        amount = 50 if self.short else price * 100
        intent = await harness.sandbox.api.payment_intents.create_async(
            {"amount": amount, "currency": "usd", "metadata": metadata}
        )
        await operate(harness, f"/payment_intents/{intent.id}/pay", **payment_form("card"))


@dataclass(frozen=True)
class Settle:
    """An admin assigns an unmatched payment or refunds it, or accepts what was underpaid."""

    number: int
    decision: Literal["assign", "refund", "accept"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        if self.decision == "accept":
            rows = await harness.checkout.rows("SELECT id FROM purchases WHERE shortfall IS NOT NULL ORDER BY id")
            if (purchase := select(rows, self.number)) is not None:
                path = f"/api/admin/purchases/{purchase['id']}/accept"
                await harness.call_as_admin("POST", path, {"reason": "It was agreed."})
            return
        rows = await harness.checkout.rows("SELECT id FROM unmatched_payments WHERE resolved_at IS NULL ORDER BY id")
        if (payment := select(rows, self.number)) is None:
            return
        path = f"/api/admin/unmatched-payments/{payment['id']}"
        if self.decision == "assign":
            student_id = str(students[self.number % len(students)])
            item = list(PROGRAMS)[self.number % len(PROGRAMS)]
            await harness.call_as_admin("POST", f"{path}/assign", {"student_id": student_id, "item": item})
        else:
            await harness.call_as_admin("POST", f"{path}/refund", {"reason": "We do not know whose it is."})


@dataclass(frozen=True)
class PayInvoice:
    """Pays an open invoice on its hosted page."""

    number: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        open_invoices = await harness.sandbox.api.invoices.list_async({"status": "open", "limit": 100})
        rows = [{"id": invoice.id} for invoice in open_invoices.data]
        if (payment := select(rows, self.number)) is not None:
            await operate(harness, f"/invoices/{payment['id']}/pay", **payment_form("card"))


@dataclass(frozen=True)
class AdvanceDays:
    days: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        await harness.advance_days(self.days)


@dataclass(frozen=True)
class FailNextCharges:
    """Declines the next off-session charges of a student."""

    student: int
    times: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows(
            "SELECT * FROM customers WHERE student_id = ANY(:students) ORDER BY created_at", students=list(students)
        )
        if (customer := select(rows, self.student)) is not None:
            await operate(harness, f"/customers/{customer['stripe_customer_id']}/fail_next_charges", times=self.times)


DEBIT = "us_bank_account"
PAID = "SELECT * FROM payments WHERE status = 'succeeded' AND amount > 0 ORDER BY created_at DESC, id"


@dataclass(frozen=True)
class Refund:
    number: int
    percent: int
    by: Literal["admin", "student", "stripe", "request"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        if (payment := select(await harness.checkout.rows(PAID), self.number)) is None:
            return
        amount = max(payment["amount"] * self.percent // 100, 1)
        body = {"amount": amount, "reason": "requested_by_customer"}
        match self.by:
            case "admin":
                await harness.call_as_admin("POST", f"/api/payments/{payment['id']}/refund", body)
            case "student":
                whole = {"reason": body["reason"]} if self.percent == 100 else body
                await harness.call(payment["student_id"], "POST", f"/api/payments/{payment['id']}/refund", whole)
            case "stripe":
                if payment["stripe_charge_id"]:
                    await operate(harness, f"/charges/{payment['stripe_charge_id']}/refund", amount=amount)
            case "request":
                body = {
                    "payment_intent_id": payment["stripe_payment_intent_id"] or "pi_none",
                    "reason": "I moved away.",
                }
                response = await harness.call(payment["student_id"], "POST", "/api/payments/request-refund/", body)
                if response.is_success:
                    decision = {"decision": "approve" if self.percent > 20 else "reject", "amount": amount}
                    path = f"/api/admin/refund-requests/{response.json()['id']}/decide"
                    await harness.call_as_admin("POST", path, decision if self.percent > 20 else {"decision": "reject"})


@dataclass(frozen=True)
class Dispute:
    number: int
    kind: Literal["chargeback", "inquiry"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        charged = [row for row in await harness.checkout.rows(PAID) if row["stripe_charge_id"]]
        if (payment := select(charged, self.number)) is not None:
            await operate(harness, f"/charges/{payment['stripe_charge_id']}/dispute", kind=self.kind)


@dataclass(frozen=True)
class CloseDispute:
    number: int
    outcome: Literal["won", "lost"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows("SELECT * FROM disputes WHERE closed_at IS NULL ORDER BY created_at, id")
        if (dispute := select(rows, self.number)) is not None:
            inquiry = dispute["status"].startswith("warning")
            status = "warning_closed" if inquiry else self.outcome
            await operate(harness, f"/disputes/{dispute['stripe_dispute_id']}/close", status=status)


@dataclass(frozen=True)
class ReturnDebit:
    """A bank returns a debit that had settled."""

    number: int
    reason: Literal["insufficient_funds", "debit_not_authorized"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        debits = [
            row for row in await harness.checkout.rows(PAID) if row["stripe_charge_id"] and row["method"] == DEBIT
        ]
        if (payment := select(debits, self.number)) is not None:
            await operate(harness, f"/charges/{payment['stripe_charge_id']}/return", reason=self.reason)


@dataclass(frozen=True)
class Appeal:
    """A lost dispute is appealed, and the bank decides."""

    number: int
    outcome: Literal["won", "lost"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows("SELECT * FROM disputes WHERE status = 'lost' ORDER BY created_at, id")
        if (dispute := select(rows, self.number)) is None:
            return
        path = f"/disputes/{dispute['stripe_dispute_id']}"
        if (await operate(harness, f"{path}/appeal")).is_success:
            await operate(harness, f"{path}/review")
            await operate(harness, f"{path}/close", status=self.outcome)


@dataclass(frozen=True)
class SettleDebits:
    """Settles or fails all processing bank debits."""

    settles: bool

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        for row in await harness.checkout.rows(
            "SELECT stripe_payment_intent_id AS id FROM payments WHERE status = 'processing' "
            "AND stripe_payment_intent_id IS NOT NULL ORDER BY id"
        ):
            await operate(harness, f"/payment_intents/{row['id']}/{'settle' if self.settles else 'fail'}")


@dataclass(frozen=True)
class RecordPayment:
    """Records a manual payment of an installment, or waives it."""

    number: int
    method: Literal["cash", "check", "bank_transfer", "waiver"]
    twice: bool

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows(
            "SELECT * FROM installments WHERE status IN ('open', 'overdue', 'processing') "
            "ORDER BY created_at DESC, position, id"
        )
        if (installment := select(rows, self.number)) is None:
            return
        body = {"payment_method": self.method, "transaction_reference": f"ref-{uuid4()}", "notes": ""}
        for _ in range(1 + self.twice):
            await harness.call_as_admin(
                "POST", f"/api/admin/payments/schedules/{installment['id']}/record-payment", body
            )


@dataclass(frozen=True)
class ChangeInstallment:
    number: int
    change: Literal["pause", "resume", "postpone"]
    days: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        paused = self.change == "resume"
        rows = await harness.checkout.rows(
            "SELECT * FROM installments WHERE (status = 'paused') = :paused "
            "AND status IN ('open', 'overdue', 'paused') ORDER BY created_at DESC, position, id",
            paused=paused,
        )
        if (installment := select(rows, self.number)) is None:
            return
        path = f"/api/admin/payments/schedules/{installment['id']}"
        if self.change == "postpone":
            clock = (await harness.call_as_admin("GET", "/api/admin/test-clock")).json()
            due_at = datetime.fromisoformat(clock["now"]) + timedelta(days=self.days)
            await harness.call_as_admin("PATCH", path, {"due_at": due_at.isoformat()})
        else:
            await harness.call_as_admin("POST", f"{path}/{self.change}", {})


@dataclass(frozen=True)
class CancelEnrollment:
    number: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows("SELECT id FROM purchases WHERE state = 'paid' ORDER BY created_at DESC, id")
        if (purchase := select(rows, self.number)) is not None:
            body = {"reason": "The class was canceled."}
            await harness.call_as_admin("POST", f"/api/admin/enrollments/{purchase['id']}/cancel", body)


@dataclass(frozen=True)
class PayRemaining:
    number: int

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows(
            "SELECT id, student_id FROM purchases WHERE state = 'paid' AND payment_type = 'plan' "
            "ORDER BY created_at DESC, id"
        )
        if (purchase := select(rows, self.number)) is not None:
            await harness.call(purchase["student_id"], "POST", f"/api/enrollments/{purchase['id']}/pay-remaining", {})


@dataclass(frozen=True)
class ChangeMembership:
    number: int
    change: Literal["cancel_now", "cancel_later", "pause", "resume", "upgrade", "downgrade", "yearly"]

    async def run(self, harness: Harness, students: Sequence[UUID]) -> None:
        rows = await harness.checkout.rows("SELECT * FROM memberships ORDER BY created_at DESC, id")
        if (membership := select(rows, self.number)) is None:
            return
        path, body = {
            "cancel_now": ("cancel", {"at": "now"}),
            "cancel_later": ("cancel", {"at": "period_end"}),
            "pause": ("pause", {}),
            "resume": ("resume", {}),
            "upgrade": ("change", {"membership": "career", "interval": "month"}),
            "downgrade": ("change", {"membership": "student", "interval": "month"}),
            "yearly": ("change", {"membership": membership["tier"], "interval": "year"}),
        }[self.change]
        await harness.call(membership["student_id"], "POST", f"/api/memberships/{membership['id']}/{path}", body)
