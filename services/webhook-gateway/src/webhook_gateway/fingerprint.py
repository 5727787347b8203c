"""What was published for an event, as a hash: types and contents, without ids and times."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from kit.messaging.outbox import OutgoingMessage


def fingerprint(messages: Sequence[OutgoingMessage]) -> bytes:
    content = hashlib.sha256()
    for message in messages:
        content.update(b"%s %d " % (message.routing_key.encode(), len(message.body)) + message.body)
    return content.digest()[:16]
