"""What Stripe refuses: requests, payment intents, checkout sessions, prices, coupons and disputes."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from tests.conformance.account import RETURN_URL, Account
from tests.conformance.case import Case, Refused


def _key_of_another_request(a: Account) -> None:
    key = a.key()
    a.v1.customers.create({"email": "one@example.org"}, key)
    a.v1.customers.create({"email": "other@example.org"}, key)


def _off_session_confirm(a: Account) -> None:
    customer = a.customer()
    intent = a.intent(customer=customer.id, setup_future_usage="off_session")
    confirm = {"payment_method": a.card_of(customer), "off_session": True, "return_url": RETURN_URL}
    a.v1.payment_intents.confirm(intent.id, confirm)


def _off_session_create(a: Account) -> None:
    customer = a.customer()
    method = {"customer": customer.id, "payment_method": a.card_of(customer)}
    a.charge(**{**method, "off_session": True, "setup_future_usage": "off_session"})


def _confirm_without_return_url(a: Account) -> None:
    a.v1.payment_intents.confirm(a.intent().id, {"payment_method": "pm_card_visa"})


def _off_session_without_return_url(a: Account) -> None:
    customer = a.customer()
    a.intent(customer=customer.id, payment_method=a.card_of(customer), off_session=True, confirm=True)


def _declined_page(a: Account) -> str:
    session = a.session()
    paid = a.operate(f"/sessions/{session.id}/pay", card="4000000000000002", email="ada@example.org")
    return str(paid["payment_intent"])


def _taken_code(a: Account) -> None:
    coupon = a.v1.coupons.create({"percent_off": 10})
    code = {"promotion": {"type": "coupon", "coupon": coupon.id}, "code": f"C{uuid4().hex[:12].upper()}"}
    a.v1.promotion_codes.create(code)
    a.v1.promotion_codes.create(code)


def _dispute(a: Account, *, appealed: bool) -> str:
    charge = a.charge().latest_charge
    dispute = str(a.operate(f"/charges/{charge}/dispute")["id"])
    if appealed:
        a.operate(f"/disputes/{dispute}/close", status="lost")
        a.operate(f"/disputes/{dispute}/appeal")
    return dispute


_APPEAL: Any = {"appeal": {"card": {"reason_for_filing": "New evidence", "supporting_files": ["file_1"]}}}


def _session(name: str, rule: str, refused: Refused, **params: Any) -> Case:
    return Case(name=name, rule=rule, call=lambda a: a.session(**params), expect=refused)


def _intent(name: str, rule: str, refused: Refused, **params: Any) -> Case:
    return Case(name=name, rule=rule, call=lambda a: a.intent(**params), expect=refused)


def _metadata(name: str, rule: str, param: str, metadata: dict[str, str]) -> Case:
    call = lambda a: a.v1.customers.create({"metadata": metadata})  # noqa: E731
    return Case(name=name, rule=rule, call=call, expect=Refused(param=param))


REFUSALS = [
    Case(
        name="unknown-parameter",
        call=lambda a: a.v1.customers.create({"nonsense": "1"}),
        expect=Refused(code="parameter_unknown", param="nonsense"),
    ),
    Case(
        name="missing-parameter",
        call=lambda a: a.v1.payment_intents.create({"currency": "usd"}),
        expect=Refused(code="parameter_missing", param="amount"),
    ),
    Case(
        name="no-such-intent",
        call=lambda a: a.v1.payment_intents.retrieve("pi_doesnotexist"),
        expect=Refused(status=404, code="resource_missing", param="intent"),
    ),
    Case(
        name="no-such-customer",
        call=lambda a: a.v1.customers.retrieve("cus_doesnotexist"),
        expect=Refused(status=404, code="resource_missing", param="id"),
    ),
    Case(
        name="no-such-customer-in-a-parameter",
        call=lambda a: a.intent(customer="cus_doesnotexist"),
        expect=Refused(code="resource_missing", param="customer"),
    ),
    Case(
        name="payment-method-types",
        call=lambda a: a.intent(payment_method_types=["card"]),
        expect=Refused(code="parameter_unknown", param="payment_method_types"),
    ),
    Case(
        name="key-length",
        rule="idempotency_key_length",
        call=lambda a: a.v1.customers.create({}, {"idempotency_key": "k" * 256}),
        expect=Refused(param="Idempotency-Key"),
    ),
    Case(
        name="key-of-another-request",
        rule="idempotency_key_of_another_request",
        call=_key_of_another_request,
        expect=Refused(type="idempotency_error", mentions=("same parameters",)),
    ),
    _metadata("51-metadata-keys", "metadata_keys", "metadata", {f"k{n}": "v" for n in range(51)}),
    _metadata("metadata-key-length", "metadata_key_length", "metadata", {"k" * 41: "v"}),
    _metadata("metadata-value-length", "metadata_value_length", "metadata[k]", {"k": "v" * 501}),
    _session("url", "invalid_url", Refused(code="url_invalid", param="success_url"), success_url="school.example"),
    _intent("49-cents", "amount_too_small", Refused(code="amount_too_small", param="amount"), amount=49),
    _intent(
        "29-pence",
        "amount_too_small",
        Refused(code="amount_too_small", param="amount", mentions=("£0.30 gbp",)),
        amount=29,
        currency="gbp",
    ),
    _intent("nine-digits", "amount_too_large", Refused(code="amount_too_large", param="amount"), amount=100_000_000),
    _intent("off-session-only", "parameter_of_confirmation", Refused(param="off_session"), off_session=True),
    Case(
        name="off-session-confirm-with-setup",
        rule="off_session_with_setup_future_usage",
        call=_off_session_confirm,
        expect=Refused(param="off_session", mentions=("`off_session=true`", "`setup_future_usage`")),
    ),
    Case(
        name="off-session-create-with-setup",
        rule="off_session_with_setup_future_usage",
        call=_off_session_create,
        expect=Refused(param="off_session"),
    ),
    Case(
        name="confirm-without-return-url",
        rule="return_url_missing",
        call=_confirm_without_return_url,
        expect=Refused(mentions=("return_url",)),
    ),
    Case(
        name="off-session-without-return-url",
        rule="return_url_missing",
        call=_off_session_without_return_url,
        expect=Refused(mentions=("return_url",)),
    ),
    Case(
        name="decline",
        call=lambda a: a.charge(payment_method="pm_card_chargeDeclinedInsufficientFunds"),
        expect=Refused(status=402, type="card_error", code="card_declined", decline_code="insufficient_funds"),
    ),
    Case(
        name="cancel-a-paid-intent",
        rule="cancel_in_final_state",
        call=lambda a: a.v1.payment_intents.cancel(a.charge().id),
        expect=Refused(code="payment_intent_unexpected_state", mentions=("status of succeeded",)),
    ),
    Case(
        name="cancel-the-intent-of-an-invoice",
        rule="cancel_intent_of_invoice",
        call=lambda a: a.v1.payment_intents.cancel(a.intent_of(a.invoice(a.customer())).id),
        expect=Refused(mentions=("created by invoices",)),
    ),
    Case(
        name="change-the-intent-of-an-invoice",
        rule="update_intent_of_invoice",
        call=lambda a: a.v1.payment_intents.update(a.intent_of(a.invoice(a.customer())).id, {"amount": 5_000}),
        expect=Refused(param="amount"),
    ),
    Case(
        name="cancel-the-intent-of-a-page",
        rule="cancel_intent_of_session",
        call=lambda a: a.v1.payment_intents.cancel(_declined_page(a)),
        expect=Refused(mentions=("Expire the Checkout Session",)),
        operated=True,
    ),
    _session(
        "subscription-data-of-a-payment",
        "parameter_of_another_mode",
        Refused(param="subscription_data"),
        subscription_data={"description": "No"},
    ),
    Case(
        name="customer-and-email",
        rule="parameters_that_exclude_each_other",
        call=lambda a: a.session(customer=a.customer().id, customer_email="ada@example.org"),
        expect=Refused(param="customer"),
    ),
    Case(
        name="two-discounts",
        rule="one_discount_per_session",
        call=lambda a: a.session(discounts=[{"coupon": a.v1.coupons.create({"percent_off": 1}).id} for _ in "12"]),
        expect=Refused(param="discounts"),
    ),
    _session(
        "success-url-of-an-embedded-page",
        "success_url_of_embedded_page",
        Refused(param="success_url"),
        ui_mode="elements",
    ),
    _session(
        "customer-email",
        "invalid_customer_email",
        Refused(code="email_invalid", param="customer_email"),
        customer_email="ada",
    ),
    _session(
        "client-reference",
        "client_reference_length",
        Refused(param="client_reference_id"),
        client_reference_id="r" * 201,
    ),
    Case(
        name="expiry-after-two-days",
        rule="session_expiry",
        call=lambda a: a.session(expires_at=int(time.time()) + 2 * 86_400),
        expect=Refused(param="expires_at"),
    ),
    Case(
        name="trial-twice",
        rule="two_trial_lengths",
        call=lambda a: a.membership_page(
            subscription_data={"trial_period_days": 7, "trial_end": int(time.time()) + 7 * 86_400}
        ),
        expect=Refused(),
    ),
    Case(
        name="page-for-49-cents",
        rule="session_total_too_small",
        call=lambda a: a.session(line_items=[{"price": a.price(49, None), "quantity": 1}]),
        expect=Refused(code="amount_too_small", mentions=("$0.50 usd",)),
    ),
    Case(
        name="lookup-key",
        rule="lookup_key_length",
        call=lambda a: a.price(lookup_key="k" * 201),
        expect=Refused(param="lookup_key", mentions=("200",)),
    ),
    Case(
        name="four-years",
        rule="recurring_interval_length",
        call=lambda a: a.price(recurring={"interval": "year", "interval_count": 4}),
        expect=Refused(param="recurring[interval_count]"),
    ),
    Case(
        name="statement-descriptor",
        rule="statement_descriptor",
        call=lambda a: a.v1.products.create({"name": "Conformance", "statement_descriptor": "x" * 23}),
        expect=Refused(param="statement_descriptor"),
    ),
    Case(
        name="coupon-of-nothing",
        rule="coupon_without_one_discount",
        call=lambda a: a.v1.coupons.create({"duration": "once"}),
        expect=Refused(param="percent_off"),
    ),
    Case(
        name="coupon-of-101-percent",
        rule="coupon_percentage",
        call=lambda a: a.v1.coupons.create({"percent_off": 101}),
        expect=Refused(param="percent_off"),
    ),
    Case(
        name="coupon-without-months",
        rule="coupon_duration",
        call=lambda a: a.v1.coupons.create({"percent_off": 10, "duration": "repeating"}),
        expect=Refused(param="duration_in_months"),
    ),
    Case(name="code-twice", rule="promotion_code_taken", call=_taken_code, expect=Refused(param="code")),
    Case(
        name="other-evidence-during-an-appeal",
        rule="evidence_during_appeal",
        call=lambda a: a.v1.disputes.update(_dispute(a, appealed=True), {"evidence": {"customer_name": "Ada"}}),
        expect=Refused(param="evidence"),
        operated=True,
    ),
    Case(
        name="appeal-of-an-open-dispute",
        rule="appeal_without_eligibility",
        call=lambda a: a.v1.disputes.update(_dispute(a, appealed=False), {"evidence": _APPEAL}),
        expect=Refused(param="evidence[appeal]"),
        operated=True,
    ),
]
