"""Installment plans: schedules, renewals, retries, pauses, cancellation."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.harness import Operator, Receiver, events_of, last_event, monthly, new_session, plain

DAY, HOUR = 86_400, 3_600


class Plan:
    """A subscription bought on the hosted page by a customer with a test clock."""

    def __init__(self, client: stripe.StripeClient, operator: Operator) -> None:
        self.client = client
        self.start = operator.get("/clock")["now"]
        self.clock = client.v1.test_helpers.test_clocks.create({"frozen_time": self.start}).id
        self.customer = client.v1.customers.create({"email": "plan@example.org", "test_clock": self.clock}).id
        self.price = monthly(client)
        self.session = new_session(
            client,
            mode="subscription",
            customer=self.customer,
            line_items=[{"price": self.price, "quantity": 1}],
            subscription_data={"metadata": {"purchase": "p1"}},
            metadata={"purchase": "p1", "only": "session"},
        ).id
        self.before = last_event(client)
        operator.pay(self.session)
        self.id = str(client.v1.checkout.sessions.retrieve(self.session).subscription)

    def now(self) -> int:
        return self.client.v1.test_helpers.test_clocks.retrieve(self.clock).frozen_time

    def advance(self, seconds: int) -> list[str]:
        """Advances the plan's clock. Returns the types of the new events, oldest first."""
        since = last_event(self.client)
        clocks = self.client.v1.test_helpers.test_clocks
        assert clocks.advance(self.clock, {"frozen_time": self.now() + seconds}).status == "advancing"
        assert clocks.retrieve(self.clock).status == "ready"
        types = [e.type for e in events_of(self.client, since)]
        return [kind for kind in types if not kind.startswith("test_helpers.")]

    def subscription(self) -> Any:
        return self.client.v1.subscriptions.retrieve(self.id, {"expand": ["latest_invoice"]})

    def invoices(self) -> list[Any]:
        return list(self.client.v1.invoices.list({"subscription": self.id}).data)[::-1]

    def schedule(self, months: int = 4) -> Any:
        """Limits the plan to a number of months, as the checkout service does after completion."""
        created = self.client.v1.subscription_schedules.create({"from_subscription": self.id})
        first = created.phases[0]
        phases: Any = [
            {
                "items": [{"price": self.price, "quantity": 1}],
                "start_date": first.start_date,
                "duration": {"interval": "month", "interval_count": months},
            }
        ]
        return self.client.v1.subscription_schedules.update(created.id, {"end_behavior": "cancel", "phases": phases})


@pytest.fixture
def plan(client: stripe.StripeClient, operator: Operator) -> Plan:
    return Plan(client, operator)


def test_checkout_starts_the_subscription_in_stripes_order(client: stripe.StripeClient, plan: Plan) -> None:
    events = events_of(client, plan.before)
    assert [e.type for e in events] == [
        "payment_intent.created",
        "payment_method.attached",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "payment_intent.succeeded",
        "charge.succeeded",
        "checkout.session.completed",
    ]
    by_type = {e.type: plain(e.data.object) for e in events}
    subscription = by_type["customer.subscription.created"]
    assert (subscription["status"], subscription["metadata"]) == ("active", {"purchase": "p1"})
    assert "current_period_end" not in subscription
    invoice = by_type["invoice.paid"]
    assert "subscription" not in invoice
    details = invoice["parent"]["subscription_details"]
    assert (details["subscription"], details["metadata"]) == (plan.id, {"purchase": "p1"})
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_create", 122_250)
    assert by_type["payment_intent.succeeded"]["metadata"] == {}
    completed = by_type["checkout.session.completed"]
    assert (completed["subscription"], completed["payment_intent"]) == (plan.id, None)
    assert (completed["invoice"], completed["payment_status"]) == (invoice["id"], "paid")
    intent = by_type["payment_intent.succeeded"]["id"]
    assert by_type["invoice_payment.paid"]["payment"]["payment_intent"] == intent


def test_a_declined_first_payment_starts_no_subscription(client: stripe.StripeClient, operator: Operator) -> None:
    line = {"price": monthly(client), "quantity": 1}
    session = new_session(client, mode="subscription", line_items=[line])
    since = last_event(client)
    operator.pay(session.id, status=402, card="4000000000000002")
    types = [e.type for e in events_of(client, since)]
    assert types == ["customer.created", "payment_intent.created", "payment_intent.payment_failed", "charge.failed"]
    session_after = client.v1.checkout.sessions.retrieve(session.id)
    assert (session_after.status, session_after.subscription) == ("open", None)


def test_a_renewal_is_drafted_and_charged_an_hour_later(plan: Plan) -> None:
    end = plan.subscription()["items"].data[0].current_period_end
    assert plan.advance(end - plan.start + 60) == ["customer.subscription.updated", "invoice.created"]
    assert plan.subscription().latest_invoice.status == "draft"
    assert plan.advance(HOUR) == [
        "payment_intent.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "payment_intent.succeeded",
        "charge.succeeded",
    ]
    assert [i.billing_reason for i in plan.invoices()] == ["subscription_create", "subscription_cycle"]


def test_a_four_month_plan_runs_to_its_end(client: stripe.StripeClient, plan: Plan) -> None:
    schedule = plan.schedule()
    assert (schedule.end_behavior, len(schedule.phases)) == ("cancel", 1)
    events = plan.advance(130 * DAY)
    assert events[-3:] == [
        "customer.subscription.deleted",
        "subscription_schedule.updated",
        "subscription_schedule.completed",
    ]
    assert [(i.status, i.amount_paid) for i in plan.invoices()] == [("paid", 122_250)] * 4
    assert plan.subscription().status == "canceled"
    assert client.v1.subscription_schedules.retrieve(schedule.id).status == "completed"
    assert plan.advance(100 * DAY) == []


def test_a_phase_can_have_a_price_of_its_own(client: stripe.StripeClient, plan: Plan) -> None:
    last = monthly(client, 122_253)
    created = client.v1.subscription_schedules.create({"from_subscription": plan.id})
    phases: Any = [
        {
            "items": [{"price": plan.price}],
            "start_date": created.phases[0].start_date,
            "duration": {"interval": "month", "interval_count": 3},
        },
        {"items": [{"price": last}], "duration": {"interval": "month"}},
    ]
    client.v1.subscription_schedules.update(created.id, {"end_behavior": "cancel", "phases": phases})
    plan.advance(130 * DAY)
    assert [i.amount_paid for i in plan.invoices()] == [122_250, 122_250, 122_250, 122_253]


def test_invalid_schedule_requests_are_rejected(client: stripe.StripeClient, plan: Plan) -> None:
    schedules = client.v1.subscription_schedules
    with pytest.raises(stripe.InvalidRequestError):
        schedules.create({"from_subscription": plan.id, "end_behavior": "cancel"})
    created = plan.schedule()
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        schedules.create({"from_subscription": plan.id})
    without_start: Any = {"phases": [{"items": [{"price": plan.price}], "duration": {"interval": "month"}}]}
    with pytest.raises(stripe.InvalidRequestError, match="start_date"):
        schedules.update(created.id, without_start)
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        client.v1.subscriptions.update(plan.id, {"cancel_at_period_end": True})
    assert schedules.release(created.id).status == "released"
    assert plan.subscription().schedule is None
    with pytest.raises(stripe.InvalidRequestError):
        schedules.cancel(created.id)


def test_canceling_a_schedule_cancels_its_subscription(client: stripe.StripeClient, plan: Plan) -> None:
    schedule = plan.schedule()
    since = last_event(client)
    client.v1.subscription_schedules.cancel(schedule.id)
    types = [e.type for e in events_of(client, since)]
    assert types == ["customer.subscription.deleted", "subscription_schedule.canceled"]


def test_a_failed_renewal_is_paid_by_the_first_retry(
    client: stripe.StripeClient, plan: Plan, operator: Operator
) -> None:
    operator.do(f"/customers/{plan.customer}/fail_next_renewal")
    events = plan.advance(32 * DAY)
    failed = [
        "payment_intent.payment_failed",
        "charge.failed",
        "invoice.payment_failed",
        "customer.subscription.updated",
    ]
    at = events.index("payment_intent.payment_failed")
    assert events[at : at + 4] == failed
    assert events[-1] == "customer.subscription.updated"
    assert plan.subscription().status == "active"
    assert plan.invoices()[-1].attempt_count == 2
    changes = [e for e in events_of(client, None, "customer.subscription.updated") if e.data.object["id"] == plan.id]
    assert [plain(e.data)["previous_attributes"].get("status") for e in changes[-2:]] == ["active", "past_due"]


def test_after_the_last_retry_it_stays_past_due_until_paid(
    client: stripe.StripeClient, plan: Plan, operator: Operator
) -> None:
    operator.do(f"/customers/{plan.customer}/fail_next_renewal", times=4)
    since = last_event(client)
    plan.advance(45 * DAY)
    failures = [plain(e.data.object) for e in events_of(client, since, "invoice.payment_failed")]
    assert [f["attempt_count"] for f in failures] == [1, 2, 3, 4]
    waits = [f["next_payment_attempt"] for f in failures]
    assert waits[3] is None
    assert [later - earlier for earlier, later in itertools.pairwise(waits[:3])] == [3 * DAY, 7 * DAY]
    assert plan.subscription().status == "past_due"
    paid = operator.do(f"/invoices/{failures[0]['id']}/pay", card="4242424242424242")
    assert paid["status"] == "paid"
    assert plan.subscription().status == "active"


def test_canceling_now_and_at_the_periods_end(client: stripe.StripeClient, plan: Plan, operator: Operator) -> None:
    updated = client.v1.subscriptions.update(plan.id, {"cancel_at_period_end": True})
    assert updated.status == "active" and updated.cancel_at
    assert plan.advance(32 * DAY) == ["customer.subscription.deleted"]
    assert len(plan.invoices()) == 1
    other = Plan(client, operator)
    assert client.v1.subscriptions.cancel(other.id).status == "canceled"
    assert other.id not in [s.id for s in client.v1.subscriptions.list({"customer": other.customer}).data]
    every: Any = {"customer": other.customer, "status": "all"}
    assert [s.id for s in client.v1.subscriptions.list(every).data] == [other.id]


def test_pausing_stops_invoices_and_resuming_starts_a_period(client: stripe.StripeClient, plan: Plan) -> None:
    since = last_event(client)
    assert client.v1.subscriptions.pause(plan.id).status == "paused"
    assert [e.type for e in events_of(client, since)][-1] == "customer.subscription.paused"
    assert plan.advance(40 * DAY) == []
    resumed = client.v1.subscriptions.resume(plan.id)
    assert resumed.status == "active"
    assert len(plan.invoices()) == 2
    assert client.v1.subscriptions.update(plan.id, {"pause_collection": {"behavior": "keep_as_draft"}}).pause_collection
    plan.advance(32 * DAY)
    assert plan.invoices()[-1].status == "draft"


def test_a_subscription_through_the_api(client: stripe.StripeClient) -> None:
    settings: Any = {"default_payment_method": "pm_card_visa"}
    customer = client.v1.customers.create(
        {"email": "api@example.org", "payment_method": "pm_card_visa", "invoice_settings": settings}
    )
    items: Any = [{"price": monthly(client)}]
    created = client.v1.subscriptions.create({"customer": customer.id, "items": items, "metadata": {"a": "b"}})
    assert (created.status, plain(created.metadata)) == ("active", {"a": "b"})
    bare = client.v1.customers.create({})
    with pytest.raises(stripe.InvalidRequestError, match="payment source"):
        client.v1.subscriptions.create({"customer": bare.id, "items": items})
    trial = client.v1.subscriptions.create({"customer": customer.id, "items": items, "trial_period_days": 7})
    assert trial.status == "trialing"


def test_the_sandbox_clock_renews_subscriptions_without_a_test_clock(
    client: stripe.StripeClient, receiver: Receiver, operator: Operator
) -> None:
    session = new_session(client, mode="subscription", line_items=[{"price": monthly(client), "quantity": 1}])
    operator.pay(session.id)
    id = client.v1.checkout.sessions.retrieve(session.id).subscription
    assert isinstance(id, str)
    operator.wait_idle()
    receiver.received.clear()
    operator.do("/clock/advance", seconds=32 * DAY)
    operator.wait_idle()
    own = [
        e
        for e in receiver.of("invoice.paid")
        if e["data"]["object"]["parent"]["subscription_details"]["subscription"] == id
    ]
    assert len(own) == 1
    client.v1.subscriptions.cancel(id)


def test_a_bank_debit_leaves_the_subscription_unpaid_at_first(client: stripe.StripeClient, operator: Operator) -> None:
    session = new_session(client, mode="subscription", line_items=[{"price": monthly(client), "quantity": 1}])
    intent = operator.pay(session.id, method="us_bank_account")["payment_intent"]
    done: Any = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription.latest_invoice"]})
    assert (done.status, done.payment_status) == ("complete", "unpaid")
    assert done.subscription.latest_invoice.status == "open"
    since = last_event(client)
    operator.do(f"/payment_intents/{intent}/fail")
    types = [e.type for e in events_of(client, since)]
    assert "invoice.payment_failed" in types and types[-1] == "checkout.session.async_payment_failed"
    client.v1.subscriptions.cancel(done.subscription.id)
