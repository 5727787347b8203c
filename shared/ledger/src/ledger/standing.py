"""What payment facts say of a purchase or an enrollment, as one word."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """What the facts say of a purchase or an enrollment; among purchases of one enrollment a later member outranks an
    earlier one."""

    NONE = "none"
    WITHDRAWN = "withdrawn"
    PENDING = "pending"
    PAUSED = "paused"
    ACTIVE = "active"

    @property
    def rank(self) -> int:
        return list(Standing).index(self)
