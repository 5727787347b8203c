"""What people do in a year of a school. Each act is small, plays on whatever is there, and may be refused: then nothing
happens. What it is done to is named by a number, which picks one of those that there are at that moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx
from hypothesis import strategies as st
from tests.year.school import School

GOOD, DECLINED = "4242424242424242", "4000000000000002"
PROGRAMS = {"dsp": 432_500, "cpr": 57_500, "hvac": 500_000}
TRACKS = ("dp", "fsd")
COURSES = ("barbering-safety", "dp-and-fsd")
TIERS = ("student", "career")
Means = Literal["card", "declined", "debit", "bounces"]


def pick(found: Sequence[dict[str, Any]], number: int) -> dict[str, Any] | None:
    return found[number % len(found)] if found else None


@dataclass(frozen=True)
class Buy:
    student: int
    what: Literal["program", "plan", "track", "course", "enroll", "membership"]
    number: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        who = people[self.student % len(people)]
        program, price = list(PROGRAMS.items())[self.number % len(PROGRAMS)]
        match self.what:
            case "program" | "plan":
                kind = "plan" if self.what == "plan" else "full"
                body = {"programSlug": program, "price": price, "paymentType": kind}
                await school.ask(who, "POST", "/api/create-checkout-session", body)
            case "track":
                body = {"track": TRACKS[self.number % len(TRACKS)]}
                await school.ask(who, "POST", "/api/payments/create-payment/", body)
            case "course":
                body = {"courseId": COURSES[self.number % len(COURSES)]}
                await school.ask(who, "POST", "/api/checkout", body)
            case "enroll":
                body = {"product_id": (*PROGRAMS, *TRACKS)[self.number % 5], "user_id": str(who)}
                await school.ask(who, "POST", "/api/enrollments", body)
            case "membership":
                body = {"membership": TIERS[self.number % 2], "interval": ("month", "year")[self.number // 2 % 2]}
                await school.ask(who, "POST", "/api/memberships", body)


@dataclass(frozen=True)
class Pay:
    """Somebody pays what is open: a page, an intent, or an installment's own intent."""

    number: int
    means: Means

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        pages = await school.checkout.rows(
            "SELECT stripe_checkout_session_id AS id, 'sessions' AS at FROM purchases WHERE state = 'session_open' "
            "UNION SELECT stripe_payment_intent_id, 'payment_intents' FROM payments "
            "WHERE status = 'requires_payment' AND stripe_payment_intent_id IS NOT NULL ORDER BY 1"
        )
        if (chosen := pick(pages, self.number)) is not None:
            await operate(school, f"/{chosen['at']}/{chosen['id']}/pay", **choice(self.means))


def choice(means: Means) -> dict[str, Any]:
    match means:
        case "card" | "declined":
            return {"method": "card", "card": GOOD if means == "card" else DECLINED, "email": "ada@example.org"}
        case "debit" | "bounces":
            account = "verified" if means == "debit" else "failing"
            return {"method": "us_bank_account", "account": account, "email": "ada@example.org", "name": "Ada"}


async def operate(school: School, path: str, **body: Any) -> httpx.Response:
    """Whatever Stripe says to it: what cannot be done is not done."""
    async with httpx.AsyncClient(base_url=school.sandbox.url, timeout=30) as http:
        answer = await http.post(f"/sandbox/api{path}", json=body)
    assert answer.status_code < 500, answer.text
    return answer


@dataclass(frozen=True)
class PayInvoice:
    """Whoever got an invoice pays it on its page."""

    number: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        found = await school.sandbox.api.invoices.list_async({"status": "open", "limit": 100})
        rows = [{"id": invoice.id} for invoice in found.data]
        if (chosen := pick(rows, self.number)) is not None:
            await operate(school, f"/invoices/{chosen['id']}/pay", **choice("card"))


@dataclass(frozen=True)
class PassDays:
    days: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        await school.pass_days(self.days)


@dataclass(frozen=True)
class FailNext:
    """The student's card will not do for a while."""

    student: int
    times: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        rows = await school.checkout.rows(
            "SELECT * FROM customers WHERE student_id = ANY(:people) ORDER BY created_at", people=list(people)
        )
        if (customer := pick(rows, self.student)) is not None:
            await operate(school, f"/customers/{customer['stripe_customer_id']}/fail_next_charges", times=self.times)


PAID = "SELECT * FROM payments WHERE status = 'succeeded' AND amount > 0 ORDER BY created_at DESC, id"


@dataclass(frozen=True)
class Refund:
    number: int
    percent: int
    by: Literal["admin", "student", "stripe", "request"]

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        if (payment := pick(await school.checkout.rows(PAID), self.number)) is None:
            return
        amount = max(payment["amount"] * self.percent // 100, 1)
        body = {"amount": amount, "reason": "requested_by_customer"}
        match self.by:
            case "admin":
                await school.admin("POST", f"/api/payments/{payment['id']}/refund", body)
            case "student":
                await school.ask(payment["student_id"], "POST", f"/api/payments/{payment['id']}/refund", body)
            case "stripe":
                if payment["stripe_charge_id"]:
                    await operate(school, f"/charges/{payment['stripe_charge_id']}/refund", amount=amount)
            case "request":
                asked = {
                    "payment_intent_id": payment["stripe_payment_intent_id"] or "pi_none",
                    "reason": "I moved away",
                }
                answer = await school.ask(payment["student_id"], "POST", "/api/payments/request-refund/", asked)
                if answer.is_success:
                    decision = {"decision": "approve" if self.percent > 20 else "reject", "amount": amount}
                    path = f"/api/admin/refund-requests/{answer.json()['id']}/decide"
                    await school.admin("POST", path, decision if self.percent > 20 else {"decision": "reject"})


@dataclass(frozen=True)
class Dispute:
    number: int
    kind: Literal["chargeback", "inquiry"]

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        charged = [row for row in await school.checkout.rows(PAID) if row["stripe_charge_id"]]
        if (payment := pick(charged, self.number)) is not None:
            await operate(school, f"/charges/{payment['stripe_charge_id']}/dispute", kind=self.kind)


@dataclass(frozen=True)
class CloseDispute:
    number: int
    outcome: Literal["won", "lost"]

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        rows = await school.checkout.rows("SELECT * FROM disputes WHERE closed_at IS NULL ORDER BY created_at, id")
        if (dispute := pick(rows, self.number)) is not None:
            inquiry = dispute["status"].startswith("warning")
            status = "warning_closed" if inquiry else self.outcome
            await operate(school, f"/disputes/{dispute['stripe_dispute_id']}/close", status=status)


@dataclass(frozen=True)
class SettleDebits:
    """What is on its way from banks arrives, or comes back."""

    settles: bool

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        for row in await school.checkout.rows(
            "SELECT stripe_payment_intent_id AS id FROM payments WHERE status = 'processing' "
            "AND stripe_payment_intent_id IS NOT NULL ORDER BY id"
        ):
            await operate(school, f"/payment_intents/{row['id']}/{'settle' if self.settles else 'fail'}")


@dataclass(frozen=True)
class Manual:
    """Cash at the context for an installment; or it is waived."""

    number: int
    method: Literal["cash", "check", "bank_transfer", "waiver"]
    twice: bool

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        rows = await school.checkout.rows(
            "SELECT * FROM schedules WHERE status IN ('open', 'overdue', 'processing') "
            "ORDER BY created_at DESC, position, id"
        )
        if (schedule := pick(rows, self.number)) is None:
            return
        body = {"payment_method": self.method, "transaction_reference": f"ref-{uuid4()}", "notes": ""}
        for _ in range(1 + self.twice):
            await school.admin("POST", f"/api/admin/payments/schedules/{schedule['id']}/record-payment", body)


@dataclass(frozen=True)
class ChangeSchedule:
    number: int
    how: Literal["pause", "resume", "later"]
    days: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        paused = self.how == "resume"
        rows = await school.checkout.rows(
            "SELECT * FROM schedules WHERE (status = 'paused') = :paused AND status IN ('open', 'overdue', 'paused') "
            "ORDER BY created_at DESC, position, id",
            paused=paused,
        )
        if (schedule := pick(rows, self.number)) is None:
            return
        path = f"/api/admin/payments/schedules/{schedule['id']}"
        if self.how == "later":
            clock = (await school.admin("GET", "/api/admin/test-clock")).json()
            await school.admin("PATCH", path, {"due_at": days_after(clock["now"], self.days)})
        else:
            await school.admin("POST", f"{path}/{self.how}", {})


def days_after(moment: str, days: int) -> str:
    return (datetime.fromisoformat(moment) + timedelta(days=days)).isoformat()


@dataclass(frozen=True)
class Cancel:
    number: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        rows = await school.checkout.rows("SELECT id FROM purchases WHERE state = 'paid' ORDER BY created_at DESC, id")
        if (purchase := pick(rows, self.number)) is not None:
            body = {"reason": "the class does not take place"}
            await school.admin("POST", f"/api/admin/enrollments/{purchase['id']}/cancel", body)


@dataclass(frozen=True)
class PayRest:
    number: int

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        rows = await school.checkout.rows(
            "SELECT id, student_id FROM purchases WHERE state = 'paid' AND payment_type = 'plan' "
            "ORDER BY created_at DESC, id"
        )
        if (purchase := pick(rows, self.number)) is not None:
            await school.ask(purchase["student_id"], "POST", f"/api/enrollments/{purchase['id']}/pay-remaining", {})


@dataclass(frozen=True)
class Membership:
    number: int
    act: Literal["cancel_now", "cancel_later", "pause", "resume", "upgrade", "downgrade", "yearly"]

    async def play(self, school: School, people: Sequence[UUID]) -> None:
        rows = await school.checkout.rows("SELECT * FROM memberships ORDER BY created_at DESC, id")
        if (membership := pick(rows, self.number)) is None:
            return
        path, body = {
            "cancel_now": ("cancel", {"at": "now"}),
            "cancel_later": ("cancel", {"at": "period_end"}),
            "pause": ("pause", {}),
            "resume": ("resume", {}),
            "upgrade": ("change", {"membership": "career", "interval": "month"}),
            "downgrade": ("change", {"membership": "student", "interval": "month"}),
            "yearly": ("change", {"membership": membership["tier"], "interval": "year"}),
        }[self.act]
        await school.ask(membership["student_id"], "POST", f"/api/memberships/{membership['id']}/{path}", body)


Act = (
    Buy
    | Pay
    | PayInvoice
    | PassDays
    | FailNext
    | Refund
    | Dispute
    | CloseDispute
    | SettleDebits
    | Manual
    | ChangeSchedule
    | Cancel
    | PayRest
    | Membership
)

_numbers = st.integers(0, 11)
_means: st.SearchStrategy[Means] = st.sampled_from(("card", "card", "card", "declined", "debit", "bounces"))
_buying: st.SearchStrategy[Act] = st.builds(
    Buy,
    student=_numbers,
    what=st.sampled_from(("program", "plan", "track", "course", "enroll", "enroll", "membership")),
    number=_numbers,
)
_paying: st.SearchStrategy[Act] = st.builds(Pay, number=_numbers, means=_means)
_time: st.SearchStrategy[Act] = st.builds(PassDays, days=st.integers(1, 45))
_other: st.SearchStrategy[Act] = st.one_of(
    st.builds(PayInvoice, number=_numbers),
    st.builds(FailNext, student=_numbers, times=st.integers(1, 6)),
    st.builds(
        Refund,
        number=_numbers,
        percent=st.sampled_from((1, 33, 50, 100, 100)),
        by=st.sampled_from(("admin", "student", "stripe", "request")),
    ),
    st.builds(Dispute, number=_numbers, kind=st.sampled_from(("chargeback", "chargeback", "inquiry"))),
    st.builds(CloseDispute, number=_numbers, outcome=st.sampled_from(("won", "lost"))),
    st.builds(SettleDebits, settles=st.booleans()),
    st.builds(
        Manual,
        number=_numbers,
        method=st.sampled_from(("cash", "check", "bank_transfer", "waiver")),
        twice=st.booleans(),
    ),
    st.builds(
        ChangeSchedule, number=_numbers, how=st.sampled_from(("pause", "resume", "later")), days=st.integers(1, 60)
    ),
    st.builds(Cancel, number=_numbers),
    st.builds(PayRest, number=_numbers),
    st.builds(
        Membership,
        number=_numbers,
        act=st.sampled_from(("cancel_now", "cancel_later", "pause", "resume", "upgrade", "downgrade", "yearly")),
    ),
)


def years(*, least: int, most: int) -> st.SearchStrategy[list[Act]]:
    """Purchases that are mostly paid, and everything that can happen to them, as time goes by."""
    sale = st.tuples(_buying, _paying)
    later = st.one_of(sale, *(st.tuples(act) for act in (_paying, _time, _time, _time, _other, _other, _other, _other)))
    year = st.tuples(st.lists(sale, min_size=3, max_size=6), st.lists(later, min_size=least, max_size=most))
    return year.map(lambda parts: [act for part in parts for acts in part for act in acts])
