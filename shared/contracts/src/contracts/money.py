"""Money is an integer amount in minor units plus an ISO 4217 currency. Never a float."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt

Currency = Annotated[str, Field(pattern=r"^[a-z]{3}$", description="ISO 4217 code, lower case as Stripe writes it")]

# Stripe's zero- and three-decimal currencies; every other currency has two decimals.
_ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE_DECIMAL = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))


class CurrencyMismatch(ValueError):
    """Arithmetic on amounts of two currencies."""


class Money(BaseModel):
    """An amount in minor units (cents for USD) of one currency."""

    model_config = ConfigDict(frozen=True)

    amount: StrictInt = Field(description="minor units, may be negative in a difference")
    currency: Currency

    def __add__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(amount=self.amount + other.amount, currency=self.currency)

    def __sub__(self, other: Money) -> Money:
        self._same_currency(other)
        return Money(amount=self.amount - other.amount, currency=self.currency)

    def installments(self, count: int) -> list[Money]:
        """`count` amounts that sum to this one exactly; the remainder goes into the first.

        Raises ValueError if there is less than one minor unit for each installment.
        """
        if count < 1 or self.amount < count:
            raise ValueError(f"{self.amount} {self.currency} cannot be split into {count} installments")
        each, remainder = divmod(self.amount, count)
        return [Money(amount=each + (remainder if n == 0 else 0), currency=self.currency) for n in range(count)]

    def to_decimal(self) -> Decimal:
        """The amount in major units, exact: 489000 usd -> Decimal('4890.00')."""
        return Decimal(self.amount).scaleb(-self.exponent)

    @property
    def exponent(self) -> int:
        """The number of decimals of the currency."""
        return 0 if self.currency in _ZERO_DECIMAL else 3 if self.currency in _THREE_DECIMAL else 2

    def __str__(self) -> str:
        return f"{self.to_decimal():,.{self.exponent}f} {self.currency.upper()}"

    def _same_currency(self, other: Money) -> None:
        if self.currency != other.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency}")


def usd(amount: int) -> Money:
    """US dollars, `amount` in cents."""
    return Money(amount=amount, currency="usd")
