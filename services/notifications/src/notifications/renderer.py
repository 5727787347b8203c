"""Renders messages as mails and chat posts. Names and links come from outside, so they are checked or escaped."""

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
from notifications.delivery_errors import Rejected
from notifications.documents import Document
from notifications.enrollment import ItemNoun
from notifications.settings import RelaySettings
from notifications.webhook import escaped

_ALERT = "alert"
_LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_LINK_LIKE = re.compile(r"://|www\.|\w\.\w|[<>@/\\]", re.IGNORECASE)
_UNSAFE_IN_FILENAME = re.compile(r"[^A-Za-z0-9._-]+")
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, kw_only=True)
class Branding:
    """What is the same on every mail."""

    seller: str
    sender: str
    support: str | None
    portal: str

    @classmethod
    def of(cls, settings: RelaySettings) -> Branding:
        return cls(
            seller=settings.seller_name,
            sender=settings.sender,
            support=settings.support_email,
            portal=settings.portal_url.rstrip("/"),
        )


@dataclass(frozen=True, kw_only=True)
class Rendered:
    subject: str
    text: str
    html: str


def render(template: str, context: Mapping[str, Any], *, name: str | None, branding: Branding) -> Rendered:
    file = _ALERT if template.startswith(_ALERT) else template
    variables = {**context, "name": safe_name(name), "branding": branding}
    subject, _, text = _environment.get_template(f"{file}.txt").render(variables).partition("\n")
    subject = _one_line(subject)
    html = _environment.get_template(f"{file}.html").render(variables | {"subject": subject})
    return Rendered(subject=subject, text=re.sub(r"\n{3,}", "\n\n", text.strip()) + "\n", html=html)


def compose(
    rendered: Rendered,
    *,
    to: Sequence[Address],
    branding: Branding,
    message_id: str,
    at: datetime,
    attachments: Sequence[Document] = (),
) -> bytes:
    """The mail as sent. Mailboxes recognize a second copy by its `message_id`."""
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = Address(branding.seller, addr_spec=branding.sender)
    mail["To"] = list(to)
    if branding.support:
        mail["Reply-To"] = Address(addr_spec=branding.support)
    mail["Subject"] = rendered.subject
    mail["Date"] = format_datetime(at.astimezone(UTC))
    mail["Message-ID"] = message_id
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(rendered.text)
    mail.add_alternative(rendered.html, subtype="html")
    for document in attachments:
        name = _UNSAFE_IN_FILENAME.sub("-", document.filename).strip("-.") or "receipt.pdf"
        mail.add_attachment(document.content, maintype="application", subtype="pdf", filename=name)
    return mail.as_bytes()


def chat_text(context: Mapping[str, Any]) -> str:
    """An alert for the webhook."""
    lines = [f"*{escaped(str(context['headline']))}*"]
    lines += [f"{label}: {escaped(_display(value))}" for label, value in context["details"].items()]
    return "\n".join([*lines, escaped(str(context["to_do"]))])


def address_of(contact: Contact) -> Address:
    """Raises Rejected if it is not an address that SMTP without extensions can carry."""
    local, _, domain = contact.email.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii")
    except UnicodeError:
        raise Rejected("address_invalid") from None
    if not _LOCAL_PART.fullmatch(local) or not _DOMAIN.fullmatch(domain) or "..." in f".{local}.":
        raise Rejected("address_invalid")
    try:
        return Address(safe_name(contact.name) or "", username=local, domain=domain)
    except ValueError:
        raise Rejected("address_invalid") from None


def safe_name(name: str | None) -> str | None:
    """A name for the greeting; None if it looks like a link, because anybody may have typed it."""
    if name is None:
        return None
    plain = _one_line(name)
    return plain if 0 < len(plain) <= 80 and not _LINK_LIKE.search(plain) else None


def _possession(program: str, noun: ItemNoun) -> str:
    """What somebody has: an enrollment in a program, a membership, access to a product."""
    match noun:
        case "membership":
            return program if "membership" in program.lower() else f"membership ({program})"
        case "access" | "order":
            return f"{noun} {'to' if noun == 'access' else 'of'} {program}"
        case _:
            return f"{noun} in {program}"


def _one_line(text: str) -> str:
    visible = "".join(" " if unicodedata.category(c).startswith(("C", "Z")) else c for c in text)
    return " ".join(visible.split())


def _day(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc:%B} {utc.day}, {utc.year}"


def _moment(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{_day(utc)} at {utc.hour % 12 or 12}:{utc:%M %p} UTC"


def _display(value: object) -> str:
    return _moment(value) if isinstance(value, datetime) else _one_line(str(value))


_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(("html",), default=False),
    undefined=StrictUndefined,
    finalize=lambda value: _one_line(value) if type(value) is str else value,  # a value cannot add lines to the text
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "day": _day,
    "moment": _moment,
    "display": _display,
    "safe_name": safe_name,
    "possession": _possession,
}
