"""The content of a receipt or an invoice. Pure: layout and storage are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from contracts.envelope import Model
from contracts.money import Money
from contracts.payments import PaymentMethodDetails

Kind = Literal["receipt", "invoice"]

_DUE = "Still due"

_METHODS = {
    "us_bank_account": "bank debit",
    "afterpay_clearpay": "Afterpay",
    "cashapp": "Cash App",
    "transfer": "bank transfer",
    "bank_transfer": "bank transfer",
}
_BRANDS = {"card": "card", "amex": "American Express", "unionpay": "UnionPay", "jcb": "JCB"}


class Seller(Model):
    name: str
    address: tuple[str, ...] = ()
    tax_id: str | None = None


class Buyer(Model):
    name: str | None = None
    email: str | None = None


class Line(Model):
    """`amount` None: a part of the item above, without a price of its own."""

    text: str
    amount: Money | None = None


class Refund(Model):
    at: datetime
    amount: Money


class OtherPayment(Model):
    """Another payment of the purchase that a sponsor's invoice is for."""

    at: datetime
    amount: Money
    method: str | None = None


class Balance(Model):
    """What has been paid of a purchase so far, without tax, and what is owed for all of it."""

    paid: Money
    total: Money

    @property
    def due(self) -> Money:
        return Money(amount=max(self.total.amount - self.paid.amount, 0), currency=self.total.currency)

    @property
    def sums(self) -> tuple[SumLine, ...]:
        return (SumLine(f"Paid so far, of {self.total}", self.paid), SumLine("Balance", self.due, strong=True))


class SumLine(NamedTuple):
    """One line of the totals. `strong`: printed in bold."""

    text: str
    amount: Money
    strong: bool = False


class Content(Model):
    """Everything a document says, as of its issue. (Later refunds and payments are added when it is rendered.)

    list_price:  the catalog price of the whole purchase; `total`: after the discount
    tax:         how much of `paid` is tax
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
        """Whether the tax was added to the price. Otherwise the price includes it, or only part was paid."""
        if not self.tax or not self._taxed or self.tax.currency != self.total.currency:
            return False
        return self.paid == self.total + self.tax

    @property
    def sums(self) -> tuple[SumLine, ...]:
        """From the price to what was paid and what is still due."""
        lines = []
        if self.discount:
            code = f" ({self.promotion_code})" if self.promotion_code else ""
            lines.append(SumLine(f"Discount{code}", _negative(self.discount)))
        total = self.total
        if self.tax and self.tax_on_top:
            lines.append(SumLine("Tax", self.tax))
            total += self.tax
        lines.append(SumLine("Total", total, strong=True))
        lines.append(SumLine(self._payment, self.paid, strong=True))
        if self.tax and self._taxed and not self.tax_on_top:
            lines.append(SumLine("of which tax", self.tax))
        if (due := self.due) is not None:
            lines.append(SumLine(_DUE, due, strong=True))
        return tuple(lines)

    @property
    def due(self) -> Money | None:
        """What was left to pay on an invoice when it was issued; None for a receipt."""
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


def changes_since_issue(
    content: Content, refunds: Sequence[Refund], others: Sequence[OtherPayment] = ()
) -> tuple[SumLine, ...]:
    """The other payments, the refunds, and the balance after them."""
    currency = content.paid.currency
    more = sum(paid.amount.amount for paid in others if paid.amount.currency == currency)
    lines = [SumLine(_paid(paid.at, paid.method), paid.amount, strong=True) for paid in others]
    if others and content.due is not None:
        lines.append(SumLine(_DUE, Money(amount=max(content.due.amount - more, 0), currency=currency), strong=True))
    if refunds:
        refunded = sum(refund.amount.amount for refund in refunds if refund.amount.currency == currency)
        lines += [SumLine(f"Refunded on {refund.at:%Y-%m-%d}", _negative(refund.amount)) for refund in refunds]
        left = Money(amount=content.paid.amount + more - refunded, currency=currency)
        lines.append(SumLine("Net paid after refunds", left, strong=True))
    return tuple(lines)


def method_name(method: str | None, details: PaymentMethodDetails | None) -> str | None:
    """As a payer recognizes it on a statement, if Stripe has said which card or account it was."""
    if details is None:
        return method
    number = f" ending in {details.last4}" if details.last4 else ""
    if details.type == "card":
        brand = _BRANDS.get(details.brand or "card", (details.brand or "").replace("_", " ").title())
        by = f"{brand}{number}"
        return f"{details.wallet.replace('_', ' ').title()}, {by}" if details.wallet else by
    bank = ", ".join(filter(None, (details.bank, number.strip())))
    return f"{_METHODS.get(details.type, details.type.replace('_', ' '))}{f' ({bank})' if bank else ''}"


def _paid(at: datetime, method: str | None) -> str:
    """With the payment method's common name."""
    by = _METHODS.get(method or "", (method or "").replace("_", " "))
    return f"Paid on {at:%Y-%m-%d}" + (f" by {by}" if by else "")


def _negative(money: Money) -> Money:
    return Money(amount=-money.amount, currency=money.currency)
