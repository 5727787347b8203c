"""What Stripe refuses: invoices, subscriptions and schedules."""

from __future__ import annotations

import time
from typing import Any

from tests.conformance.account import Account
from tests.conformance.case import Case, Refused


def _paid_twice(a: Account) -> None:
    customer = a.customer()
    invoice = a.invoice(customer)
    a.v1.invoices.pay(invoice.id)
    a.v1.invoices.pay(invoice.id)


def _declined(a: Account) -> None:
    customer = a.customer(None)
    invoice = a.invoice(customer)
    a.v1.invoices.pay(invoice.id, {"payment_method": a.attached(customer, "pm_card_chargeCustomerFail")})


def _requires_action(a: Account) -> None:
    customer = a.customer(None)
    invoice = a.invoice(customer)
    a.v1.invoices.pay(invoice.id, {"payment_method": a.attached(customer, "pm_card_authenticationRequired")})


def _foreign_method(a: Account) -> None:
    invoice, other = a.invoice(a.customer()), a.customer()
    a.v1.invoices.pay(invoice.id, {"payment_method": a.card_of(other)})


def _debited(a: Account) -> Any:
    """An invoice whose bank debit is processing."""
    invoice = a.invoice(a.customer(None))
    a.operate(f"/invoices/{invoice.id}/pay", method="us_bank_account")
    return invoice


def _two_currencies(a: Account) -> None:
    customer = a.customer()
    a.subscription(customer)
    a.subscription(customer, items=[{"price": a.price(currency="eur")}])


def _page_in_another_currency(a: Account) -> None:
    customer = a.customer()
    a.subscription(customer)
    a.membership_page(customer=customer.id, line_items=[{"price": a.price(currency="eur"), "quantity": 1}])


def _scheduled(a: Account) -> None:
    subscription = a.subscription(a.customer())
    a.v1.subscription_schedules.create({"from_subscription": subscription.id})
    a.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})


def _canceled(a: Account) -> None:
    subscription = a.subscription(a.customer())
    a.v1.subscriptions.cancel(subscription.id)
    a.v1.subscriptions.update(subscription.id, {"description": "Too late"})


def _create(name: str, rule: str, refused: Refused, customer: dict[str, Any], **params: Any) -> Case:
    def call(a: Account) -> Any:
        return a.v1.invoices.create({"customer": a.v1.customers.create(customer).id, **params})

    return Case(name=name, rule=rule, call=call, expect=refused)


_SPONSOR = {"name": "Sponsor", "email": "finance@sponsor.example"}

REFUSALS_OF_BILLING = [
    _create(
        "send-without-email",
        "send_invoice_without_email",
        Refused(mentions=("Missing email",)),
        {"name": "Sponsor"},
        collection_method="send_invoice",
        days_until_due=30,
    ),
    _create(
        "send-without-due-date",
        "send_invoice_without_due_date",
        Refused(param="days_until_due"),
        _SPONSOR,
        collection_method="send_invoice",
    ),
    _create(
        "due-date-of-an-automatic-invoice",
        "due_date_of_automatic_invoice",
        Refused(mentions=("send_invoice",)),
        _SPONSOR,
        collection_method="charge_automatically",
        days_until_due=30,
    ),
    _create(
        "due-yesterday",
        "due_date_in_the_past",
        Refused(param="due_date"),
        _SPONSOR,
        collection_method="send_invoice",
        due_date=int(time.time()) - 86_400,
    ),
    Case(
        name="pay-twice",
        rule="invoice_paid_twice",
        call=_paid_twice,
        expect=Refused(mentions=("already paid",)),
    ),
    Case(
        name="declined-invoice",
        call=_declined,
        expect=Refused(status=402, type="card_error", code="card_declined", decline_code="generic_decline"),
    ),
    Case(
        name="invoice-that-requires-action",
        rule="invoice_requires_action",
        call=_requires_action,
        expect=Refused(status=402, code="invoice_payment_intent_requires_action"),
    ),
    Case(
        name="method-of-another-customer",
        rule="invoice_paid_with_foreign_method",
        call=_foreign_method,
        expect=Refused(code="resource_missing", param="payment_method"),
    ),
    Case(
        name="pay-while-processing",
        rule="pay_while_processing",
        call=lambda a: a.v1.invoices.pay(_debited(a).id, {"payment_method": "pm_card_visa"}),
        expect=Refused(code="payment_intent_unexpected_state"),
        operated=True,
    ),
    Case(
        name="void-while-processing",
        rule="void_while_processing",
        call=lambda a: a.v1.invoices.void_invoice(_debited(a).id),
        expect=Refused(mentions=("cannot void",)),
        operated=True,
    ),
    Case(
        name="two-currencies",
        rule="one_currency_per_customer",
        call=_two_currencies,
        expect=Refused(mentions=("cannot combine currencies", "usd")),
    ),
    Case(
        name="page-in-another-currency",
        rule="one_currency_per_customer",
        call=_page_in_another_currency,
        expect=Refused(mentions=("cannot combine currencies",)),
    ),
    Case(
        name="cancel-a-scheduled-subscription",
        rule="cancellation_of_scheduled_subscription",
        call=_scheduled,
        expect=Refused(mentions=("managed by the subscription schedule",)),
    ),
    Case(
        name="change-a-canceled-subscription",
        rule="update_of_canceled_subscription",
        call=_canceled,
        expect=Refused(code="invalid_canceled_subscription_fields", mentions=("cancellation_details",)),
    ),
]
