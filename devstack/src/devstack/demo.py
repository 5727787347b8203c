"""`make demo`: a student buys the barber apprenticeship through the real path; the timeline is printed."""

from __future__ import annotations

import email
import email.policy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from devstack.stack import Clock, Stack, running
from devstack.trouble import last_trouble
from testkit.processes import ProcessDied

SLUG = "barber-apprenticeship"
CARD = "4242424242424242"
PATIENCE_SECONDS = 60.0
RECEIPT = "mail: receipt"
TELLING = ("payment_intent.succeeded", "checkout.session.completed")
"""Stripe's events of which either one is enough to know of the payment."""


class DemoFailed(RuntimeError):
    """A request of the demo was refused."""


@dataclass(frozen=True)
class Seen:
    """Something that happened, at a Unix time: the time that its own record carries, or else when we saw it."""

    what: str
    at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Step:
    """One line of the timeline. `look` returns None as long as it has not happened."""

    name: str
    look: Callable[[], Seen | None]
    logs: tuple[str, ...]
    """Beginnings of the names of the processes whose logs tell why, when it does not happen."""


def run(folder: Path) -> int:
    clock = Clock()
    with running(folder, say=clock.say) as stack:
        student = stack.people["student"]
        clock.say(f"everything is up; {student.name} <{student.email}> buys {SLUG}")
        try:
            code = buy(stack)
        except httpx.HTTPError as error:
            raise DemoFailed(f"a service gave no answer: {error!r}") from error
        clock.say("bought, enrolled, assigned, seated and told; stopping" if code == 0 else "stopping")
    clock.say("stopped")
    return code


def buy(stack: Stack) -> int:
    """The purchase, and what comes of it. 0 when everything came in time."""
    done: list[tuple[str, Seen]] = []
    began = time.time()
    with httpx.Client(trust_env=False, timeout=20) as client:
        shop = Shop(stack, client)
        session = shop.open_checkout()
        done.append(("checkout", Seen(f"{shop.price} to pay, session {session[:16]}…")))
        done.append(("payment", shop.pay(session)))
        waiting = shop.steps(session)
        while waiting and time.time() < began + PATIENCE_SECONDS:
            for step in list(waiting):
                if (seen := step.look()) is not None:
                    waiting.remove(step)
                    done.append((step.name, seen))
            dead = [p for p in stack.processes.values() if not p.alive]
            if dead:
                raise ProcessDied("\n".join(p.describe_death() for p in dead))
            time.sleep(0.05)
    print(timeline(done, began), flush=True)
    if waiting:
        print(missing(stack, waiting), flush=True)
    return 1 if waiting else 0


def timeline(done: list[tuple[str, Seen]], began: float) -> str:
    """A plain table: step, seconds since the purchase, what happened."""
    rows = [(name, f"{seen.at - began:.2f} s", seen.what) for name, seen in sorted(done, key=lambda row: row[1].at)]
    name_width, what_width = max(len(r[0]) for r in rows), max(len(r[2]) for r in rows)
    head = f"  {'step':<{name_width}}  {'after':>8}  what happened"
    lines = [f"  {name:<{name_width}}  {after:>8}  {what}" for name, after, what in rows]
    rule = "  " + "-" * (name_width + 12 + what_width)
    notes = ["", *_ABOUT_RECEIPTS] if any(name == RECEIPT for name, _ in done) else []
    return "\n".join(["", head, rule, *lines, *notes, ""])


_ABOUT_RECEIPTS = (
    "  A receipt goes out as soon as checkout has issued its document, which is attached. Stripe tells of one payment",
    "  in several events, under several references: there is one receipt for all of them.",
)


def missing(stack: Stack, waiting: list[Step]) -> str:
    """Each step that did not happen, the last thing that went wrong in the logs that concern it, and these logs."""
    lines = [f"still missing after {PATIENCE_SECONDS:.0f} s:"]
    for step in waiting:
        logs = [process.command.log for name, process in stack.processes.items() if name.startswith(step.logs)]
        files = [log for log in logs if log is not None]
        lines.append(f"  {step.name}: {last_trouble(files) or 'no warning and no error in its logs'}")
        lines.append(f"    read {', '.join(str(file) for file in files)}")
    return "\n".join(lines)


class Shop:
    """What the student's browser and mailbox see, and the sandbox's log of deliveries."""

    def __init__(self, stack: Stack, client: httpx.Client) -> None:
        self._stack, self._client = stack, client
        self._auth = {"Authorization": f"Bearer {stack.token('student')}"}
        self._student = stack.people["student"]
        self._began = time.time()
        self.price = ""

    def open_checkout(self) -> str:
        """The id of the checkout session that the front end would send the student to."""
        checkout = self._stack.url("checkout")
        found = _json(self._client.get(f"{checkout}/api/programs"))
        program = next(item for item in found["items"] if item["slug"] == SLUG)
        minor = int(program["price"])
        self.price = f"{minor / 100:,.2f} {str(program['currency']).upper()}"
        body = {"programName": program["name"], "programSlug": SLUG, "price": minor // 100, "paymentType": "full"}
        url = _json(self._client.post(f"{checkout}/api/create-checkout-session", json=body, headers=self._auth))["url"]
        if session := re.search(r"cs_\w+", url):
            return session.group()
        raise DemoFailed(f"no checkout session in {url!r}")

    def pay(self, session: str) -> Seen:
        """On Stripe's page, as a person would."""
        body = {"method": "card", "card": CARD, "email": self._student.email, "name": self._student.name}
        url = f"{self._stack.url('stripe_sandbox')}/sandbox/api/sessions/{session}/pay"
        status = _json(self._client.post(url, json=body))["status"]
        return Seen(f"card {CARD[:4]} … {CARD[-4:]}, session {status}")

    def steps(self, session: str) -> list[Step]:
        return [
            Step("webhook", lambda: self._webhook(session), ("webhook_gateway", "stripe_sandbox")),
            Step("enrollment", self._enrollment, ("enrollment", "webhook_gateway.relay")),
            Step("instructor", self._instructor, ("instructor_assignment", "webhook_gateway.relay")),
            Step("Milady", self._milady, ("milady", "webhook_gateway.relay")),
            Step("mail: welcome", lambda: self._mail("welcome"), ("notifications",)),
            Step(RECEIPT, lambda: self._mail("receipt"), ("notifications",)),
        ]

    def _webhook(self, session: str) -> Seen | None:
        """When the first event that tells of the payment had been taken; it happened when all of them have been."""
        sandbox = self._stack.url("stripe_sandbox")
        key = {"Authorization": f"Bearer {self._stack.identity.stripe_api_key}"}
        events = _json(self._client.get(f"{sandbox}/v1/events?limit=100", headers=key))["data"]
        about = {event["id"]: event["data"]["object"] for event in events if event["type"] in TELLING}
        paid = next((o["payment_intent"] for o in about.values() if o["id"] == session), None)
        ours = {event for event, o in about.items() if o["id"] in (session, paid)}
        log = _json(self._client.get(f"{sandbox}/sandbox/api/deliveries"))["deliveries"]
        sent = [delivery for delivery in log if delivery["event"] in ours][::-1]
        if paid is None or any(delivery["status"] != "delivered" for delivery in sent):
            return None
        taken = [delivery["attempts"][-1] for delivery in sent]
        kinds = ", ".join(delivery["type"] for delivery in sent)
        return Seen(f"{kinds}: taken by the gateway", min(last["at"] + last["seconds"] for last in taken))

    def _enrollment(self) -> Seen | None:
        for item in self._mine("enrollment", "/api/enrollments"):
            if item["program_slug"] == SLUG and item["status"] == "active":
                return Seen(f"enrollment active, payment {item['payment_status']}", _moment(item["updated_at"]))
        return None

    def _instructor(self) -> Seen | None:
        for item in self._mine("instructor_assignment", "/api/instructors/mine"):
            if item["program_slug"] == SLUG and item["instructor"]:
                return Seen(f"{item['instructor']['name']} assigned", _moment(item["updated_at"]))
        return None

    def _milady(self) -> Seen | None:
        for item in self._mine("milady_integration", "/api/milady/mine"):
            if item["program_slug"] == SLUG and item["status"] in ("enrolled", "active"):
                return Seen("enrollment at the course provider", _moment(item["updated_at"]))
        return None

    def _mail(self, word: str) -> Seen | None:
        for file in self._stack.mail.files():
            if file.stat().st_mtime < self._began:
                continue  # of earlier runs
            message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            subject = str(message["Subject"])
            if self._student.email in str(message["X-Envelope-To"]) and word in subject.lower():
                return Seen(subject, file.stat().st_mtime)
        return None

    def _mine(self, service: str, path: str) -> list[dict[str, Any]]:
        answer = self._client.get(self._stack.url(service) + path, headers=self._auth)
        items: list[dict[str, Any]] = _json(answer)["items"]
        return items


def _moment(text: str) -> float:
    """Unix time of an API's `updated_at`."""
    return datetime.fromisoformat(text).timestamp()


def _json(answer: httpx.Response) -> dict[str, Any]:
    """Raises DemoFailed with what was said, when it is not a success."""
    if not answer.is_success:
        raise DemoFailed(f"{answer.request.method} {answer.request.url} -> {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found
