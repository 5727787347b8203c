"""What the tests of memberships do: a student who buys one, its life at Stripe, and the events that arrive.

The sandbox is one of their own: they move its clock by years.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import stripe
from tests.checkout.sandbox import StripeSandbox
from tests.checkout.service import Service, bearer

from contracts.enrollment import EnrollmentActivated, EnrollmentPaused, EnrollmentResumed, EnrollmentWithdrawn
from contracts.envelope import Envelope, parse
from contracts.people import MEMBERSHIP, Program, enrollment_uuid
from contracts.registry import EVENT_TYPES
from kit.db.unit_of_work import utc_now
from kit.messaging import fact_store
from ledger.facts import enrollment_key, fold
from ledger.purchase import Purchase
from webhook_gateway.translate import translate

PATH = "/api/memberships"
HOUR, DAY = 3_600, 86_400
MONTH = 31 * DAY

SAME = ("tier", "interval", "status", "cancel_at_period_end", "paused", "current_period_end", "ended_at")
"""What of a row is the same in any order of its events (when it was written is not)."""


@dataclass
class Member:
    """A student, and what the gateway has made of Stripe's events about them so far."""

    service: Service
    id: UUID = field(default_factory=uuid4)
    events: list[Envelope[Any]] = field(default_factory=list)
    _all: list[Envelope[Any]] = field(default_factory=list)
    _after: str | None = None
    _enrollment_revision: int = 0

    @property
    def sandbox(self) -> StripeSandbox:
        return self.service.sandbox

    async def call(self, method: str, path: str = "", role: str = "student", **sent: Any) -> httpx.Response:
        headers = sent.pop("headers", {}) | bearer(role, self.id, email="ada@example.org")
        return await self.service.call(method, PATH + path, headers=headers, **sent)

    async def buy(self, membership: str = "student", **other: Any) -> httpx.Response:
        return await self.call("POST", json={"membership": membership, **other})

    async def join(self, membership: str = "student", *, card: str | None = None, **other: Any) -> str:
        """Buys and pays; its events are delivered, and the enrollment opens. The subscription's id."""
        answer = await self.buy(membership, **other)
        assert answer.status_code == 200, answer.text
        await self.sandbox.pay(answer.json()["sessionId"], **({"card": card} if card else {}))
        await self.catch_up()
        await self.enrollment()
        return str((await self.row())["stripe_subscription_id"])

    async def act(self, action: str, **body: Any) -> httpx.Response:
        return await self.call("POST", f"/{(await self.row())['id']}/{action}", json=body or None)

    async def done(self, action: str, **body: Any) -> dict[str, Any]:
        answer = await self.act(action, **body)
        assert answer.status_code == 200, answer.text
        await self.catch_up()
        return dict(answer.json())

    async def current(self) -> dict[str, Any]:
        answer = await self.call("GET", "/current")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def later(self, *seconds: int) -> None:
        for each in seconds:
            await self.sandbox.operate("/clock/advance", seconds=each)

    async def renewal(self, after: int = 2 * HOUR) -> None:
        """To this many seconds after the start of the next period; it is charged an hour after that."""
        now = (await self.sandbox.operate("/clock/advance", seconds=1))["now"]
        end = (await self.subscription())["items"].data[0].current_period_end
        await self.later(end - now + after)

    async def fetch(self) -> list[Envelope[Any]]:
        """The gateway's events of this student since the last call."""
        events: list[dict[str, Any]] = []
        async with httpx.AsyncClient(base_url=self.sandbox.url, verify=False) as http:
            more = True
            while more:
                params = {"limit": "1000", **({"after": self._after} if self._after else {})}
                page = (await http.get("/sandbox/api/events", params=params)).json()
                events += [json.loads(event["body"]) for event in page["events"]]
                self._after, more = page["next"], page["has_more"]
        self._all += [each for event in events for each in translate(event, received_at=utc_now())]
        refs, before = frozenset[str](), None
        about: list[Envelope[Any]] = []
        while refs != before:  # an invoice leads to its payment, and that to its refund
            about = [e for e in self._all if e.data.student_id == self.id or e.data.refs.of_payment() & refs]
            refs, before = refs.union(*(e.data.refs.of_payment() for e in about)), refs
        stored = {each.id for each in self.events}
        fresh = [each for each in about if each.id not in stored]
        self.events += fresh
        return fresh

    async def catch_up(self) -> list[str]:
        """Delivers the new events, performs the jobs that they enqueue, and delivers checkout's own; the types."""
        fresh = await self.fetch()
        await self.service.deliver(*fresh)
        await self.service.perform(self.id)
        await self.service.deliver(*await self.published())
        await self.service.perform(self.id)
        return [each.type for each in fresh]

    async def published(self) -> list[Envelope[Any]]:
        """The events of the subscription that checkout has published."""
        rows = await self.service.rows(
            "SELECT headers, body FROM outbox_messages WHERE routing_key = 'subscription.changed.v1' ORDER BY id"
        )
        found = [parse(row["headers"], bytes(row["body"]), EVENT_TYPES) for row in rows]
        return [each for each in found if getattr(each.data, "student_id", None) == self.id]

    async def rows(self) -> list[dict[str, Any]]:
        return await self.service.rows(
            "SELECT * FROM memberships WHERE student_id = :student ORDER BY created_at, id", student=self.id
        )

    async def row(self) -> dict[str, Any]:
        return (await self.rows())[-1]

    async def purchases(self) -> list[Purchase]:
        """As every consumer folds them from the stored facts."""
        async with self.service.database.transaction() as db:
            group = await fact_store.group_of(db, enrollment_key(self.id, MEMBERSHIP))
        return list(fold({f.event_id: EVENT_TYPES[f.type].model_validate_json(f.body) for f in group}))  # type: ignore[misc]

    async def standing(self) -> tuple[str, str | None]:
        (purchase,) = await self.purchases()
        standing, reason = purchase.standing()
        return standing.value, reason

    async def enrollment(self) -> None:
        """Delivers the enrollment service's event for the present standing."""
        published: type[EnrollmentActivated | EnrollmentPaused | EnrollmentResumed | EnrollmentWithdrawn]
        newest = await self.service.purchases(self.id)
        states = {p.id: p.standing() for p in await self.purchases()}
        standing, reason = states[newest[-1]["id"]]
        match standing.value:
            case "active":
                published = EnrollmentActivated
            case "paused":
                published = EnrollmentPaused
            case _:
                published = EnrollmentWithdrawn
        self._enrollment_revision += 1
        await self.service.publish(
            published(
                enrollment_id=enrollment_uuid(self.id, MEMBERSHIP),
                student_id=self.id,
                program=Program(slug=MEMBERSHIP, id=MEMBERSHIP, kind="membership"),
                revision=self._enrollment_revision,
                purchase_id=newest[-1]["id"],
                reason=reason,
            )
        )

    async def subscription(self) -> stripe.Subscription:
        return await self.sandbox.api.subscriptions.retrieve_async((await self.row())["stripe_subscription_id"])

    async def invoices(self) -> list[tuple[str | None, int]]:
        """(status, amount paid) of each invoice, oldest first."""
        subscription = (await self.row())["stripe_subscription_id"]
        found = await self.sandbox.api.invoices.list_async({"subscription": subscription, "limit": 100})
        return [(i.status, i.amount_paid) async for i in found.auto_paging_iter()][::-1]

    async def fail_next(self, times: int) -> None:
        customer = (await self.subscription()).customer
        await self.sandbox.operate(f"/customers/{customer}/fail_next_charges", times=times)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json().get("code"))
