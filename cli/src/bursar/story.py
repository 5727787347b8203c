"""The events of a purchase as lines for people: what happened, when, and which service says so. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

# Any: JSON
Json = Mapping[str, Any]

TOGETHER = timedelta(minutes=10)
"""Events that say the same of the same payment within this time are one line."""

# Stripe's zero- and three-decimal currencies, see contracts.money
_ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE_DECIMAL = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))
_SHOWN = ("re_", "pyr_", "dp_", "du_", "pi_", "in_", "ch_", "py_", "cs_", "sub_")
"""Of the references of a line, the first of these kinds is shown."""
_PAYMENT = re.compile(r"(pi|in|ch|py|cs|dp|du|re|pyr)_")


@dataclass(frozen=True, kw_only=True)
class Line:
    """`events`: how many events say this. `reference`: an id at Stripe, or empty."""

    time: datetime
    source: str
    text: str
    refs: frozenset[str] = field(default=frozenset())
    events: int = 1

    @property
    def reference(self) -> str:
        named = (ref for kind in _SHOWN for ref in sorted(self.refs) if ref.startswith(kind))
        return next(named, "")


def title(events: Sequence[Json]) -> str:
    """What was bought, by whom, for how much; as far as the events say it."""
    bodies = [event["data"] for event in events]
    names = (body["program"]["name"] or body["program"]["slug"] for body in bodies if body.get("program"))
    prices = (
        body["amount"] for event, body in zip(events, bodies, strict=True) if event["type"] == "purchase.created.v1"
    )
    students = (str(body["student_id"]) for body in bodies if body.get("student_id"))
    parts = [next(names, ""), money(next(prices, None)), next((f"student {id}" for id in students), "")]
    return ", ".join(part for part in parts if part)


def lines(events: Sequence[Json]) -> list[Line]:
    """Oldest first, and no event before the one that caused it, whatever their clocks say. Several events that say the
    same of one payment are one line."""
    found: list[Line] = []
    places = _places(events)
    for event in sorted(events, key=lambda each: (places[each["event_id"]], each["received_at"])):
        refs = frozenset(ref for ref in event["refs"] if _PAYMENT.match(ref))
        line = Line(time=places[event["event_id"]][0], source=event["source"], text=_text(event), refs=refs)
        same = next((n for n, other in enumerate(found) if _is_same(other, line)), None)
        if same is None:
            found.append(line)
        else:
            other = found[same]
            longer = max(other.text, line.text, key=len)
            found[same] = replace(other, text=longer, refs=other.refs | line.refs, events=other.events + 1)
    return found


def _is_same(line: Line, other: Line) -> bool:
    says_the_same = line.text.startswith(other.text) or other.text.startswith(line.text)
    about_the_same = bool(line.refs & other.refs) or line.refs == other.refs
    return says_the_same and about_the_same and line.source == other.source and other.time - line.time <= TOGETHER


def _places(events: Sequence[Json]) -> dict[str, tuple[datetime, int]]:
    """When each event occurred, not before its cause; and how many causes are known before it. By the event's id."""
    own = {event["event_id"]: datetime.fromisoformat(event["time"]) for event in events}
    causes = {event["event_id"]: event.get("causation_id", "") for event in events}
    places = {}
    for id, time in own.items():
        known, cause = {id}, causes[id]
        while cause in own and cause not in known:
            time, known, cause = max(time, own[cause]), known | {cause}, causes[cause]
        places[id] = time, len(known)
    return places


def money(amount: Any) -> str:
    """`{"amount": 489000, "currency": "usd"}` as 4,890.00 USD; empty for anything else."""
    if not isinstance(amount, Mapping) or not isinstance(amount.get("amount"), int):
        return ""
    currency = str(amount.get("currency", ""))
    decimals = 0 if currency in _ZERO_DECIMAL else 3 if currency in _THREE_DECIMAL else 2
    return f"{Decimal(amount['amount']).scaleb(-decimals):,.{decimals}f} {currency.upper()}"


def _text(event: Json) -> str:
    kind, body = str(event["type"]).removesuffix(".v1"), event["data"]
    write = _TEXTS.get(kind, _other)
    return " ".join(write(kind, body).split())


def _other(kind: str, body: Json) -> str:
    """`enrollment.activated` -> enrollment activated, with what every event may have."""
    said = [str(body[name]) for name in ("status", "code", "reason") if isinstance(body.get(name), str)]
    about = f" of {money(body.get('amount'))}" if money(body.get("amount")) else ""
    return f"{kind.replace('.', ' ').replace('_', ' ')}{about}{': ' if said else ''}{', '.join(said)}"


def _created(_: str, body: Json) -> str:
    parts = f" in {body['installments']} installments" if body.get("installments") else ""
    by = body.get("funding_source") or f"the {body.get('payer', 'payer')}"
    return f"purchase created: {money(body.get('amount'))}{parts}, paid by {by}"


def _payment(kind: str, body: Json) -> str:
    """What is not always said comes last, so that one line contains the other."""
    outcome = kind.partition(".")[2]
    details = body.get("details") or {}
    how = details.get("brand") or details.get("type") or body.get("method")
    text = f"payment of {money(body.get('amount'))} {outcome}" if money(body.get("amount")) else f"payment {outcome}"
    if outcome == "failed":
        more = [f"attempt {body['attempt']}"] if body.get("attempt") else []
        more += [f"next on {_day(body['next_attempt_at'])}"] if body.get("next_attempt_at") else []
        more += ["no further attempt"] if body.get("final") else []
        return ", ".join([f"{text}: {body.get('code', 'unknown')}", *more])
    return f"{text} by {how}" if how else text


def _refunded(_: str, body: Json) -> str:
    if body.get("refund_id"):
        return f"refund of {money(body.get('amount'))}: {body.get('status', 'succeeded')}"
    return f"refunded {money(body.get('total'))} of {money(body.get('of')) or 'the payment'}"


def _dispute(kind: str, body: Json) -> str:
    due = f", evidence is due on {_day(body['evidence_due_by'])}" if body.get("evidence_due_by") else ""
    funds = f", funds {body['funds']}" if body.get("funds") else ""
    change = "opened" if kind.endswith("opened") else "closed"
    return f"dispute of {money(body.get('amount'))} {change}: {body.get('status', '')}{due}{funds}"


def _ended(_: str, body: Json) -> str:
    return f"purchase ended by the {body.get('by', 'school')}: {body.get('reason', '')}"


def _decided(_: str, body: Json) -> str:
    return f"refund request {body.get('decision', 'decided')} {money(body.get('amount'))}"


def _instructor(kind: str, body: Json) -> str:
    outcome = kind.partition(".")[2]
    name = (body.get("instructor") or {}).get("name")
    return f"instructor {outcome}: {name}" if name else f"instructor {outcome}"


def _provider(kind: str, body: Json) -> str:
    code = f": {body['code']}" if body.get("code") else ""
    return f"Milady {kind.partition('.')[2]}{code}"


def _notification(kind: str, body: Json) -> str:
    code = f": {body['code']}" if body.get("code") else ""
    what = "mail" if body.get("channel") == "email" else "message"
    return (
        f"{what} {body.get('template', '')} {kind.partition('.')[2]} to the {body.get('recipient', 'recipient')}{code}"
    )


def _receipt(_: str, body: Json) -> str:
    return f"{body.get('kind', 'receipt')} {body.get('number', '')} issued, {money(body.get('amount'))}"


def _announced(_: str, body: Json) -> str:
    position = f"installment {body.get('position')} of {body.get('installments')}"
    return f"{position} announced: {money(body.get('amount'))} on {_day(str(body.get('due_at', '')))}"


def _audited(_: str, body: Json) -> str:
    act, actor = body.get("act") or {}, body.get("actor") or {}
    reason = f": {act['reason']}" if act.get("reason") else ""
    done = str(act.get("action", "")).replace(".", " ").replace("_", " ")
    return f"{done} by {actor.get('role', '')} {str(actor.get('id', ''))[:8]}{reason}"


def _day(time: str) -> str:
    return time[:10]


_TEXTS = {
    "purchase.created": _created,
    "payment.succeeded": _payment,
    "payment.pending": _payment,
    "payment.failed": _payment,
    "payment.refunded": _refunded,
    "payment.dispute_opened": _dispute,
    "payment.dispute_closed": _dispute,
    "purchase.ended": _ended,
    "refund.decided": _decided,
    "instructor.assigned": _instructor,
    "instructor.released": _instructor,
    "instructor.unavailable": _instructor,
    "milady.enrolled": _provider,
    "milady.withdrawn": _provider,
    "milady.failed": _provider,
    "notification.sent": _notification,
    "notification.failed": _notification,
    "receipt.issued": _receipt,
    "installment.announced": _announced,
    "audit.recorded": _audited,
}
