"""Webhook deliveries: every attempt sends the same bytes with a new signature; retries continue for three days."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from stripe_sandbox.endpoints import Endpoints
from stripe_sandbox.faults import Faults
from stripe_sandbox.signatures import signature_header
from stripe_sandbox.store import Obj

_FIRST_RETRY, _GROWTH, _LONGEST_WAIT, _GIVE_UP_AFTER = 60.0, 3.0, 43_200.0, 259_200.0

Status = Literal["pending", "delivered", "given_up", "dropped"]


def webhook_body(event: Obj) -> bytes:
    """The request body of an event's webhook."""
    return json.dumps(event, indent=2).encode()


def retry_delays() -> list[float]:
    """Seconds between attempts: 60 s, tripled each time up to 12 h, three days in total."""
    delays: list[float] = []
    while True:
        delay = min(_FIRST_RETRY * _GROWTH ** len(delays), _LONGEST_WAIT)
        if sum(delays) + delay > _GIVE_UP_AFTER:
            return delays
        delays.append(delay)


@dataclass
class Attempt:
    """One POST. `status` is the HTTP status, or None without a response; `at` is system time in Unix seconds."""

    at: float
    status: int | None
    error: str | None
    seconds: float


@dataclass
class Delivery:
    """The delivery of one event to one endpoint."""

    number: int
    event: str
    type: str
    endpoint: str
    url: str
    body: bytes
    status: Status = "pending"
    attempts: list[Attempt] = field(default_factory=list)
    next_attempt_at: float | None = None


class Deliveries:
    """Queues, attempts and retries of all deliveries. Call `start` before and `stop` after use."""

    def __init__(
        self,
        endpoints: Endpoints,
        faults: Callable[[], Faults],
        *,
        time_factor: float,
        timeout: float,
        concurrency: int,
    ) -> None:
        self._endpoints = endpoints
        self._faults = faults
        self._time_factor = time_factor
        self._timeout = timeout
        self._delays = retry_delays()
        self._queues: dict[str, asyncio.Queue[Delivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: list[asyncio.Task[None]] = []
        self._held: list[Delivery] = []
        self._release: asyncio.Task[None] | None = None
        self._busy = 0
        self._retrying = 0
        self._client: httpx.AsyncClient | None = None
        self._concurrency = concurrency
        self._by_event: dict[str, list[Delivery]] = {}
        self._changed: set[int] = set()
        self.log: list[Delivery] = []
        self.save: Callable[[], None] = lambda: None
        """Called before an attempt and after its answer; see `state_file`."""

    def take_changed(self) -> list[Delivery]:
        """Deliveries that were created or attempted since the last call."""
        changed, self._changed = self._changed, set()
        return [self.log[number] for number in sorted(changed)]

    def restore(self, log: list[Delivery]) -> None:
        """The log of an earlier process; `start` continues what is pending."""
        self.log = log
        for delivery in log:
            self._by_event.setdefault(delivery.event, []).append(delivery)

    async def start(self) -> None:
        self._client = httpx.AsyncClient(timeout=self._timeout, follow_redirects=False, trust_env=False)
        for delivery in self.log:
            if delivery.status == "pending" and delivery.attempts:
                self._retry_later(delivery)
            elif delivery.status == "pending":
                self._queue(delivery)

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._workers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    def create(self, events: list[Obj]) -> list[Delivery]:
        """Creates one delivery per event and subscribed endpoint. They count as queued from now on."""
        created = [delivery for event in events for delivery in self._deliveries_of(event)]
        self._busy += len(created)
        return created

    def send(self, deliveries: list[Delivery]) -> None:
        """Queues created deliveries, subject to the faults in force."""
        self._busy -= len(deliveries)
        for delivery in deliveries:
            if delivery.status == "pending":
                self._dispatch(delivery)

    async def send_after_response(self, deliveries: list[Delivery]) -> None:
        """`send` as a coroutine: Starlette runs a plain function in a thread, which must not touch asyncio queues."""
        self.send(deliveries)

    async def send_now(self, deliveries: list[Delivery]) -> None:
        """Makes the first attempts one by one and returns when they are done. Failed ones are retried later."""
        for delivery in deliveries:
            if delivery.status == "pending":
                await self._first_attempts(delivery)
            self._busy -= 1

    def resend(self, event: Obj) -> int:
        """Sends an event again to every subscribed endpoint. Returns their number."""
        deliveries = self.create([event])
        self.send(deliveries)
        return len(deliveries)

    def of_event(self, event: str) -> list[Delivery]:
        return self._by_event.get(event, [])

    def succeeded(self, event: str) -> bool:
        """Whether the event was delivered to every subscribed endpoint."""
        delivered: dict[str, bool] = {}
        for delivery in self.of_event(event):
            delivered[delivery.endpoint] = delivered.get(delivery.endpoint, False) or delivery.status == "delivered"
        return all(delivered.values())

    def pending(self) -> dict[str, int]:
        """Unfinished deliveries: queued or in progress, held for reordering, waiting for a retry."""
        queued = sum(queue.qsize() for queue in self._queues.values())
        return {"queued": queued + self._busy, "held": len(self._held), "retrying": self._retrying}

    def _deliveries_of(self, event: Obj) -> list[Delivery]:
        endpoints = self._endpoints.subscribed_to(event["type"])
        if not endpoints:
            return []
        if not self.of_event(event["id"]):
            event["pending_webhooks"] = len(endpoints)
        body = webhook_body(event)
        drop = self._faults().drop
        first = len(self.log)
        created = [
            Delivery(number, event["id"], event["type"], e["id"], e["url"], body)
            for number, e in enumerate(endpoints, first)
        ]
        for delivery in created:
            self._changed.add(delivery.number)
            if "*" in drop or delivery.type in drop:
                delivery.status = "dropped"
            self.log.append(delivery)
            self._by_event.setdefault(delivery.event, []).append(delivery)
        return created

    def _dispatch(self, delivery: Delivery) -> None:
        faults = self._faults()
        if faults.reorder_window:
            self._hold(delivery, faults)
        elif faults.delay_seconds:
            self._busy += 1
            self._spawn(self._queue_after(faults.delay_seconds, delivery))
        else:
            self._queue(delivery)

    async def _queue_after(self, seconds: float, delivery: Delivery) -> None:
        await asyncio.sleep(seconds / self._time_factor)
        self._busy -= 1
        self._queue(delivery)

    def _hold(self, delivery: Delivery, faults: Faults) -> None:
        self._held.append(delivery)
        if len(self._held) >= faults.reorder_window:
            self.release()
        elif self._release is None:
            self._release = self._spawn(self._release_after(faults.reorder_hold_seconds))

    async def _release_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._time_factor)
        self._release = None
        self.release()

    def release(self) -> None:
        """Queues the held deliveries in random order."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        held, self._held = self._held, []
        random.Random(self._faults().reorder_seed).shuffle(held)  # noqa: S311 (not used for security)
        for delivery in held:
            self._queue(delivery)

    def _queue(self, delivery: Delivery) -> None:
        if delivery.endpoint not in self._queues:
            queue = self._queues[delivery.endpoint] = asyncio.Queue()
            self._workers += [asyncio.create_task(self._work(queue)) for _ in range(self._concurrency)]
        self._queues[delivery.endpoint].put_nowait(delivery)

    async def _work(self, queue: asyncio.Queue[Delivery]) -> None:
        while True:
            delivery = await queue.get()
            self._busy += 1
            try:
                await self._first_attempts(delivery)
            finally:
                self._busy -= 1

    async def _first_attempts(self, delivery: Delivery) -> None:
        await self._attempt(delivery)
        for _ in range(self._faults().duplicate):
            await self._attempt(delivery)
        if delivery.status == "pending":
            self._retry_later(delivery)

    def _retry_later(self, delivery: Delivery) -> None:
        self._spawn(self._retry(delivery))
        self._retrying += 1

    async def _retry(self, delivery: Delivery) -> None:
        try:
            for delay in self._delays[max(len(delivery.attempts) - 1, 0) :]:
                wait = delay / self._time_factor
                delivery.next_attempt_at = time.time() + wait
                await asyncio.sleep(wait)
                if not self._endpoints.secrets(delivery.endpoint):
                    break  # the endpoint has been deleted
                await self._attempt(delivery)
                if delivery.status == "delivered":
                    return
            delivery.status = "given_up"
            self._changed.add(delivery.number)
        finally:
            delivery.next_attempt_at = None
            self._retrying -= 1

    async def _attempt(self, delivery: Delivery) -> None:
        secrets, url = self._endpoints.secrets(delivery.endpoint), self._endpoints.url(delivery.endpoint)
        if not secrets or url is None or self._client is None:
            return
        delivery.url = url
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature_header(delivery.body, secrets, at=int(time.time())),
        }
        self.save()
        started, status, error = time.time(), None, None
        try:
            response = await self._client.post(delivery.url, content=delivery.body, headers=headers)
            status = response.status_code
        except httpx.HTTPError as failure:
            error = f"{type(failure).__name__}: {failure}"
        delivery.attempts.append(Attempt(started, status, error, time.time() - started))
        if status is not None and 200 <= status < 300 and delivery.status == "pending":
            delivery.status = "delivered"
            self._endpoints.count_delivered(delivery.event)
        self._changed.add(delivery.number)
        self.save()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
