"""The README lists the events that the webhook endpoint at Stripe has to send, and the events that we publish."""

from __future__ import annotations

import re
from pathlib import Path

from contracts.registry import PUBLISHED_BY
from webhook_gateway.topology import SERVICE
from webhook_gateway.translate import TRANSLATED

README = (Path(__file__).parents[2] / "services/webhook-gateway/README.md").read_text()


def test_the_readme_lists_every_event_to_subscribe_to() -> None:
    section = README.split("## Events to subscribe to", 1)[1].split("\n## ", 1)[0]
    listed = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert set(listed) == TRANSLATED


def test_the_readme_lists_every_event_that_is_published() -> None:
    section = README.split("**Publishes**", 1)[1].split("- **Owns**", 1)[0]
    listed: set[str] = set()
    family = ""
    for name in re.findall(r"`([\w.]+)`", section):
        family = family if name.startswith(".") else name.split(".")[0]
        listed.add(family + name if name.startswith(".") else name)
    assert listed == {event.type for event in PUBLISHED_BY[SERVICE]}
