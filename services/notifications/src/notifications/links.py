"""Web addresses come from events, so a forged event could put anybody's page behind a button of the school. Only those
of the school's own hosts, and of Stripe's and Milady's, reach a mail. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from notifications.alerts import alert
from notifications.message import Channel, Message

DEFAULT_HOSTS = ("stripe.com", ".stripe.com", ".milady.com")

_REQUIRED = "url"
"""Without it, the message has no purpose."""
_OPTIONAL = "pay_url"
"""Without it, the mail links to the portal."""
_LIST = "links"


def with_allowed_links(
    messages: Sequence[Message], hosts: Collection[str], channels: Sequence[Channel]
) -> list[Message]:
    """The messages without the web addresses of other hosts, and an alert for each message that had one."""
    return [checked for message in messages for checked in _checked(message, hosts, channels)]


def host_of(entry: str) -> str:
    """The host of a setting that is an address, a host, or a domain with a leading dot."""
    return (urlsplit(entry).hostname or "") if "://" in entry else entry.lower()


def is_allowed(url: str, hosts: Collection[str]) -> bool:
    """Browsers read a backslash as a slash, and drop control characters: such addresses are not allowed at all.
    https://url.spec.whatwg.org/#url-parsing"""
    if not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("https", "http") or "@" in parts.netloc:
        return False
    return host in hosts or any(entry.startswith(".") and host.endswith(entry) for entry in hosts)


def _checked(message: Message, hosts: Collection[str], channels: Sequence[Channel]) -> Iterator[Message]:
    context: dict[str, Any] = dict(message.context)
    refused = [url for name in (_REQUIRED, _OPTIONAL) if (url := context.get(name)) and not is_allowed(url, hosts)]
    refused += [link["url"] for link in context.get(_LIST, ()) if not is_allowed(link["url"], hosts)]
    if not refused or message.recipient == "admin":
        yield message
        return
    if context.get(_REQUIRED) not in refused:
        if context.get(_OPTIONAL) in refused:
            context[_OPTIONAL] = None
        if _LIST in context:
            context[_LIST] = [link for link in context[_LIST] if link["url"] not in refused]
        yield replace(message, context=context)
    yield from alert(
        f"link-refused/{message.key}",
        "alert-link-refused",
        channels,
        facts_key=message.facts_key,
        student_id=message.student_id,
        purchase_id=message.purchase_id,
        headline="A message had a link to an unknown host",
        details={"Message": message.template, "Hosts": ", ".join(sorted(map(_defanged, refused)))},
        to_do="If the host is the school's or its course provider's, add it to LINK_HOSTS. Otherwise somebody may have "
        "published a forged event: see the runbook on dead letters.",
    )


def _defanged(url: str) -> str:
    """The host, written so that no mail program makes it a link."""
    try:
        host = urlsplit(url).netloc
    except ValueError:
        host = ""
    return (host or "not a web address")[:100].replace(".", "[.]")
