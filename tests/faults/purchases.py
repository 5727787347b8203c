"""Purchases through checkout, Stripe's page and its webhooks, while faults are injected."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
from tests.journeys.harness import BARBER, PRICES, School, Student

PATIENCE_SECONDS = 300.0
PAUSE_SECONDS = 0.2
SLOW_SECONDS = 6.0
REFUNDED = 0.15
"""The share of purchases that are refunded at once."""


@dataclass(frozen=True)
class Purchase:
    """A purchase that is paid."""

    student: Student
    slug: str
    refunded: bool


async def answered(request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    """The first answer that is neither missing nor an error of the server, as a front end's user gets it by trying
    again. Raises AssertionError after PATIENCE_SECONDS, and for a refusal."""
    last: object = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    answer = await request()
                except httpx.TransportError as error:
                    last = repr(error)
                else:
                    if answer.is_success:
                        return answer
                    last = f"{answer.status_code} {answer.text}"
                    assert answer.status_code in (409, 429) or answer.status_code >= 500, last
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not answered within {PATIENCE_SECONDS} s: {last}") from None


class Buyers:
    """Buys until it is stopped. `purchases`: those that are paid."""

    def __init__(self, school: School, *, seed: int, at_once: int = 3) -> None:
        self.school = school
        self.purchases: list[Purchase] = []
        self._random = random.Random(seed)
        self._at_once = at_once

    async def buy_until(self, stop: asyncio.Event, *, at_least: int) -> None:
        """Returns when `stop` is set and so many purchases are paid. Until then it goes on, but slowly: a fault in the
        last minute must find purchases in progress, and thousands would take too long."""

        async def keep_buying() -> None:
            while (bought := len(self.purchases)) < at_least or not stop.is_set():
                self.purchases.append(await self._buy())
                await asyncio.sleep(PAUSE_SECONDS if bought < at_least else SLOW_SECONDS)

        async with asyncio.TaskGroup() as buyers:
            for _ in range(self._at_once):
                buyers.create_task(keep_buying())

    async def _buy(self) -> Purchase:
        student = self.school.student()
        slug = self._random.choice([BARBER, "dsp", "hvac", "cpr"])
        refunded = self._random.random() < REFUNDED
        body = {"programName": slug, "programSlug": slug, "price": PRICES[slug], "paymentType": "full"}
        page = await answered(lambda: student.post("checkout", "/api/create-checkout-session", body))
        paid = await student.pay(await self.school.session(page.json()["url"]))
        if refunded:
            intent = await self.school.stripe_api(f"/payment_intents/{paid['payment_intent']}")
            await self.school.stripe(f"/charges/{intent['latest_charge']}/refund")
        return Purchase(student, slug, refunded)
