"""The groups of faults: what is injected, how often, and what has to be prepared before the system starts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.clocks import set_clocks_apart
from tests.faults.disks import fill_disk, raise_alarms, restore_older_journal, small_disk
from tests.faults.injections import (
    COPIES,
    SERVICES,
    copy_webhooks,
    cut_database_connections,
    disable_endpoint,
    disorder_webhooks,
    fail_outside_systems,
    kill_everything,
    kill_services,
    make_database_read_only,
    publish_undecodable,
    restart_broker_with_full_queues,
    stop_stores,
    terminate_consumers,
)
from tests.faults.versions import previous_version, upgrade
from tests.journeys.harness import School

MINUTES = 120.0
"""An outage that lasts, in seconds."""


def _nothing(_: Path) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Group:
    """`number`: how often the fault is injected, unless the caller says otherwise. `dead_letters`: how many messages
    each fault makes that nobody can process. `prepare`: around the whole run, with the folder of the system; raises
    Unavailable where the fault cannot be injected."""

    what: str
    inject: Callable[[School, int], Awaitable[int]]
    number: int
    dead_letters: int = 0
    prepare: Callable[[Path], AbstractContextManager[None]] = _nothing


GROUPS: Mapping[str, Group] = {
    "gateway-killed": Group("SIGKILL of the gateway", partial(kill_services, ("webhook_gateway",)), 10),
    "services-killed": Group("SIGKILL of one service after the other", partial(kill_services, SERVICES), 21),
    "all-killed": Group("SIGKILL of all services at the same moment", kill_everything, 3),
    "consumers-terminated": Group("SIGTERM of consumers under load", terminate_consumers, 12),
    "broker-down": Group("SIGKILL of RabbitMQ, 3 s away", partial(stop_stores, True, False), 3),
    "database-down": Group("SIGKILL of PostgreSQL, 3 s away", partial(stop_stores, False, True), 3),
    "both-down": Group("SIGKILL of both at once, 3 s away", partial(stop_stores, True, True), 2),
    "broker-away": Group("RabbitMQ two minutes away", partial(stop_stores, True, False, seconds=MINUTES), 1),
    "database-away": Group("PostgreSQL two minutes away", partial(stop_stores, False, True, seconds=MINUTES), 1),
    "both-away": Group("both two minutes away", partial(stop_stores, True, True, seconds=MINUTES), 1),
    "full-queues": Group("RabbitMQ restarts with full queues", restart_broker_with_full_queues, 2),
    "connections-cut": Group("every database connection cut", cut_database_connections, 30),
    "read-only": Group("PostgreSQL read-only for 2 s", make_database_read_only, 4),
    "copies": Group(f"{COPIES:,} copies of one webhook at once", copy_webhooks, 2),
    "undecodable": Group("messages that nobody can read", publish_undecodable, 20, dead_letters=1),
    "disorder": Group("each webhook three times, in random order, and SIGKILLs", disorder_webhooks, 7),
    "endpoint-off": Group("Stripe's endpoint disabled for 4 s", disable_endpoint, 3),
    "outside": Group("Stripe, the provider and the mail server fail", fail_outside_systems, 3),
    "alarms": Group("RabbitMQ's memory alarm, then its disk alarm, 3 s each", raise_alarms, 2),
    "disk-full": Group("PostgreSQL's disk is full for 5 s", fill_disk, 3, prepare=small_disk),
    "older-journal": Group("the gateway's database is a copy of 4 s before", restore_older_journal, 2),
    "two-versions": Group("the previous version, upgraded service after service", upgrade, 7, prepare=previous_version),
    "clocks-apart": Group("clocks a minute apart", set_clocks_apart, 7),
}
