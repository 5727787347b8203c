"""What the webhook route needs from its process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kit.messaging.broker import Publisher
from kit.runtime.failures import Transient
from webhook_gateway.event import Origin
from webhook_gateway.journal import Journal


@dataclass(frozen=True, kw_only=True)
class GatewayContext:
    secrets: Sequence[bytes]
    origin: Origin
    journal: Journal
    publisher: Publisher

    async def check_stores(self) -> None:
        """Raises unless an event could be stored: one of database and broker is enough."""
        try:
            await self.journal.ping()
        except Transient:
            await self.publisher.ping()
