"""Subscriptions through the API: client secrets, proration, pauses, cancellation, yearly renewal."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from tests.stripe_sandbox.in_process import DAY, HOUR, InProcessSandbox

BASIC, PRO = 10_000, 25_000


class Plan:
    """A monthly subscription for $100 on a test clock, paid by card."""

    def __init__(self, sandbox: InProcessSandbox, amount: int = BASIC, interval: str = "month", **params: Any) -> None:
        self.sandbox = sandbox
        self.start = 1_800_000_000
        clock = sandbox.api.test_helpers.test_clocks.create({"frozen_time": self.start})
        self.clock = clock.id
        self.customer = sandbox.customer(test_clock=clock.id).id
        items = [{"price": sandbox.price(amount, interval)}]
        created = sandbox.api.subscriptions.create({"customer": self.customer, "items": items, **params})
        self.id, self.item = created.id, created["items"].data[0].id
        self.end = created["items"].data[0].current_period_end
        sandbox.new_events()

    def advance_to(self, moment: int) -> None:
        self.sandbox.api.test_helpers.test_clocks.advance(self.clock, {"frozen_time": moment})

    def now(self) -> Any:
        return self.sandbox.api.subscriptions.retrieve(self.id, {"expand": ["latest_invoice"]})

    def change(self, amount: int, interval: str = "month", **params: Any) -> Any:
        items = [{"id": self.item, "price": self.sandbox.price(amount, interval)}]
        return self.sandbox.api.subscriptions.update(self.id, {"items": items, **params})

    def pending_amounts(self) -> list[int]:
        found = self.sandbox.api.invoice_items.list({"customer": self.customer, "pending": True}).data
        return [item.amount for item in found][::-1]

    def balance(self) -> int:
        return int(self.sandbox.api.customers.retrieve(self.customer).balance)

    def paid(self) -> list[int]:
        """The amount paid of each invoice, oldest first."""
        return [i.amount_paid for i in self.sandbox.api.invoices.list({"subscription": self.id}).data][::-1]


@pytest.fixture
def plan(sandbox: InProcessSandbox) -> Plan:
    return Plan(sandbox)


def create_incomplete(sandbox: InProcessSandbox, customer: str, **params: Any) -> Any:
    return sandbox.api.subscriptions.create(
        {
            "customer": customer,
            "items": [{"price": sandbox.price(BASIC)}],
            "payment_behavior": "default_incomplete",
            "payment_settings": {"save_default_payment_method": "on_subscription"},
            "expand": ["latest_invoice.confirmation_secret"],
            "metadata": {"enrollment": "e1"},
            **params,
        }
    )


@pytest.mark.parametrize("confirmed_by", ["browser", "api"])
def test_a_client_secret_pays_the_first_invoice(sandbox: InProcessSandbox, confirmed_by: str) -> None:
    customer = sandbox.customer(None)
    created = create_incomplete(sandbox, customer.id)
    secret = created.latest_invoice.confirmation_secret
    assert (created.status, secret.type) == ("incomplete", "payment_intent")
    intent = secret.client_secret.partition("_secret_")[0]
    with pytest.raises(stripe.CardError):
        sandbox.api.payment_intents.confirm(intent, {"payment_method": "pm_card_chargeDeclined"})
    assert sandbox.api.subscriptions.retrieve(created.id).status == "incomplete"
    sandbox.new_events()
    if confirmed_by == "browser":
        assert sandbox.operate_now(f"/payment_intents/{intent}/pay")["status"] == "succeeded"
    else:
        sandbox.api.payment_intents.confirm(intent, {"payment_method": "pm_card_visa"})
    (data,) = sandbox.of("customer.subscription.updated")
    assert data["previous_attributes"] == {"status": "incomplete", "default_payment_method": None}
    now = sandbox.api.subscriptions.retrieve(created.id)
    assert (now.status, now.metadata.to_dict()) == ("active", {"enrollment": "e1"})
    (card,) = sandbox.api.customers.payment_methods.list(customer.id).data
    assert now.default_payment_method == card.id
    sandbox.advance(32 * DAY)
    assert [i.amount_paid for i in sandbox.api.invoices.list({"subscription": created.id}).data] == [BASIC, BASIC]


def test_three_d_secure_for_the_first_invoice_also_covers_renewals(sandbox: InProcessSandbox) -> None:
    created = create_incomplete(sandbox, sandbox.customer(None).id)
    intent = created.latest_invoice.confirmation_secret.client_secret.partition("_secret_")[0]
    assert sandbox.operate_now(f"/payment_intents/{intent}/pay", card="4000002500003155")["status"] == "requires_action"
    sandbox.operate_now(f"/payment_intents/{intent}/authenticate", passed=True)
    sandbox.advance(32 * DAY)
    assert len(sandbox.api.invoices.list({"subscription": created.id, "status": "paid"}).data) == 2


def test_a_processing_bank_debit_activates_the_subscription(sandbox: InProcessSandbox) -> None:
    created = create_incomplete(sandbox, sandbox.customer(None).id)
    intent = created.latest_invoice.confirmation_secret.client_secret.partition("_secret_")[0]
    sandbox.operate_now(f"/payment_intents/{intent}/pay", method="us_bank_account")
    assert sandbox.api.subscriptions.retrieve(created.id).status == "active"
    sandbox.operate_now(f"/payment_intents/{intent}/fail")
    assert sandbox.api.subscriptions.retrieve(created.id).status == "past_due"


def test_an_unpaid_first_invoice_expires_the_subscription(sandbox: InProcessSandbox) -> None:
    created = create_incomplete(sandbox, sandbox.customer(None).id)
    sandbox.new_events()
    sandbox.advance(23 * HOUR + 1)
    assert sandbox.types() == ["customer.subscription.updated", "payment_intent.canceled", "invoice.voided"]
    assert sandbox.api.subscriptions.retrieve(created.id).status == "incomplete_expired"


def test_an_upgrade_is_prorated_on_the_next_invoice(plan: Plan, sandbox: InProcessSandbox) -> None:
    third = plan.start + (plan.end - plan.start) // 3
    plan.advance_to(third)
    sandbox.new_events()
    plan.change(PRO)
    share = (plan.end - third) / (plan.end - plan.start)
    credit, charge = -round(BASIC * share), round(PRO * share)
    events = sandbox.new_events()
    types = [e["type"] for e in events if e["type"].startswith(("customer.", "invoice"))]
    assert types == ["customer.subscription.updated", "invoiceitem.created", "invoiceitem.created"]
    updated = next(e["data"] for e in events if e["type"] == "customer.subscription.updated")
    assert updated["previous_attributes"]["items"]["data"][0]["price"]["unit_amount"] == BASIC
    assert updated["object"]["items"]["data"][0]["id"] == plan.item
    assert plan.pending_amounts() == [credit, charge]
    plan.advance_to(plan.end + 2 * HOUR)
    assert plan.paid() == [BASIC, credit + charge + PRO] and plan.pending_amounts() == []
    lines = plan.now().latest_invoice.lines.data
    details = [line.parent.invoice_item_details for line in lines[:2]]
    assert [(d.proration, d.subscription) for d in details] == [(True, plan.id)] * 2
    assert (lines[0].period.start, lines[0].period.end) == (third, plan.end)


def test_prorations_count_seconds_and_round_half_up(plan: Plan) -> None:
    whole = plan.end - plan.start
    assert whole == 31 * DAY
    plan.change(PRO, proration_date=plan.start + 1)
    assert plan.pending_amounts() == [-10_000, 25_000]
    plan.change(PRO + 1, proration_date=plan.start + whole // 2)
    assert plan.pending_amounts()[2:] == [-12_500, 12_501]


def test_an_upgrade_can_be_invoiced_immediately(plan: Plan, sandbox: InProcessSandbox) -> None:
    plan.advance_to(plan.start + (plan.end - plan.start) // 2)
    sandbox.new_events()
    changed = plan.change(PRO, proration_behavior="always_invoice")
    assert changed["items"].data[0].current_period_end == plan.end
    types = sandbox.types()
    assert types[0] == "customer.subscription.updated" and "invoice.paid" in types
    assert plan.paid() == [BASIC, 7_500]
    assert plan.now().latest_invoice.billing_reason == "subscription_update"
    plan.advance_to(plan.end + 2 * HOUR)
    assert plan.paid() == [BASIC, 7_500, PRO]


def test_a_downgrade_invoiced_immediately_becomes_credit(sandbox: InProcessSandbox) -> None:
    plan = Plan(sandbox, PRO)
    plan.advance_to(plan.start + (plan.end - plan.start) // 2)
    plan.change(BASIC, proration_behavior="always_invoice")
    assert (plan.now().latest_invoice.total, plan.now().latest_invoice.status) == (-7_500, "paid")
    assert plan.balance() == -7_500
    plan.advance_to(plan.end + 2 * HOUR)
    assert plan.paid() == [PRO, 0, BASIC - 7_500] and plan.balance() == 0


def test_a_downgrade_can_be_a_negative_line_of_the_next_invoice(sandbox: InProcessSandbox) -> None:
    plan = Plan(sandbox, PRO)
    plan.change(2_000, proration_date=plan.start)
    assert plan.pending_amounts() == [-PRO, 2_000]
    plan.advance_to(plan.end + 2 * HOUR)
    assert plan.now().latest_invoice.total == -21_000 and plan.balance() == -21_000
    plan.advance_to(plan.end + 32 * DAY)
    assert plan.paid() == [PRO, 0, 0] and plan.balance() == -19_000


def test_without_proration_only_later_invoices_change(plan: Plan) -> None:
    plan.advance_to(plan.start + DAY)
    plan.change(PRO, proration_behavior="none")
    assert plan.pending_amounts() == []
    plan.advance_to(plan.end + 2 * HOUR)
    assert plan.paid() == [BASIC, PRO]


@pytest.mark.parametrize(("behavior", "credit"), [("create_prorations", 5_000), ("none", 0)])
def test_a_new_interval_starts_a_new_period_now(plan: Plan, behavior: str, credit: int) -> None:
    half = plan.start + (plan.end - plan.start) // 2
    plan.advance_to(half)
    changed = plan.change(100_000, "year", proration_behavior=behavior)
    item = changed["items"].data[0]
    assert (changed.billing_cycle_anchor, item.current_period_start) == (half, half)
    assert item.current_period_end == half + 365 * DAY
    assert plan.paid() == [BASIC, 100_000 - credit]
    plan.advance_to(half + 365 * DAY + 2 * HOUR)
    assert plan.paid() == [BASIC, 100_000 - credit, 100_000]


def test_a_yearly_plan_renews_yearly(sandbox: InProcessSandbox) -> None:
    plan = Plan(sandbox, 100_000, "year")
    plan.advance_to(plan.start + 3 * 366 * DAY)
    assert plan.paid() == [100_000] * 4


def test_a_declined_update(plan: Plan, sandbox: InProcessSandbox) -> None:
    sandbox.operate_now(f"/customers/{plan.customer}/fail_next_charges", times=1)
    with pytest.raises(stripe.CardError):
        plan.change(100_000, "year", payment_behavior="error_if_incomplete")
    assert plan.now()["items"].data[0].price.unit_amount == BASIC and plan.paid() == [BASIC]
    sandbox.operate_now(f"/customers/{plan.customer}/fail_next_charges", times=1)
    assert plan.change(100_000, "year").status == "past_due"
    with pytest.raises(stripe.InvalidRequestError, match="outside of current"):
        plan.change(PRO, proration_date=plan.start - 10)


def test_canceling_at_period_end_undoing_it_and_canceling_now(plan: Plan, sandbox: InProcessSandbox) -> None:
    before = {"cancel_at_period_end": False, "cancel_at": None, "canceled_at": None}
    updated = sandbox.api.subscriptions.update(plan.id, {"cancel_at_period_end": True})
    assert (updated.cancel_at_period_end, updated.cancel_at) == (True, plan.end)
    (data,) = sandbox.of("customer.subscription.updated")
    assert data["previous_attributes"].items() >= before.items()
    kept = sandbox.api.subscriptions.update(plan.id, {"cancel_at_period_end": False})
    assert (kept.cancel_at, kept.canceled_at) == (None, None)
    assert len(sandbox.of("customer.subscription.updated")) == 1
    plan.advance_to(plan.end + 2 * HOUR)
    assert len(plan.paid()) == 2
    sandbox.new_events()
    gone = sandbox.api.subscriptions.cancel(plan.id, {"prorate": True, "invoice_now": True})
    assert gone.status == "canceled" and "customer.subscription.deleted" in sandbox.types()
    assert plan.balance() < -9_900


def test_collection_can_be_paused_and_resumed(plan: Plan, sandbox: InProcessSandbox) -> None:
    paused = sandbox.api.subscriptions.update(plan.id, {"pause_collection": {"behavior": "void"}})
    assert (paused.status, paused.pause_collection.behavior) == ("active", "void")
    (data,) = sandbox.of("customer.subscription.updated")
    assert data["previous_attributes"] == {"pause_collection": None}
    plan.advance_to(plan.end + 2 * HOUR)
    assert plan.now().latest_invoice.status == "void" and "invoice.voided" in sandbox.types()
    resumed = sandbox.api.subscriptions.update(plan.id, {"pause_collection": ""})
    assert resumed.pause_collection is None
    plan.advance_to(plan.end + 32 * DAY)
    assert plan.paid() == [BASIC, 0, BASIC]
    until: Any = {"behavior": "mark_uncollectible", "resumes_at": plan.end + 70 * DAY}
    sandbox.api.subscriptions.update(plan.id, {"pause_collection": until})
    plan.advance_to(plan.end + 63 * DAY)
    assert plan.now().latest_invoice.status == "uncollectible"
    plan.advance_to(plan.end + 71 * DAY)
    assert plan.now().pause_collection is None


def test_metadata_updates_include_previous_attributes(plan: Plan, sandbox: InProcessSandbox) -> None:
    sandbox.api.subscriptions.update(plan.id, {"metadata": {"enrollment": "e9"}})
    (data,) = sandbox.of("customer.subscription.updated")
    assert (data["object"]["metadata"], data["previous_attributes"]) == (
        {"enrollment": "e9"},
        {"metadata": {"enrollment": None}},
    )


def test_items_must_have_the_same_interval(plan: Plan, sandbox: InProcessSandbox) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="different intervals"):
        sandbox.api.subscriptions.update(plan.id, {"items": [{"price": sandbox.price(100, "year")}]})
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.api.subscriptions.update(plan.id, {"items": [{"id": "si_gone", "quantity": 2}]})
    sandbox.api.subscriptions.update(plan.id, {"items": [{"id": plan.item, "quantity": 3}]})
    assert plan.pending_amounts() == [-BASIC, 3 * BASIC]
