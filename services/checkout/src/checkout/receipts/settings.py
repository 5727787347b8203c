"""Who gives receipts and invoices, as the environment says."""

from __future__ import annotations

import re

from pydantic import BaseModel, Field, field_validator

from checkout.receipts.document import Seller
from checkout.receipts.service import NAMELESS, Issuer

_PREFIX = "^[A-Z0-9]{1,10}$"


class IssuerSettings(BaseModel):
    """A mixin. Without any of it documents are given all the same, by "The school", which no bookkeeper will like."""

    seller_name: str = Field(default=NAMELESS.name, max_length=200)
    seller_address: str = Field(default="", max_length=1000)
    """The lines of it, separated by ` | ` or by line ends."""
    seller_tax_id: str | None = Field(default=None, max_length=100)
    receipt_prefix: str = Field(default="R", pattern=_PREFIX)
    """Receipts are numbered R-2026-000001 and so on, each year from one."""
    invoice_prefix: str = Field(default="I", pattern=_PREFIX)
    invoice_terms: str | None = Field(default=None, max_length=500)

    @field_validator("seller_name", mode="before")
    @classmethod
    def _some_name(cls, value: object) -> object:
        return value or NAMELESS.name

    @field_validator("seller_tax_id", "invoice_terms", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return value or None

    @property
    def issuer(self) -> Issuer:
        lines = (line.strip() for line in re.split(r"\s\|\s|[\r\n]+", self.seller_address))
        seller = Seller(name=self.seller_name, address=tuple(filter(None, lines)), tax_id=self.seller_tax_id)
        return Issuer(
            seller=seller,
            receipt_prefix=self.receipt_prefix,
            invoice_prefix=self.invoice_prefix,
            invoice_terms=self.invoice_terms,
        )
