"""`make demo`: a student buys the barber apprenticeship, then a plan; the timeline of what follows is printed."""

from __future__ import annotations

import email
import email.policy
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from devstack.demo_client import DemoFailed, Outcome, json_of, session_in
from devstack.last_error import last_error
from devstack.plan_demo import PlanDemo
from devstack.stack import Clock, Stack, running
from testkit.processes import ProcessDied

SLUG = "barber-apprenticeship"
CARD = "4242424242424242"
PATIENCE_SECONDS = 60.0
PAID_EVENTS = ("payment_intent.succeeded", "checkout.session.completed")
"""The Stripe events that report the payment; either one is enough."""


@dataclass(frozen=True)
class Step:
    """One line of the timeline. `look` returns None until the step has happened."""

    name: str
    look: Callable[[], Outcome | None]
    logs: tuple[str, ...]
    """The services whose logs explain why the step did not happen."""


def run(folder: Path) -> int:
    clock = Clock()
    with running(folder, say=clock.say) as stack:
        student = stack.people["student"]
        clock.say(f"everything is ready; {student.name} <{student.email}> buys {SLUG}")
        try:
            code = buy(stack)
        except httpx.HTTPError as error:
            raise DemoFailed(f"a service did not respond: {error!r}") from error
        clock.say("done: one payment and one plan, an enrollment for each; stopping" if code == 0 else "stopping")
    clock.say("stopped")
    return code


def buy(stack: Stack) -> int:
    """Buys, then waits for every step. Returns 0 if all happened in time, else 1."""
    done: list[tuple[str, Outcome]] = []
    began = time.time()
    with httpx.Client(trust_env=False, timeout=20) as client:
        shop = Shop(stack, client)
        session = shop.open_checkout()
        done.append(("checkout", Outcome(f"checkout session {session[:16]}… opened, {shop.price} due")))
        done.append(("payment", shop.pay(session)))
        waiting = shop.steps(session)
        while waiting and time.time() < began + PATIENCE_SECONDS:
            for step in list(waiting):
                if (outcome := step.look()) is not None:
                    waiting.remove(step)
                    done.append((step.name, outcome))
            dead = [p for p in stack.processes.values() if not p.alive]
            if dead:
                raise ProcessDied("\n".join(p.describe_death() for p in dead))
            time.sleep(0.05)
        if not waiting:
            done.extend(PlanDemo(stack, client).run())
    print(timeline(done, began), flush=True)
    if waiting:
        print(missing(stack, waiting), flush=True)
    return 1 if waiting else 0


def timeline(done: list[tuple[str, Outcome]], began: float) -> str:
    """A plain table: step, seconds since the purchase, outcome."""
    rows = [
        (name, f"{outcome.at - began:.2f} s", outcome.what) for name, outcome in sorted(done, key=lambda row: row[1].at)
    ]
    name_width, what_width = max(len(r[0]) for r in rows), max(len(r[2]) for r in rows)
    head = f"  {'step':<{name_width}}  {'after':>8}  outcome"
    lines = [f"  {name:<{name_width}}  {after:>8}  {what}" for name, after, what in rows]
    rule = "  " + "-" * (name_width + 12 + what_width)
    return "\n".join(["", head, rule, *lines, ""])


def missing(stack: Stack, waiting: list[Step]) -> str:
    """Each step that did not happen, the last error in the logs of its services, and the paths of these logs."""
    lines = [f"not finished after {PATIENCE_SECONDS:.0f} s:"]
    for step in waiting:
        logs = [process.command.log for name, process in stack.processes.items() if name in step.logs]
        files = [log for log in logs if log is not None]
        lines.append(f"  {step.name}: {last_error(files) or 'no warnings or errors in its logs'}")
        lines.append(f"    see {', '.join(str(file) for file in files)}")
    return "\n".join(lines)


class Shop:
    """The student's browser and mailbox, and the sandbox's webhook delivery log."""

    def __init__(self, stack: Stack, client: httpx.Client) -> None:
        self._stack, self._client = stack, client
        self._auth = {"Authorization": f"Bearer {stack.token('student')}"}
        self._student = stack.people["student"]
        self._began = time.time()
        self.price = ""

    def open_checkout(self) -> str:
        """Creates a checkout session, as the front end does, and returns its id."""
        checkout = self._stack.url("checkout")
        found = json_of(self._client.get(f"{checkout}/api/programs"))
        program = next(item for item in found["items"] if item["slug"] == SLUG)
        self.price = f"{program['price']:,.2f} {str(program['currency']).upper()}"
        body = {"programName": program["name"], "programSlug": SLUG, "price": program["price"], "paymentType": "full"}
        opened = self._client.post(f"{checkout}/api/create-checkout-session", json=body, headers=self._auth)
        return session_in(json_of(opened)["url"])

    def pay(self, session: str) -> Outcome:
        """Pays by card on the (simulated) Stripe page."""
        body = {"method": "card", "card": CARD, "email": self._student.email, "name": self._student.name}
        url = f"{self._stack.url('stripe_sandbox')}/sandbox/api/sessions/{session}/pay"
        status = json_of(self._client.post(url, json=body, headers=self._stack.operator_headers))["status"]
        return Outcome(f"card •••• {CARD[-4:]} charged, session {status}")

    def steps(self, session: str) -> list[Step]:
        return [
            Step("webhook", lambda: self._webhook(session), ("webhook_gateway", "stripe_sandbox")),
            Step("enrollment", self._enrollment, ("enrollment", "webhook_gateway")),
            Step("instructor", self._instructor, ("instructor_assignment", "webhook_gateway")),
            Step("Milady", self._milady, ("milady_integration", "webhook_gateway")),
            Step("mail: welcome", lambda: self._mail("welcome"), ("notifications",)),
            Step("mail: receipt", lambda: self._mail("receipt"), ("notifications",)),
        ]

    def _webhook(self, session: str) -> Outcome | None:
        """When the first event was accepted; None until the gateway has accepted all of them."""
        sandbox = self._stack.url("stripe_sandbox")
        key = {"Authorization": f"Bearer {self._stack.identity.stripe_api_key}"}
        events = json_of(self._client.get(f"{sandbox}/v1/events?limit=100", headers=key))["data"]
        about = {event["id"]: event["data"]["object"] for event in events if event["type"] in PAID_EVENTS}
        paid = next((o["payment_intent"] for o in about.values() if o["id"] == session), None)
        ours = {event for event, o in about.items() if o["id"] in (session, paid)}
        log = json_of(self._client.get(f"{sandbox}/sandbox/api/deliveries", headers=self._stack.operator_headers))[
            "deliveries"
        ]
        sent = [delivery for delivery in log if delivery["event"] in ours][::-1]
        if paid is None or any(delivery["status"] != "delivered" for delivery in sent):
            return None
        accepted = [delivery["attempts"][-1] for delivery in sent]
        kinds = ", ".join(delivery["type"] for delivery in sent)
        return Outcome(f"{kinds} accepted", min(last["at"] + last["seconds"] for last in accepted))

    def _enrollment(self) -> Outcome | None:
        for item in self._mine("enrollment", "/api/enrollments"):
            if item["program_slug"] == SLUG and item["status"] == "active":
                return Outcome(f"active, payment {item['payment_status']}", _moment(item["updated_at"]))
        return None

    def _instructor(self) -> Outcome | None:
        for item in self._mine("instructor_assignment", "/api/instructors/mine"):
            if item["program_slug"] == SLUG and item["instructor"]:
                return Outcome(f"{item['instructor']['name']} assigned", _moment(item["updated_at"]))
        return None

    def _milady(self) -> Outcome | None:
        for item in self._mine("milady_integration", "/api/milady/mine"):
            if item["program_slug"] == SLUG and item["status"] in ("enrolled", "active"):
                return Outcome("enrolled with the course provider", _moment(item["updated_at"]))
        return None

    def _mail(self, word: str) -> Outcome | None:
        for file in self._stack.mail.files():
            if file.stat().st_mtime < self._began:
                continue  # from an earlier run
            message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            subject = str(message["Subject"])
            if self._student.email in str(message["X-Envelope-To"]) and word in subject.lower():
                return Outcome(subject, file.stat().st_mtime)
        return None

    def _mine(self, service: str, path: str) -> list[dict[str, Any]]:
        answer = self._client.get(self._stack.url(service) + path, headers=self._auth)
        items: list[dict[str, Any]] = json_of(answer)["items"]
        return items


def _moment(text: str) -> float:
    """Unix time of an API's `updated_at`."""
    return datetime.fromisoformat(text).timestamp()
