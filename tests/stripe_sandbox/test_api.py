"""Conventions of the API: authentication, parameters, expansion, paging and errors."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe
from tests.stripe_sandbox.harness import LINE, SECRET_KEY, SUCCESS, Operator, Running, error_of, new_session, plain


def rejection(call: Any, *args: Any, **kwargs: Any) -> stripe.InvalidRequestError:
    with pytest.raises(stripe.InvalidRequestError) as raised:
        call(*args, **kwargs)
    return raised.value


def test_a_wrong_key_is_a_401(running: Running) -> None:
    other = stripe.StripeClient("sk_test_another_account_entirely", base_addresses={"api": running.base_url})
    with pytest.raises(stripe.AuthenticationError, match="Invalid API Key provided") as raised:
        other.v1.customers.list()
    assert raised.value.http_status == 401
    assert "another_account" not in str(raised.value)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Nonsense x"}])
def test_no_key_is_a_401(http: httpx.Client, headers: dict[str, str]) -> None:
    answer = http.get("/v1/customers", headers=headers)
    assert answer.status_code == 401 and answer.json()["error"]["type"] == "invalid_request_error"


def test_the_key_works_as_basic_auth_user(http: httpx.Client) -> None:
    assert http.get("/v1/customers", auth=(SECRET_KEY, "")).status_code == 200


def test_responses_have_a_request_id_and_the_requested_version(http: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    plain_answer = http.get("/v1/customers", headers=headers)
    assert plain_answer.headers["request-id"].startswith("req_")
    assert plain_answer.headers["stripe-version"] == "2026-10-28.endive"
    older = http.get("/v1/customers", headers={**headers, "Stripe-Version": "2026-08-26.dahlia"})
    assert older.headers["stripe-version"] == "2026-08-26.dahlia"


def test_an_unknown_path_is_stripes_404(http: httpx.Client) -> None:
    answer = http.post("/v1/sources", headers={"Authorization": f"Bearer {SECRET_KEY}"})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith("Unrecognized request URL (POST: /v1/sources)")


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"payment_method_types": ["card"]}, "payment_method_types"),
        ({"nonsense": 1}, "nonsense"),
        ({"payment_intent_data": {"metadata": {"a": "b"}, "nope": "x"}}, "payment_intent_data[nope]"),
        ({"line_items": [{**LINE, "amount": 3}]}, "line_items[0][amount]"),
    ],
)
def test_unknown_parameters_are_rejected_at_every_level(
    client: stripe.StripeClient, params: dict[str, Any], named: str
) -> None:
    error = rejection(new_session, client, **params)
    assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", named)


def test_parameters_removed_from_the_api_are_rejected(client: stripe.StripeClient) -> None:
    intent: Any = {"amount": 5_000, "currency": "usd", "payment_method_types": ["card"]}
    assert rejection(client.v1.payment_intents.create, intent).code == "parameter_unknown"
    phases: Any = {"phases": [{"items": [{"price": "price_x"}], "iterations": 4}]}
    error = rejection(client.v1.subscription_schedules.update, "sub_sched_x", phases)
    assert (error.code, error.param) == ("parameter_unknown", "phases[0][iterations]")
    invoices: Any = {"subscription_details": {"x": "y"}}
    assert rejection(client.v1.invoices.create, invoices).code == "parameter_unknown"
    codes: Any = {"coupon": "c"}
    assert rejection(client.v1.promotion_codes.create, codes).code == "parameter_unknown"


def test_enum_values_are_validated(client: stripe.StripeClient) -> None:
    assert "must be one of" in str(rejection(new_session, client, ui_mode="hosted"))
    assert rejection(new_session, client, mode="installments").param == "mode"
    methods: Any = ["card", "venmo"]
    assert (
        rejection(new_session, client, allowed_payment_method_types=methods).param == "allowed_payment_method_types[1]"
    )


def test_missing_required_parameters_are_named(client: stripe.StripeClient) -> None:
    nothing: Any = {}
    error = rejection(client.v1.payment_intents.create, nothing)
    assert (error.code, error.param) == ("parameter_missing", "amount")
    line: Any = {"quantity": 1, "price_data": {"unit_amount": 100, "product_data": {"name": "x"}}}
    assert rejection(new_session, client, line_items=[line]).param == "line_items[0][price_data][currency]"


def test_types_are_validated(client: stripe.StripeClient) -> None:
    wrong: Any = {"amount": "much", "currency": "usd"}
    assert rejection(client.v1.payment_intents.create, wrong).code == "parameter_invalid_integer"
    assert rejection(client.v1.customers.list, {"limit": 101}).param == "limit"
    empty: Any = {"url": "", "enabled_events": ["*"]}
    assert rejection(client.v1.webhook_endpoints.create, empty).code == "parameter_invalid_empty"


@pytest.mark.parametrize(
    ("metadata", "fits"),
    [
        ({f"k{i}": "v" for i in range(50)}, True),
        ({f"k{i}": "v" for i in range(51)}, False),
        ({"k" * 40: "v" * 500}, True),
        ({"k" * 41: "v"}, False),
        ({"k": "v" * 501}, False),
    ],
)
def test_metadata_has_stripes_limits(client: stripe.StripeClient, metadata: dict[str, str], fits: bool) -> None:
    if fits:
        assert plain(client.v1.customers.create({"metadata": metadata}).metadata) == metadata
    else:
        assert "metadata" in str(rejection(client.v1.customers.create, {"metadata": metadata}).param)
        assert rejection(new_session, client, payment_intent_data={"metadata": metadata}).http_status == 400


def test_metadata_is_merged_and_unset(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"metadata": {"a": "1", "b": "2"}})
    changed = client.v1.customers.update(customer.id, {"metadata": {"a": "", "c": "3"}})
    assert plain(changed.metadata) == {"b": "2", "c": "3"}
    assert plain(client.v1.customers.update(customer.id, {"metadata": ""}).metadata) == {}


def test_a_missing_object_is_a_404_and_a_missing_reference_a_400(client: stripe.StripeClient) -> None:
    gone = rejection(client.v1.payment_intents.retrieve, "pi_gone")
    assert (gone.http_status, gone.code) == (404, "resource_missing")
    assert error_of(gone)["request_log_url"]
    reference = rejection(new_session, client, customer="cus_gone")
    assert (reference.http_status, reference.code, reference.param) == (400, "resource_missing", "customer")


def test_lists_are_paged_in_both_directions(client: stripe.StripeClient) -> None:
    created = [client.v1.customers.create({"email": "paging@example.org"}).id for _ in range(5)]
    params: Any = {"email": "paging@example.org", "limit": 2}
    first = client.v1.customers.list(params)
    assert ([c.id for c in first.data], first.has_more, first.url) == (created[:2:-1], True, "/v1/customers")
    cursor: Any = {**params, "starting_after": first.data[-1].id}
    second = client.v1.customers.list(cursor)
    assert [c.id for c in second.data] == [created[2], created[1]]
    cursor = {**params, "ending_before": second.data[0].id}
    back = client.v1.customers.list(cursor)
    assert [c.id for c in back.data] == [c.id for c in first.data]
    assert [c.id for c in client.v1.customers.list(params).auto_paging_iter()] == created[::-1]
    assert rejection(client.v1.customers.list, {"starting_after": "cus_gone"}).param == "starting_after"


def test_created_filters(client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"email": "window@example.org"})
    window: Any = {"email": "window@example.org", "created": {"gte": customer.created, "lt": customer.created + 1}}
    assert [c.id for c in client.v1.customers.list(window).data] == [customer.id]
    before: Any = {"email": "window@example.org", "created": {"lt": customer.created}}
    assert client.v1.customers.list(before).data == []


def test_expansion_goes_deep_and_through_lists(client: stripe.StripeClient, operator: Operator) -> None:
    customer = client.v1.customers.create({"email": "e@example.org"})
    session = new_session(client, customer=customer.id)
    operator.pay(session.id)
    deep: Any = ["customer", "line_items.data.price.product", "payment_intent.latest_charge.balance_transaction"]
    expanded: Any = client.v1.checkout.sessions.retrieve(session.id, {"expand": deep})
    assert expanded.customer.email == "e@example.org"
    assert expanded.line_items.data[0].price.product.name == "Barber apprenticeship"
    assert expanded.payment_intent.latest_charge.balance_transaction.amount == 489_000
    listed: Any = client.v1.checkout.sessions.list({"customer": customer.id, "expand": ["data.payment_intent"]})
    assert listed.data[0].payment_intent.status == "succeeded"
    for path in ("status", "nonsense", "customer.email"):
        assert "cannot be expanded" in str(
            rejection(client.v1.checkout.sessions.retrieve, session.id, {"expand": [path]})
        )


@pytest.mark.parametrize(
    "params",
    [
        {"mode": "payment", "success_url": SUCCESS},
        {"mode": "payment", "line_items": [LINE]},
        {"mode": "payment", "line_items": [LINE], "success_url": "enroll/success"},
        {
            "mode": "payment",
            "line_items": [LINE],
            "success_url": SUCCESS,
            "subscription_data": {"metadata": {"a": "b"}},
        },
        {"mode": "subscription", "line_items": [LINE], "success_url": SUCCESS},
        {"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, "expires_at": 1},
        {"mode": "payment", "line_items": [LINE], "success_url": SUCCESS, "customer_email": "not-an-address"},
        {"mode": "payment", "line_items": [{**LINE, "quantity": 0}], "success_url": SUCCESS},
        {"line_items": [LINE], "success_url": SUCCESS},
    ],
)
def test_invalid_sessions_are_rejected(client: stripe.StripeClient, params: Any) -> None:
    assert rejection(client.v1.checkout.sessions.create, params).http_status == 400


def test_a_body_that_is_not_a_form_is_rejected(http: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    assert http.post("/v1/customers", headers=headers, json={"email": "a@b.co"}).status_code == 400
    assert http.post("/v1/customers", headers=headers, data={"email][": "x"}).status_code == 400
    form = {**headers, "Content-Type": "application/x-www-form-urlencoded"}
    assert http.post("/v1/customers", headers=form, content=b"\xff\xfe").status_code == 400
    deep = "a" + "[b]" * 500 + "=1"
    assert http.post("/v1/customers", headers=form, content=deep.encode()).status_code == 400


async def test_the_async_client_works(client: stripe.StripeClient) -> None:
    created = await client.v1.customers.create_async({"email": "async@example.org"})
    found = await client.v1.customers.retrieve_async(created.id)
    assert found.email == "async@example.org"
