"""From a message to a mail: subject, text and HTML, safe for whatever name or link somebody chose."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from contracts.people import Contact
from notifications.documents import Document
from notifications.known import What
from notifications.outcome import Refused
from notifications.settings import RelaySettings
from notifications.webhook import escaped

_ALERT = "alert"
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_LOOKS_LIKE_A_LINK = re.compile(r"://|www\.|\w\.\w|[<>@/\\]", re.IGNORECASE)
_NOT_IN_A_FILENAME = re.compile(r"[^A-Za-z0-9._-]+")
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, kw_only=True)
class Letterhead:
    """What is the same on every mail."""

    school: str
    sender: str
    support: str | None
    portal: str

    @classmethod
    def of(cls, settings: RelaySettings) -> Letterhead:
        return cls(
            school=settings.school,
            sender=settings.sender,
            support=settings.support_email,
            portal=settings.portal_url.rstrip("/"),
        )


@dataclass(frozen=True, kw_only=True)
class Rendered:
    subject: str
    text: str
    html: str


def render(template: str, told: Mapping[str, Any], *, name: str | None, letterhead: Letterhead) -> Rendered:
    file = _ALERT if template.startswith(_ALERT) else template
    context = {**told, "name": safe_name(name), "letterhead": letterhead}
    written = _environment.get_template(f"{file}.txt").render(context)
    subject, _, text = written.partition("\n")
    subject = _one_line(subject)
    html = _environment.get_template(f"{file}.html").render(context | {"subject": subject})
    return Rendered(subject=subject, text=re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n", html=html)


def compose(
    rendered: Rendered,
    *,
    to: Sequence[Address],
    letterhead: Letterhead,
    message_id: str,
    at: datetime,
    attached: Sequence[Document] = (),
) -> bytes:
    """The mail as it goes over the wire. The same `message_id` tells a mailbox that it has this one already."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(letterhead.school, addr_spec=letterhead.sender)
    mail["To"] = list(to)
    if letterhead.support:
        mail["Reply-To"] = Address(addr_spec=letterhead.support)
    mail["Subject"] = rendered.subject
    mail["Date"] = format_datetime(at.astimezone(UTC))
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(rendered.text)
    mail.add_alternative(rendered.html, subtype="html")
    for document in attached:
        name = _NOT_IN_A_FILENAME.sub("-", document.filename).strip("-.") or "receipt.pdf"
        mail.add_attachment(document.content, maintype="application", subtype="pdf", filename=name)
    return mail.as_bytes()


def chat_text(told: Mapping[str, Any]) -> str:
    """An alert for the webhook."""
    lines = [f"*{escaped(str(told['headline']))}*"]
    lines += [f"{label}: {escaped(_shown(value))}" for label, value in told["lines"].items()]
    return "\n".join([*lines, escaped(str(told["to_do"]))])


def address_of(contact: Contact) -> Address:
    """Raises Refused for what is no address that SMTP without extensions can carry."""
    local, _, domain = contact.email.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise Refused("address_invalid") from None
    if not _LOCAL_PART.fullmatch(local) or not _DOMAIN.fullmatch(domain) or "..." in f".{local}.":
        raise Refused("address_invalid")
    try:
        return Address(safe_name(contact.name) or "", username=local, domain=domain)
    except ValueError:
        raise Refused("address_invalid") from None


def safe_name(name: str | None) -> str | None:
    """A name to greet somebody by. What may be an invitation to click is no name: a stranger may have chosen it."""
    if name is None:
        return None
    plain = _one_line(name)
    return plain if 0 < len(plain) <= 80 and not _LOOKS_LIKE_A_LINK.search(plain) else None


def _held(program: str, what: What) -> str:
    """What somebody has: an enrollment in a program, a membership of some name, access to a product."""
    match what:
        case "membership":
            return program if "membership" in program.lower() else f"membership ({program})"
        case "access":
            return f"access to {program}"
        case _:
            return f"{what} in {program}"


def _one_line(text: str) -> str:
    visible = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in text)
    return " ".join(visible.split())


def _day(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y}"


def _moment(moment: datetime) -> str:
    return f"{_day(moment)} at {moment.astimezone(UTC):%H:%M} UTC"


def _shown(value: object) -> str:
    return _moment(value) if isinstance(value, datetime) else _one_line(str(value))


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(("html",), default=False),
    undefined=StrictUndefined,
    finalize=lambda value: _one_line(value) if type(value) is str else value,  # nobody forges a line of the text
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {"day": _day, "moment": _moment, "shown": _shown, "named": safe_name, "held": _held}
