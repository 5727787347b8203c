"""What each login may do at the broker: the same as deploy/rabbitmq/start.sh, from the same registry of events.

A service may declare, bind and delete nothing. It reads its own queues; it writes to its own exchange (retries and dead
letters) and, of its own event types only, to the events exchange. It reads no exchange, so that it can bind nothing to
one. https://www.rabbitmq.com/docs/access-control
"""

from __future__ import annotations

import re

from contracts.registry import PUBLISHED_BY
from kit.messaging.outbox import EVENTS_EXCHANGE
from kit.messaging.topology import own_exchange
from testkit.servers import Grant

DEPLOYMENT = Grant(name="deployment", configure=".*", write=".*", read=".*")
"""The login of the role `migrate` and of operators."""


def rights_of(service: str) -> Grant:
    types = "|".join(re.escape(event.type) for event in PUBLISHED_BY[service])
    own, exchange = re.escape(service), re.escape(own_exchange(service))
    return Grant(
        name=service,
        configure="^$",
        write=rf"^({re.escape(EVENTS_EXCHANGE)}|{exchange})$",
        read=rf"^{own}\.(?!queues$)",
        publishes={EVENTS_EXCHANGE: f"^({types})$"},
    )
