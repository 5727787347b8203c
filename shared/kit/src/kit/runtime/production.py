"""What a process of a production environment refuses to start with."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import AnyUrl, BaseModel, SecretStr

MIN_SECRET = 12
"""Characters. Secrets that sign (JWT_SECRET, PAY_LINK_SECRET) have 32 or more, by their own rule."""
MIN_DISTINCT = 6
PUBLIC_MARK = "dev-only"
"""In every secret of the shipped `.env`."""
_SERVERS = re.compile(r"(amqps?|postgres(ql)?(\+\w+)?|rediss?)$")


def refused_values(settings: BaseModel) -> Iterator[str]:
    """For each value that no production environment should have, the setting and what is wrong, without the value."""
    for name in type(settings).model_fields:
        for problem in dict.fromkeys(_problems(getattr(settings, name))):
            yield f"{name.upper()} {problem}"


def _problems(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        for secret in filter(None, (part.strip() for part in value.get_secret_value().split(","))):
            yield from _secret_problems(secret)
    elif isinstance(value, tuple):
        for each in value:
            yield from _problems(each)
    elif isinstance(value, str | AnyUrl):
        if PUBLIC_MARK in str(value):
            yield "is a public value, for development"
        yield from _url_problems(_url_of(str(value)))


def _secret_problems(secret: str) -> Iterator[str]:
    url = _url_of(secret)
    if PUBLIC_MARK in secret:
        yield "is a public value, for development"
    elif url is None:
        yield from _weakness(secret)
    elif _SERVERS.match(url.scheme):
        yield from _weakness(unquote(url.password or ""))
    yield from _url_problems(url)


def _weakness(password: str) -> Iterator[str]:
    if len(password) < MIN_SECRET:
        yield f"is shorter than {MIN_SECRET} characters"
    elif len(set(password)) < MIN_DISTINCT:
        yield f"has fewer than {MIN_DISTINCT} different characters"


def _url_of(text: str) -> SplitResult | None:
    return urlsplit(text) if "://" in text else None


def _url_problems(url: SplitResult | None) -> Iterator[str]:
    if url is None or _SERVERS.match(url.scheme):
        return
    host = url.hostname or ""
    if url.scheme != "https":
        yield "is not an https address"
    if _is_local(host):
        yield "names this machine or its link"
    elif "sandbox" in host:
        yield "names a sandbox"


def _is_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_link_local or address.is_unspecified
