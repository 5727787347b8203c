"""The issuer of receipts and invoices, from the environment."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field, field_validator

from checkout.receipts.domain import Seller
from checkout.receipts.service import DEFAULT_SELLER, ReceiptIssuer

_PREFIX = "^[A-Z0-9]{1,10}$"


class IssuerSettings(BaseModel):
    """A mixin. If nothing is set, documents are issued by "The school", which is not fit for bookkeeping."""

    seller_name: str = Field(default=DEFAULT_SELLER.name, max_length=200)
    seller_address: str = Field(default="", max_length=1000)
    """Its lines, separated by ` | ` or line breaks."""
    seller_tax_id: str | None = Field(default=None, max_length=100)
    receipt_prefix: str = Field(default="R", pattern=_PREFIX)
    """Receipts are numbered R-2026-000001 and so on, starting at 1 every year."""
    invoice_prefix: str = Field(default="I", pattern=_PREFIX)
    invoice_terms: str | None = Field(default=None, max_length=500)

    @field_validator("seller_name", mode="before")
    @classmethod
    def _default_name(cls, value: object) -> object:
        return value or DEFAULT_SELLER.name

    @field_validator("seller_tax_id", "invoice_terms", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @property
    def issuer(self) -> ReceiptIssuer:
        lines = (line.strip() for line in re.split(r"\s\|\s|[\r\n]+", self.seller_address))
        seller = Seller(name=self.seller_name, address=tuple(filter(None, lines)), tax_id=self.seller_tax_id)
        return ReceiptIssuer(
            seller=seller,
            receipt_prefix=self.receipt_prefix,
            invoice_prefix=self.invoice_prefix,
            invoice_terms=self.invoice_terms,
        )
