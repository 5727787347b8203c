"""What a receipt or an invoice says. Pure: nothing here knows how it looks or where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from contracts.envelope import Model
from contracts.money import Money

Kind = Literal["receipt", "invoice"]

_DUE = "Still due"

_METHODS = {
    "us_bank_account": "bank debit",
    "afterpay_clearpay": "Afterpay",
    "cashapp": "Cash App",
    "transfer": "bank transfer",
    "bank_transfer": "bank transfer",
}


class Seller(Model):
    name: str
    address: tuple[str, ...] = ()
    tax_id: str | None = None


class Buyer(Model):
    name: str | None = None
    email: str | None = None


class Line(Model):
    """`amount` None: part of the line above, without a price of its own."""

    text: str
    amount: Money | None = None


class Refund(Model):
    at: datetime
    amount: Money


class Paid(Model):
    """Another payment of the same purchase, which a sponsor's invoice is for too."""

    at: datetime
    amount: Money
    method: str | None = None


class Row(NamedTuple):
    """One line of the sums. `strong`: what the eye looks for."""

    text: str
    amount: Money
    strong: bool = False


class Content(Model):
    """All that a document says, as it was when it was issued. (What comes later is given when it is drawn.)

    list_price: what all of the purchase costs by the catalog; `total`: what is left of that after the discount
    tax:        how much of `paid` is tax
    installment: this is the n-th payment of `installments`
    """

    number: str
    kind: Kind
    issued_at: datetime
    seller: Seller
    buyer: Buyer
    purchase_id: UUID
    student_id: UUID
    program: str
    lines: tuple[Line, ...]
    list_price: Money
    discount: Money | None = None
    promotion_code: str | None = None
    total: Money
    tax: Money | None = None
    paid: Money
    paid_at: datetime
    method: str | None = None
    refs: tuple[str, ...] = ()
    installment: int | None = None
    installments: int | None = None
    funding_source: str | None = None
    terms: str | None = None
    terms_accepted: str | None = None

    @property
    def filename(self) -> str:
        return f"{self.kind}-{self.number}.pdf"

    @property
    def tax_on_top(self) -> bool:
        """Whether the tax was added to the price. (Else the price has it inside, or only a part was paid.)"""
        if not self.tax or not self._taxed or self.tax.currency != self.total.currency:
            return False
        return self.paid == self.total + self.tax

    @property
    def sums(self) -> tuple[Row, ...]:
        """From the price to what was paid, and what is still owed."""
        found = []
        if self.discount:
            code = f" ({self.promotion_code})" if self.promotion_code else ""
            found.append(Row(f"Discount{code}", _negative(self.discount)))
        total = self.total
        if self.tax and self.tax_on_top:
            found.append(Row("Tax", self.tax))
            total += self.tax
        found.append(Row("Total", total, strong=True))
        found.append(Row(self._payment, self.paid, strong=True))
        if self.tax and self._taxed and not self.tax_on_top:
            found.append(Row("of which tax", self.tax))
        if (due := self.due) is not None:
            found.append(Row(_DUE, due, strong=True))
        return tuple(found)

    @property
    def due(self) -> Money | None:
        """What an invoice left to be paid when it was issued."""
        total = self.total + self.tax if self.tax and self.tax_on_top else self.total
        if self.kind == "invoice" and self._less_than(total) and (self.tax_on_top or not self._taxed):
            return total - self.paid
        return None

    @property
    def _taxed(self) -> bool:
        return bool(self.tax and self.tax.amount)

    def _less_than(self, total: Money) -> bool:
        return total.currency == self.paid.currency and total.amount > self.paid.amount

    @property
    def _payment(self) -> str:
        part = ""
        if self.installment and self.installments and self.installment <= self.installments:
            part = f", installment {self.installment} of {self.installments}"
        elif self.installment and self.installment > 1:
            part = f", payment {self.installment}"
        return _paid(self.paid_at, self.method) + part


def after(content: Content, refunds: Sequence[Refund], others: Sequence[Paid] = ()) -> tuple[Row, ...]:
    """What else was paid, what has gone back, and what is left of all payments then."""
    currency = content.paid.currency
    more = sum(paid.amount.amount for paid in others if paid.amount.currency == currency)
    rows = [Row(_paid(paid.at, paid.method), paid.amount, strong=True) for paid in others]
    if others and content.due is not None:
        rows.append(Row(_DUE, Money(amount=max(content.due.amount - more, 0), currency=currency), strong=True))
    if refunds:
        back = sum(refund.amount.amount for refund in refunds if refund.amount.currency == currency)
        rows += [Row(f"Refunded on {refund.at:%Y-%m-%d}", _negative(refund.amount)) for refund in refunds]
        left = Money(amount=content.paid.amount + more - back, currency=currency)
        rows.append(Row("Left after refunds", left, strong=True))
    return tuple(rows)


def _paid(at: datetime, method: str | None) -> str:
    """With the method as people call it."""
    by = _METHODS.get(method or "", (method or "").replace("_", " "))
    return f"Paid on {at:%Y-%m-%d}" + (f" by {by}" if by else "")


def _negative(money: Money) -> Money:
    return Money(amount=-money.amount, currency=money.currency)
