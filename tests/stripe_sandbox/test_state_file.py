"""The state in a file: what was acknowledged is there after a restart, also after a SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from starlette.applications import Starlette
from starlette.routing import Route
from tests.stripe_sandbox.harness import RETURN_URL, SUCCESS, WEBHOOK_SECRET, Receiver, free_port, serving, until
from tests.stripe_sandbox.in_process import DAY, InProcessSandbox

from stripe_sandbox.app import create_app
from stripe_sandbox.settings import Settings

KEY = "sk_test_state"


def opened(path: Path) -> InProcessSandbox:
    return InProcessSandbox(Settings(state_file=path))


def school(sandbox: InProcessSandbox) -> None:
    """Something of everything that changes objects."""
    api, line = sandbox.api, {"quantity": 1, "price": sandbox.price(97_800, None)}
    coupon = api.coupons.create({"percent_off": 10}).id
    api.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon}, "code": "SPRING"})
    page = {"mode": "payment", "line_items": [line], "success_url": SUCCESS, "invoice_creation": {"enabled": True}}
    for form in ({"card": "4000000000000002"}, {"method": "us_bank_account"}, {"card": "4242424242424242"}):
        session = api.checkout.sessions.create({**page, "allow_promotion_codes": True, "metadata": {"purchase": "p"}})
        sandbox.operate_now(f"/sessions/{session.id}/pay", email="ada@example.org", **form)
    customer = sandbox.customer()
    plain = {"customer": customer.id, "items": [{"price": sandbox.price(4_900)}]}
    subscription = api.subscriptions.create(plain, {"idempotency_key": "plan"})
    api.subscription_schedules.create({"from_subscription": subscription.id})
    sandbox.operate_now(f"/customers/{customer.id}/fail_next_charges", times=2)
    draft = api.invoices.create({"customer": customer.id, "auto_advance": False})
    item = api.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 5_000, "currency": "usd"})
    api.invoice_items.delete(item.id)
    api.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 6_000, "currency": "usd"})
    with pytest.raises(stripe.CardError):
        api.invoices.pay(draft.id)
    paid = api.payment_intents.create(
        {
            "amount": 5_000,
            "currency": "usd",
            "payment_method": "pm_card_visa",
            "confirm": True,
            "return_url": RETURN_URL,
        }
    )
    api.refunds.create({"payment_intent": paid.id, "amount": 1_000})
    sandbox.operate_now(f"/charges/{paid.latest_charge}/dispute")
    sandbox.operate_now(f"/customers/{sandbox.customer('pm_usBankAccount').id}/delete")
    sandbox.advance(40 * DAY)


def contents(sandbox: InProcessSandbox) -> dict[str, Any]:
    """All of the state, in comparable form."""
    state = sandbox.sandbox
    by_id = {id: obj for kind in state.store._by_type.values() for id, obj in kind.items()}
    return {
        "objects": {id: json.loads(json.dumps(obj, default=str)) for id, obj in by_id.items()},
        "order": {kind: list(objects) for kind, objects in state.store._by_type.items()},
        "positions": state.store._positions,
        "internal": vars(state.internal),
        "offset": state.clock.offset,
        "keys": {key: entry.response for key, entry in state.keys._entries.items()},
        "secrets": state.endpoints.all_secrets(),
        "deliveries": state.deliveries.log,
        "faults": state.faults,
    }


def test_everything_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "state" / "stripe.sqlite3"
    first = opened(path)
    school(first)
    first.app.state.state_file.close()
    second = opened(path)
    before, after = contents(first), contents(second)
    for part in before:
        assert after[part] == before[part], part
    first_plan = second.api.subscriptions.list().data[0]
    again = {"customer": first_plan.customer, "items": [{"price": first_plan["items"].data[0].price.id}]}
    assert second.api.subscriptions.create(again, {"idempotency_key": "plan"}).id == first_plan.id
    second.advance(40 * DAY)
    assert "invoice.paid" in second.types()


def test_an_unusable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stripe.sqlite3"
    first = opened(path)
    with pytest.raises(ValueError, match="another process"):
        opened(path)
    first.app.state.state_file.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="another version"):
        opened(path)


def test_the_endpoint_of_the_settings_moves_with_them(tmp_path: Path) -> None:
    path, secrets = tmp_path / "stripe.sqlite3", []
    for port in (1, 2):
        app = create_app(
            Settings(state_file=path, webhook_url=f"http://127.0.0.1:{port}/hook", webhook_secret=f"whsec_{port}")
        )
        (endpoint,) = app.state.sandbox.store.all("webhook_endpoint")
        assert endpoint["url"] == f"http://127.0.0.1:{port}/hook"
        secrets.append(app.state.sandbox.endpoints.secrets(endpoint["id"]))
        app.state.state_file.close()
    assert secrets == [["whsec_1"], ["whsec_2"]]


@contextmanager
def process(path: Path, port: int, webhook_url: str) -> Iterator[tuple[stripe.StripeClient, Callable[[], None]]]:
    """(client, kill) of the sandbox as a process that keeps its state in a file."""
    settings = {
        "STATE_FILE": str(path),
        "PORT": str(port),
        "SECRET_KEY": KEY,
        "WEBHOOK_URL": webhook_url,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "TIME_FACTOR": "200",
    }
    environment = {**os.environ, **{f"STRIPE_SANDBOX_{name}": value for name, value in settings.items()}}
    started = subprocess.Popen([sys.executable, "-m", "stripe_sandbox"], env=environment)
    base = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        try:
            return httpx.get(f"{base}/healthz", verify=False).status_code == 200
        except httpx.TransportError:
            return False

    def kill() -> None:
        started.send_signal(signal.SIGKILL)
        started.wait(10)

    try:
        until(healthy, 20)
        yield stripe.StripeClient(KEY, base_addresses={"api": base}, max_network_retries=0), kill
    finally:
        started.kill()
        started.wait(10)


@pytest.mark.server  # starts the sandbox as a process
def test_a_killed_process_forgets_nothing(tmp_path: Path) -> None:
    path, port, hook = tmp_path / "stripe.sqlite3", free_port(), free_port()
    receiver = Receiver(f"http://127.0.0.1:{hook}/hook")
    operator = httpx.Client(base_url=f"http://127.0.0.1:{port}/sandbox/api", verify=False)
    with process(path, port, receiver.url) as (client, kill):
        customer = client.v1.customers.create({"email": "ada@example.org"}, {"idempotency_key": "one"})
        clock = operator.post("/clock/advance", json={"seconds": 40 * DAY}).json()
        intent = client.v1.payment_intents.create({"amount": 5_000, "currency": "usd", "customer": customer.id})
        kill()
    endpoint = Starlette(routes=[Route("/hook", receiver.take, methods=["POST"])])
    with serving(endpoint, hook), process(path, port, receiver.url) as (client, _):
        same = client.v1.customers.create({"email": "ada@example.org"}, {"idempotency_key": "one"})
        assert same.id == customer.id
        assert client.v1.payment_intents.retrieve(intent.id).amount == 5_000
        assert operator.get("/clock").json()["now"] >= clock["now"]
        assert len(client.v1.webhook_endpoints.list().data) == 1
        assert [event.type for event in client.v1.events.list({"types": ["payment_intent.created"]}).data]
        until(lambda: {"customer.created", "payment_intent.created"} <= set(receiver.types()))
        assert len(receiver.of("customer.created")) == 1
        until(lambda: operator.get("/idle").json()["idle"])
