"""Hostile input to payments, receipts and memberships: rejected, never a 500."""

from __future__ import annotations

import base64
from uuid import uuid4

import pytest
from tests.checkout.payment_steps import paid
from tests.checkout.service import ADMIN, Service, bearer

TIMES = (
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "99999999999999999999",
    "inf",
    "nan",
    "-1e400",
    "2026-01-01",
    "\x00",
)
PATHS = ("/api/admin/payments", "/api/payments/specialist/statistics")


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("path", PATHS)
async def test_extreme_times(service: Service, path: str, name: str) -> None:
    for time in TIMES:
        query = {name: time, "specialist_id": str(uuid4())}
        answer = await service.call("GET", path, params=query, headers=bearer("admin", ADMIN))
        assert answer.status_code in (200, 422), (time, answer.text)


@pytest.mark.parametrize("time", TIMES)
async def test_cursors_with_extreme_times(service: Service, time: str) -> None:
    cursor = base64.urlsafe_b64encode(f"{time}/{uuid4()}".encode()).decode()
    for path in ("/api/admin/payments", "/api/memberships", "/api/receipts", "/api/admin/disputes"):
        answer = await service.call("GET", path, params={"cursor": cursor}, headers=bearer("admin", ADMIN))
        assert answer.status_code in (200, 400, 422), (path, time, answer.text)


HOSTILE: tuple[str, ...] = (
    '"\\u0000"', '"\\ud800"', '"a\\udfff"', "1e400", "-1e400", "1" + "0" * 5000, "1.5", "true", "null", "[]", "{}",
    '"' + "x" * 10_000 + '"', "NaN", "Infinity", '""', "0", "-1", "9223372036854775808", "[" * 5000,
)  # fmt: skip
BODIES: dict[str, tuple[str, ...]] = {
    "/api/payments/{payment}/refund": ("amount", "reason"),
    "/api/payments/request-refund": ("payment_intent_id", "reason"),
    "/api/admin/refund-requests/{id}/decide": ("decision", "amount", "note"),
    "/api/payments/billing-portal": ("return_url",),
    "/api/memberships": ("membership", "interval", "promotion_code"),
    "/api/memberships/{id}/cancel": ("at",),
    "/api/memberships/{id}/change": ("membership", "interval"),
}
GOOD = {
    "reason": '"x"', "payment_intent_id": '"pi_1"', "decision": '"approve"', "membership": '"student"',
}  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
async def test_hostile_bodies(service: Service, path: str) -> None:
    student = uuid4()
    row = await paid(service, student) if "{payment}" in path else {"id": uuid4()}
    url = path.format(payment=row["id"], id=uuid4())
    for field in BODIES[path]:
        for value in HOSTILE:
            good = {name: GOOD[name] for name in BODIES[path] if name in GOOD}
            raw = "{" + ", ".join(f'"{name}": {each}' for name, each in (good | {field: value}).items()) + "}"
            for role, key in (("admin", False), ("student", True)):
                headers = bearer(role, student) | ({"Idempotency-Key": str(uuid4())} if key else {})
                answer = await service.call("POST", url, raw=raw, headers=headers)
                assert answer.status_code < 500, (field, value[:40], answer.text)
    for raw in ("", "[]", "null", "1", '"x"', "{", "\x00", "{" * 9_000):
        answer = await service.call("POST", url, raw=raw, headers=bearer("admin", ADMIN))
        assert answer.status_code < 500, (raw[:40], answer.text)


GETS = (
    "/api/payments/status/{}", "/api/payments/{}", "/api/payments/{}/receipt", "/api/receipts/{}/pdf",
    "/api/admin/disputes/{}", "/api/memberships/{}", "/api/payments/my-payments?status={}",
    "/api/payments/my-payments?limit={}", "/api/payments/my-payments?cursor={}", "/api/admin/payments?item_slug={}",
    "/api/admin/payments?student_id={}", "/api/admin/disputes?open={}", "/api/receipts?kind={}",
    "/api/receipts?purchase_id={}", "/api/memberships?student_id={}", "/api/admin/refund-requests?status={}",
)  # fmt: skip
VALUES = (
    "%00",
    "a%00b",
    "%ff%fe",
    "%ED%A0%80",
    "9" * 4000,
    "1e9",
    "true",
    "-1",
    "%2e%2e%2f",
    "x" * 2000,
    "%F0%9F%92%A9",
)


@pytest.mark.parametrize("path", GETS)
async def test_hostile_paths_and_queries(service: Service, path: str) -> None:
    for value in VALUES:
        answer = await service.call("GET", path.format(value), headers=bearer("admin", ADMIN))
        assert answer.status_code < 500, (value[:40], answer.text)
    for method, url in (("POST", "/api/payments/methods/{}/default"), ("DELETE", "/api/payments/methods/{}")):
        for value in VALUES:
            answer = await service.call(method, url.format(value), headers=bearer("admin", ADMIN))
            assert answer.status_code < 500, (value[:40], answer.text)
