"""`make demo`: a student buys the barber apprenticeship through the real path; the timeline is printed."""

from __future__ import annotations

import email
import email.policy
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from devstack.stack import Clock, Stack, running
from kit.testing.processes import ProcessDied

SLUG = "barber-apprenticeship"
CARD = "4242424242424242"
PATIENCE_SECONDS = 60.0


class DemoFailed(RuntimeError):
    """A request of the demo was refused."""


@dataclass(frozen=True)
class Seen:
    """Something that happened, at a Unix time."""

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
    return "\n".join(["", head, "  " + "-" * (name_width + 12 + what_width), *lines, ""])


def missing(stack: Stack, waiting: list[Step]) -> str:
    lines = [f"still missing after {PATIENCE_SECONDS:.0f} s:"]
    for step in waiting:
        logs = [str(stack.folder / "logs" / f"{name}.log") for name in stack.processes if name.startswith(step.logs)]
        lines.append(f"  {step.name}: read {', '.join(logs)}")
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
            Step("enrolment", self._enrolment, ("enrollment", "webhook_gateway.relay")),
            Step("instructor", self._instructor, ("instructor_assignment", "webhook_gateway.relay")),
            Step("Milady", self._milady, ("milady", "webhook_gateway.relay")),
            Step("mail: welcome", lambda: self._mail("welcome"), ("notifications",)),
            Step("mail: receipt", lambda: self._mail("receipt"), ("notifications",)),
        ]

    def _webhook(self, session: str) -> Seen | None:
        sandbox = self._stack.url("stripe_sandbox")
        key = {"Authorization": f"Bearer {self._stack.identity.stripe_api_key}"}
        kind = "checkout.session.completed"
        events = _json(self._client.get(f"{sandbox}/v1/events?limit=20&type={kind}", headers=key))["data"]
        ours = next((e["id"] for e in events if e["data"]["object"]["id"] == session), None)
        log = _json(self._client.get(f"{sandbox}/sandbox/api/deliveries?event={ours}"))["deliveries"] if ours else []
        if log and log[0]["status"] == "delivered":
            last = log[0]["attempts"][-1]
            return Seen(f"{kind} taken by the gateway ({last['status']})", last["at"] + last["seconds"])
        return None

    def _enrolment(self) -> Seen | None:
        for item in self._mine("enrollment", "/api/enrollments"):
            if item["program_slug"] == SLUG and item["status"] == "active":
                return Seen(f"seat active, payment {item['payment_status']}")
        return None

    def _instructor(self) -> Seen | None:
        for item in self._mine("instructor_assignment", "/api/instructors/mine"):
            if item["program_slug"] == SLUG and item["instructor"]:
                return Seen(f"{item['instructor']['name']} assigned")
        return None

    def _milady(self) -> Seen | None:
        for item in self._mine("milady_integration", "/api/milady/mine"):
            if item["program_slug"] == SLUG and item["status"] in ("enrolled", "active"):
                return Seen("seat at the course provider")
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


def _json(answer: httpx.Response) -> dict[str, Any]:
    """Raises DemoFailed with what was said, when it is not a success."""
    if not answer.is_success:
        raise DemoFailed(f"{answer.request.method} {answer.request.url} -> {answer.status_code}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found
