"""Which mail addresses are accepted: those that Stripe accepts too."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_ADDRESS = re.compile(r"[^@\s\"<>,;:\\()\[\]]{1,64}@([A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63}")


def is_address(text: str) -> bool:
    return len(text) <= 254 and _ADDRESS.fullmatch(text) is not None


def _check(text: str) -> str:
    if not is_address(text):
        raise ValueError("not a mail address")
    return text


Address = Annotated[str, AfterValidator(_check), Field(max_length=254)]
