"""The second part of `make demo`: a plan. The clocks are moved, and each month's installment is collected."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx

from devstack.demo_client import DemoFailed, Outcome, json_of, session_in
from devstack.stack import Stack

SLUG = "dsp"
INSTALLMENTS = 4
MONTH_SECONDS = 31 * 86_400
PATIENCE_SECONDS = 30.0
CARD = "4242424242424242"


class PlanDemo:
    """A student pays the first installment on Stripe's page; checkout collects the others with the saved card."""

    def __init__(self, stack: Stack, client: httpx.Client) -> None:
        self._stack, self._client = stack, client
        self._student = stack.people["student"]
        self._auth = {"Authorization": f"Bearer {stack.token('student')}"}
        self._admin = {"Authorization": f"Bearer {stack.token('admin')}"}

    def run(self) -> Iterator[tuple[str, Outcome]]:
        """Yields each step when it has happened. Raises DemoFailed if one does not."""
        yield self._buy()
        for number in range(1, INSTALLMENTS + 1):
            if number > 1:
                self._advance_clocks()
            paid = self._wait_until_paid(number)
            amount = f"{paid['amount'] / 100:,.2f} {paid['currency'].upper()}"
            with_what = "on the page" if number == 1 else "with the saved card, a month later"
            yield f"installment {number}", Outcome(f"{amount} paid {with_what}")
        yield self._end()

    def _buy(self) -> tuple[str, Outcome]:
        checkout = self._stack.url("checkout")
        programs = json_of(self._client.get(f"{checkout}/api/programs"))["items"]
        program = next(item for item in programs if item["slug"] == SLUG)
        body = {"programName": program["name"], "programSlug": SLUG, "price": program["price"], "paymentType": "plan"}
        opened = json_of(self._client.post(f"{checkout}/api/create-checkout-session", json=body, headers=self._auth))
        session = session_in(opened["url"])
        form = {"method": "card", "card": CARD, "email": self._student.email, "name": self._student.name}
        sandbox = self._stack.url("stripe_sandbox")
        json_of(
            self._client.post(
                f"{sandbox}/sandbox/api/sessions/{session}/pay", json=form, headers=self._stack.operator_headers
            )
        )
        return "plan", Outcome(f"{program['name']} bought in {INSTALLMENTS} installments")

    def _advance_clocks(self) -> None:
        by = {"seconds": MONTH_SECONDS}
        sandbox, checkout = self._stack.url("stripe_sandbox"), self._stack.url("checkout")
        json_of(
            self._client.post(f"{sandbox}/sandbox/api/clock/advance", json=by, headers=self._stack.operator_headers)
        )
        json_of(self._client.post(f"{checkout}/api/admin/test-clock/advance", json=by, headers=self._admin))

    def _wait_until_paid(self, number: int) -> dict[str, Any]:
        """The installment, once its payment has arrived as a verified event."""
        until = time.time() + PATIENCE_SECONDS
        while time.time() < until:
            for installment in self._overview().get("schedules", []):
                if installment["position"] == number and installment["status"] == "paid":
                    return dict(installment)
            time.sleep(0.1)
        raise DemoFailed(f"installment {number} of {SLUG} was not paid within {PATIENCE_SECONDS:.0f} s")

    def _overview(self) -> dict[str, Any]:
        checkout = self._stack.url("checkout")
        purchases = json_of(self._client.get(f"{checkout}/api/purchases", headers=self._auth))["items"]
        bought = next((each for each in purchases if each["product"] == SLUG), None)
        if bought is None:
            return {}
        path = f"{checkout}/api/enrollments/{bought['enrollment_id']}/payment"
        return json_of(self._client.get(path, headers=self._auth))

    def _end(self) -> tuple[str, Outcome]:
        overview = self._overview()
        if overview["due"] or overview["next_due"] is not None:
            raise DemoFailed(f"{overview['due']} is still due after the last installment")
        sandbox = self._stack.url("stripe_sandbox")
        key = {"Authorization": f"Bearer {self._stack.identity.stripe_api_key}"}
        running = json_of(self._client.get(f"{sandbox}/v1/subscriptions?limit=100", headers=key))["data"]
        if running:
            raise DemoFailed("a plan has left a subscription at Stripe")
        self._advance_clocks()
        time.sleep(1.5)  # one sweep of the timer, which finds nothing to collect
        if self._overview()["paid"] != overview["paid"]:
            raise DemoFailed("more than the price was collected")
        return "plan ended", Outcome("paid in full; a month later nothing more is charged")
