"""A bundle's enrollments open, rest and end together, so they are told of in one mail. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from notifications.known import Bought, Known
from notifications.message import Hold, Message, notification_id

_OF_EACH = ("program", "slug", "what", "kind", "taught", "tier", "instructor", "links")
"""What one enrollment has to itself. Only enrollments of which the rest is the same are told of in one mail."""
_MARK = "bundled:"
_TOGETHER = ("welcome", "enrollment-paused", "enrollment-resumed", "enrollment-withdrawn")


def together(known: Known, single: Sequence[Message]) -> Iterator[Message]:
    """The mails about enrollments, with those about the enrollments of one bundle as one.

    Each enrollment keeps a mail of its own, which yields to the bundle's. So an enrollment that opens long after the others, when
    the bundle's mail has gone out without it, is told of all the same; and what was told of one is not told again.
    """
    yields: dict[str, set[str]] = defaultdict(set)
    for bought in known.bought:
        if len(bought.places) > 1:
            for mail in _mails(bought, single):
                for mark in mail.once:
                    yields[mark.removeprefix(_MARK)].add(mark)
                yield mail
    for message in single:
        yield replace(message, yields=message.yields | yields[message.key])


def _mails(bought: Bought, single: Sequence[Message]) -> Iterator[Message]:
    enrollments = {place.key for place in bought.places}
    alike: dict[str, list[Message]] = defaultdict(list)
    for message in single:
        if message.about in enrollments and message.template in _TOGETHER:
            alike[f"{message.template} {_shared(message.told)}"].append(message)
    for messages in alike.values():
        yield _as_one(bought, messages)


def _shared(told: Mapping[str, Any]) -> str:
    return repr(sorted((name, value) for name, value in told.items() if name not in _OF_EACH))


def _as_one(bought: Bought, messages: Sequence[Message]) -> Message:
    ordered = sorted(messages, key=lambda message: message.key)
    first = ordered[0]
    keys = [message.key for message in ordered]
    enrollments = sorted((dict(message.told) for message in ordered), key=lambda told: str(told["program"]))
    return replace(
        first,
        key=f"{first.template}/{bought.purchase.id}/{notification_id(' '.join(keys))}",
        about=bought.place.key,
        purchase_id=bought.purchase.id,
        hold=_hold(bought, ordered),
        once=frozenset(_MARK + key for key in keys),
        unless=frozenset[str]().union(*(message.once for message in ordered)),
        yields=frozenset(),
        tells=frozenset[str]().union(*(message.once | message.tells for message in ordered)),
        told={
            **first.told,
            "program": bought.title,
            "what": "enrollments",
            "taught": any(told["taught"] for told in enrollments),
            "enrollments": enrollments,
        },
    )


def _hold(bought: Bought, messages: Sequence[Message]) -> Hold:
    """Until all enrollments have their word."""
    if any(message.hold is Hold.GRACE for message in messages):
        return Hold.GRACE
    if len(messages) == len(bought.places):
        return Hold.NOW
    return Hold.GRACE if messages[0].template == "welcome" else Hold.SETTLE
