"""One payment of each kind at the sandbox of Stripe, with what may become of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from stripe_sandbox.in_process import InProcess

SUCCESS = "https://school.example/done"


def metadata(slug: str = "barber-apprenticeship") -> dict[str, str]:
    return {"student_id": str(uuid4()), "purchase_id": str(uuid4()), "program_slug": slug, "program_id": slug}


class Payments:
    """Each method leaves one kind of payment behind; `all` makes them all."""

    def __init__(self, sandbox: InProcess) -> None:
        self.sandbox = sandbox
        self.client = sandbox.client.v1

    def operate(self, path: str, **body: Any) -> dict[str, Any]:
        return self.sandbox.operate_now(path, **body)

    def session(self, amount: int = 489_000, currency: str = "usd", **params: Any) -> str:
        data = metadata()
        price = {"currency": currency, "unit_amount": amount, "product_data": {"name": "Barber Apprenticeship"}}
        created: Any = {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "success_url": SUCCESS,
            "metadata": data,
            "payment_intent_data": {"metadata": data},
            **params,
        }
        return str(self.client.checkout.sessions.create(created).id)

    def paid(self, **params: Any) -> dict[str, Any]:
        return self.operate(f"/sessions/{self.session(**params)}/pay", method="card", email="ada@example.org")

    def charge(self, **params: Any) -> str:
        intent: Any = self.client.payment_intents.retrieve(self.paid(**params)["payment_intent"])
        return str(intent.latest_charge)

    def debit(self, outcome: str | None = None) -> str:
        paid = self.operate(f"/sessions/{self.session()}/pay", method="us_bank_account", email="a@x.org", name="Ada")
        if outcome is not None:
            self.operate(f"/payment_intents/{paid['payment_intent']}/{outcome}")
        return str(paid["payment_intent"])

    def intent(self, *, data: dict[str, str] | None = None, pay: bool = True) -> str:
        created: Any = {"amount": 57_500, "currency": "usd", "metadata": metadata() if data is None else data}
        id = str(self.client.payment_intents.create(created).id)
        if pay:
            self.operate(f"/payment_intents/{id}/pay", method="card", email="ada@example.org")
        return id

    def refunded(self, amount: int | None = None, status: str = "succeeded") -> dict[str, Any]:
        return self.operate(f"/charges/{self.charge()}/refund", status=status, **({"amount": amount} if amount else {}))

    def failed_refund(self) -> None:
        self.operate(f"/refunds/{self.refunded(10_000)['id']}/fail")

    def dispute(self, *steps: str, kind: str = "chargeback") -> str:
        id = str(self.operate(f"/charges/{self.charge()}/dispute", kind=kind)["id"])
        for step in steps:
            close = step in ("won", "lost", "warning_closed")
            self.operate(f"/disputes/{id}/{'close' if close else step}", **({"status": step} if close else {}))
        return id

    def membership(self) -> str:
        price = {"currency": "usd", "unit_amount": 2_900, "recurring": {"interval": "month"}}
        line = {"price_data": {**price, "product_data": {"name": "Membership"}}, "quantity": 1}
        data = {**metadata("membership"), "tier": "student"}
        session = self.session(
            mode="subscription",
            line_items=[line],
            metadata=data,
            payment_intent_data={},
            subscription_data={"metadata": data},
        )
        self.operate(f"/sessions/{session}/pay", method="card", email="ada@example.org")
        found: Any = self.client.checkout.sessions.retrieve(session).subscription
        return str(found)

    def invoice(self, *, credit: int = 0, pay: bool = True, void: bool = False) -> str:
        customer = self.client.customers.create({"email": "finance@sponsor.example", "balance": -credit}).id
        created: Any = {
            "customer": customer,
            "collection_method": "send_invoice",
            "days_until_due": 30,
            "metadata": {**metadata(), "payer": "sponsor", "funding_source": "WIOA"},
        }
        invoice = str(self.client.invoices.create(created).id)
        self.client.invoice_items.create({"customer": customer, "amount": 57_500, "invoice": invoice})
        finalized: Any = self.client.invoices.finalize_invoice(invoice)
        if void:
            self.client.invoices.void_invoice(invoice)
        elif pay and finalized.status == "open":
            self.operate(f"/invoices/{invoice}/pay", method="card", email="finance@sponsor.example")
        return invoice

    def free(self) -> str:
        coupon = self.client.coupons.create({"percent_off": 100, "duration": "once"}).id
        session = self.session(discounts=[{"coupon": coupon}])
        self.operate(f"/sessions/{session}/pay", email="ada@example.org")
        return session

    def all(self) -> None:
        makers: list[Callable[[], object]] = [
            self.paid,
            lambda: self.paid(amount=5_000, currency="jpy"),
            lambda: self.operate(f"/sessions/{self.session()}/expire"),
            self.session,
            self.debit,
            lambda: self.debit("settle"),
            lambda: self.debit("fail"),
            lambda: self.intent(pay=False),
            self.intent,
            lambda: self.intent(data={}),
            lambda: self.client.payment_intents.cancel(self.intent(pay=False)),
            self.refunded,
            lambda: self.refunded(10_000),
            lambda: self.refunded(10_000, "pending"),
            self.failed_refund,
            self.dispute,
            lambda: self.dispute("won"),
            lambda: self.dispute("lost"),
            lambda: self.dispute("lost", "appeal", "review"),
            lambda: self.dispute("lost", "appeal", "review", "won"),
            lambda: self.dispute(kind="inquiry"),
            lambda: self.dispute("warning_closed", kind="inquiry"),
            self.membership,
            lambda: self.client.subscriptions.cancel(self.membership()),
            self.invoice,
            lambda: self.invoice(credit=60_000),
            lambda: self.invoice(credit=20_000),
            lambda: self.invoice(pay=False),
            lambda: self.invoice(void=True),
            self.free,
        ]
        for make in makers:
            make()
