"""The services as the portal sees them: what docs/openapi/bursar.json documents, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from jsonschema import Draft202012Validator

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs/openapi/bursar.json").read_text())
PURCHASE_ID = "11111111-1111-4111-8111-111111111111"
PAYMENT_ID = "22222222-2222-4222-8222-222222222222"
RECEIPT_ID = "33333333-3333-4333-8333-333333333333"
NOW = "2026-11-22T09:00:00Z"


def offer(slug: str, kind: str = "program", **other: Any) -> dict[str, Any]:
    plain = {"id": PURCHASE_ID, "kind": kind, "slug": slug, "name": slug.title(), "amount": 489_000, "price": 4890.00}
    missing = dict.fromkeys(
        ("annual_price", "category", "first_project", "monthly_price", "payment_plan", "provider", "saving", "tier")
    )
    return {**plain, "currency": "usd", "includes": [], "projects": [], **missing, **other}


def page(*items: Mapping[str, Any]) -> dict[str, Any]:
    return {"items": list(items), "next": None}


def price(**other: Any) -> dict[str, Any]:
    sums = {"price": 4890.00, "subtotal": 489_000, "discount": 0, "total": 489_000, "currency": "usd"}
    due = {"position": 1, "kind": "full", "amount": 489_000, "currency": "usd", "due_at": NOW}
    return {**sums, "installments": [due], **other}


def session_view(status: str, **other: Any) -> dict[str, Any]:
    named = {"purchase_id": PURCHASE_ID, "product": "barber", "name": "Barber", "kind": "program", "plan": "full"}
    return {**named, "status": status, "amount": 489_000, "paid": 0, "due": 0, "currency": "usd", **other}


def new_intent(**other: Any) -> dict[str, Any]:
    sums = {"subtotal": 489_000, "discount": 0, "total": 489_000, "currency": "usd", "promotion_code": None}
    ids = {"paymentId": PAYMENT_ID, "purchaseId": PURCHASE_ID, "paymentIntentId": "pi_1"}
    keys = {"clientSecret": "pi_1_secret_x", "publishableKey": "pk_test_1"}
    return {**ids, **keys, "amount": 489_000, "currency": "usd", "breakdown": sums, **other}


def payment_state(stripe_status: str | None, **other: Any) -> dict[str, Any]:
    none = dict.fromkeys(("paid_at", "refund_status", "track"))
    ids = {"payment_id": PAYMENT_ID, "payment_intent_id": "pi_1", "status": "PENDING", "stripe_status": stripe_status}
    return {**none, **ids, "amount": 489_000, "currency": "usd", "created_at": NOW, **other}


def purchase(status: str, **other: Any) -> dict[str, Any]:
    """A row of the list of purchases."""
    none = dict.fromkeys(("co_pay", "funding_source", "next_due_at", "reason"))
    ids = {"id": PURCHASE_ID, "enrollment_id": PURCHASE_ID, "student_id": PURCHASE_ID, "product": "barber"}
    kinds = {"name": "Barber", "kind": "program", "payer": "student", "plan": "full", "collected_by": "checkout"}
    sums = {"price": 4890.00, "amount": 489_000, "shortfall": 0, "paid": 0, "due": 0, "currency": "usd"}
    return {**none, **ids, **kinds, **sums, "status": status, "created_at": NOW, **other}


def enrollment(**other: Any) -> dict[str, Any]:
    none = dict.fromkeys(("completed_at", "funding_source", "provider", "purchase_id", "reason", "tier", "track"))
    ids = {"id": PURCHASE_ID, "student_id": PURCHASE_ID, "program_id": "p", "program_slug": "x", "program_name": "X"}
    kinds = {"kind": "program", "payment_status": "paid", "source": "self_enroll", "status": "active"}
    return {**none, **ids, **kinds, "created_at": NOW, "updated_at": NOW, "enrolled_at": NOW, **other}


def payment(**other: Any) -> dict[str, Any]:
    none = dict.fromkeys(("failure_code", "installment", "method_details", "refund_status", "track"))
    ids = {"id": PAYMENT_ID, "purchase_id": PURCHASE_ID, "student_id": PURCHASE_ID}
    item = {"item_kind": "program", "item_name": "X", "item_slug": "x", "payer": "student"}
    sums = {"amount": 489_000, "refunded": 0, "tax": 0, "currency": "usd", "status": "succeeded", "method": "card"}
    intent = {"payment_intent_id": "pi_1", "stripe_payment_intent_id": "pi_1", "disputed": False, "late": False}
    return {**none, **ids, **item, **sums, **intent, "created_at": NOW, "paid_at": NOW, "updated_at": NOW, **other}


def refund_request(**other: Any) -> dict[str, Any]:
    none = dict.fromkeys(("decided_amount", "decided_at", "note", "refund_id", "refund_status"))
    ids = {"id": PURCHASE_ID, "payment_id": PAYMENT_ID, "purchase_id": PURCHASE_ID, "student_id": PURCHASE_ID}
    item = {"item_slug": "x", "item_name": "X", "amount": 489_000, "refunded": 0, "currency": "usd"}
    times = {"created_at": NOW, "updated_at": NOW}
    return {**none, **ids, **item, **times, "reason": "I moved", "status": "pending", **other}


def problem(status: int, code: str, detail: str = "What is wrong, and what to do.") -> httpx.Response:
    body = {"type": f"urn:bursar:problem:{code}", "title": "Problem", "status": status, "code": code, "detail": detail}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


class DocumentedServices(httpx.AsyncBaseTransport):
    """`answers`: by method and path; a test changes them. An answer of 2xx that the document does not allow is an
    AssertionError, and so is a request that it does not have."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._together: asyncio.Barrier | None = None
        self.answers: dict[tuple[str, str], Any] = {
            ("GET", "/api/catalog"): page(offer("barber"), offer("dp", "track"), offer("intro", "course")),
            ("GET", "/api/prices/barber"): price(),
            ("GET", "/api/prices/dp"): price(),
            ("GET", "/api/payment-methods"): page(),
            ("POST", "/api/create-checkout-session"): {"url": "https://pay.test/c/cs_test_1"},
            ("POST", "/api/payments/create-intent"): new_intent(),
            ("GET", "/api/enrollments"): page(),
            ("GET", "/api/purchases"): page(),
            ("GET", "/api/admin/caseload/funding"): {"items": []},
            ("GET", "/api/admin/sponsors"): page(),
            ("GET", "/api/programs"): page(),
            ("GET", "/api/payments/methods"): page(),
            ("GET", "/api/payments/my-payments"): {**page(), "payments": []},
            ("GET", "/api/payments/refund-requests"): page(),
            ("GET", "/api/receipts"): page(),
            ("GET", "/api/instructors/mine"): page(),
            ("GET", "/api/milady/mine"): page(),
            ("GET", "/api/notifications"): page(),
        }

    def answer_together(self, number: int) -> None:
        """The next requests are answered only once so many of them wait; one that stays alone is a TimeoutError."""
        self._together = asyncio.Barrier(number)

    def sent(self, method: str, path: str) -> list[httpx.Request]:
        return [each for each in self.requests if (each.method, each.url.path) == (method, path)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        if self._together is not None:
            async with asyncio.timeout(5):
                await self._together.wait()
        operation = documented(request.method, unquote(request.url.path))
        takes(operation, request.url.params)
        answer = self.answers[request.method, request.url.path]
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            allowed(operation, answer)
            answer = httpx.Response(200, json=answer)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))


def documented(method: str, path: str) -> Mapping[str, Any]:
    """The operation. The more exact path comes first. /readyz is at every port, and in no document."""
    if (method, path) == ("GET", "/readyz"):
        return {}
    for template, operations in sorted(DOCUMENT["paths"].items(), key=lambda each: each[0].count("{")):
        pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            operation: Mapping[str, Any] = operations[method.lower()]
            return operation
    raise AssertionError(f"{method} {path} is not documented")


def takes(operation: Mapping[str, Any], query: httpx.QueryParams) -> None:
    """Every parameter is documented, and a value is within its bounds."""
    schemas = {each["name"]: each["schema"] for each in map(_resolved, operation.get("parameters", ()))}
    for name, text in query.items():
        assert name in schemas, f"{operation['operationId']} has no parameter {name}"
        validator = Draft202012Validator({**schemas[name], "components": DOCUMENT["components"]})
        values = [text, {"true": True, "false": False}.get(text), int(text) if text.isdecimal() else None]
        assert any(validator.is_valid(each) for each in values if each is not None), (
            f"{operation['operationId']} does not take {name}={text}"
        )


def _resolved(parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    shared: Mapping[str, Any] = DOCUMENT["components"].get("parameters", {})
    resolved: Mapping[str, Any] = shared.get(parameter.get("$ref", "").rpartition("/")[2], parameter)
    return resolved


def allowed(operation: Mapping[str, Any], answer: object) -> None:
    success = next(response for status, response in operation["responses"].items() if status.startswith("2"))
    schema = success["content"]["application/json"]["schema"]
    errors = list(Draft202012Validator({**schema, "components": DOCUMENT["components"]}).iter_errors(answer))
    assert not errors, f"{operation['operationId']} does not answer this: {errors[0].message} in {answer}"
