"""Who may call which route, and whose rows the route reads or changes then: docs/roles.md.

The roles and scopes are read from the routes. Whose rows is stated here for every route that is not for admins alone;
`tests/security/test_role_rows.py` calls them all, for the caller's own rows and for others'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from kit.http.auth import GUEST, ROLES, roles_of, scopes_of

Access = Literal["none", "by link", "own", "visible", "managed", "own or admin", "revenue"]
"""none: no student's rows (the catalog)
by link: those that a link names which cannot be guessed
own: the caller's, whatever the role
visible: the caller's own, a case manager's caseload's, all for admins
managed: a case manager's caseload's, all for admins
own or admin: the caller's own, all for admins
revenue: a specialist's, all for admins"""

_OWN = dict.fromkeys(ROLES, "own")
_CELLS: Mapping[Access, Mapping[str, str]] = {
    "none": {},
    "by link": dict.fromkeys((GUEST, *ROLES), "by link"),
    "own": _OWN,
    "visible": _OWN | {"case_manager": "caseload", "admin": "all"},
    "managed": {"case_manager": "caseload", "admin": "all"},
    "own or admin": _OWN | {"admin": "all"},
    "revenue": {"specialist": "own", "admin": "all"},
}

ROWS: Mapping[tuple[str, str], Access] = {
    ("webhook-gateway", "POST /api/payments/webhook"): "none",  # Stripe's, by its signature
    ("webhook-gateway", "POST /api/stripe/webhook"): "none",
    ("webhook-gateway", "POST /api/webhook/stripe"): "none",
    ("webhook-gateway", "POST /api/webhooks/stripe"): "none",
    ("checkout", "DELETE /api/payments/methods/{method_id}"): "own",
    ("checkout", "GET /api/admin/caseload"): "managed",
    ("checkout", "GET /api/admin/caseload/funding"): "managed",
    ("checkout", "GET /api/admin/items"): "none",
    ("checkout", "GET /api/admin/items/{slug}"): "none",
    ("checkout", "GET /api/admin/programs"): "none",
    ("checkout", "GET /api/admin/sponsors"): "none",
    ("checkout", "GET /api/catalog"): "none",
    ("checkout", "GET /api/checkout-sessions/{session_id}"): "by link",
    ("checkout", "GET /api/enrollments/{id}/payment"): "visible",
    ("checkout", "GET /api/me/export"): "own",
    ("checkout", "GET /api/memberships"): "visible",
    ("checkout", "GET /api/memberships/current"): "own",
    ("checkout", "GET /api/payment-methods"): "none",
    ("checkout", "GET /api/payments/history/customer"): "own",
    ("checkout", "GET /api/payments/methods"): "own",
    ("checkout", "GET /api/payments/my-payments"): "own",
    ("checkout", "GET /api/payments/refund-requests"): "visible",
    ("checkout", "GET /api/payments/specialist/statistics"): "revenue",
    ("checkout", "GET /api/payments/status/{payment_intent_id}"): "own",
    ("checkout", "GET /api/payments/{payment_id:uuid}"): "visible",
    ("checkout", "GET /api/payments/{payment_id}/receipt"): "visible",
    ("checkout", "GET /api/prices/{item}"): "none",
    ("checkout", "GET /api/programs"): "none",
    ("checkout", "GET /api/promotions/{code}"): "none",
    ("checkout", "GET /api/purchases"): "visible",
    ("checkout", "GET /api/receipts"): "visible",
    ("checkout", "GET /api/receipts/{id}/pdf"): "visible",
    ("checkout", "GET /api/referral-code"): "own",
    ("checkout", "GET /api/sponsor-statements/{token}"): "by link",
    ("checkout", "GET /pay/{token}"): "by link",
    ("checkout", "GET /pay/{token}/invoice.pdf"): "by link",
    ("checkout", "POST /api/checkout"): "own",
    ("checkout", "POST /api/create-checkout-session"): "own",
    ("checkout", "POST /api/enrollments"): "visible",
    ("checkout", "POST /api/enrollments/{id}/pay-remaining"): "visible",
    ("checkout", "POST /api/funding/create-checkout"): "managed",
    ("checkout", "POST /api/funding/{id}/send"): "managed",
    ("checkout", "POST /api/memberships"): "own",
    ("checkout", "POST /api/memberships/{id}/cancel"): "own or admin",
    ("checkout", "POST /api/memberships/{id}/change"): "own or admin",
    ("checkout", "POST /api/memberships/{id}/pause"): "own or admin",
    ("checkout", "POST /api/memberships/{id}/resume"): "own or admin",
    ("checkout", "POST /api/payments/billing-portal"): "own",
    ("checkout", "POST /api/payments/confirm-payment"): "visible",
    ("checkout", "POST /api/payments/create-checkout-session"): "own",
    ("checkout", "POST /api/payments/create-intent"): "own",
    ("checkout", "POST /api/payments/create-payment"): "own",
    ("checkout", "POST /api/payments/methods/{method_id}/default"): "own",
    ("checkout", "POST /api/payments/request-refund"): "own",
    ("checkout", "POST /api/payments/schedules/{id}/intent"): "visible",
    ("checkout", "POST /api/payments/{payment_id:uuid}/refund"): "own or admin",
    ("checkout", "POST /api/referral-code"): "own",
    ("checkout", "PUT /api/admin/students/{id}/contact"): "managed",
    ("enrollment", "GET /api/enrollments"): "visible",
    ("enrollment", "GET /api/enrollments/{enrollment_id}"): "visible",
    ("enrollment", "GET /api/enrollments/{enrollment_id}/progress"): "visible",
    ("enrollment", "GET /api/me/export"): "own",
    ("enrollment", "POST /api/enrollments/{enrollment_id}/progress/steps/{step_id}/done"): "own or admin",
    ("instructor-assignment", "GET /api/admin/instructor-assignments"): "managed",
    ("instructor-assignment", "GET /api/instructors/mine"): "own",
    ("instructor-assignment", "GET /api/instructors/mine/{assignment_id}"): "own",
    ("instructor-assignment", "GET /api/instructors/mine/{assignment_id}/messages"): "own",
    ("instructor-assignment", "POST /api/instructors/mine/{assignment_id}/messages"): "own",
    ("instructor-assignment", "GET /api/me/export"): "own",
    ("milady-integration", "GET /api/admin/milady/enrollments"): "managed",
    ("milady-integration", "GET /api/admin/milady/programs"): "none",
    ("milady-integration", "GET /api/me/export"): "own",
    ("milady-integration", "GET /api/milady/mine"): "own",
    ("milady-integration", "POST /api/milady/auto-enroll"): "managed",
    ("notifications", "GET /api/me/export"): "own",
    ("notifications", "GET /api/notifications"): "own or admin",
}
"""By service and route. A route that only admins may call has no entry: it reads and changes all rows."""

_HEAD = """# Who may call what

The roles that each route lets in, and whose rows it reads or changes for them. A `guest` has no token. Generated by
`make docs` from the routes and `devstack/src/devstack/role_table.py`; tests call every route with every role, for the
caller's own rows and for those of others.

- **own**: the caller's own rows; those of others are not found.
- **caseload**: the rows of the students in the case manager's caseload, and the caller's own
  ([decision 32](decisions/0032-case-managers-see-their-caseload.md)).
- **all**: every student's rows, and those of no student. **yes**: no student's rows. **by link**: those that the link
  names.

The database decides it (row-level security): see `services/*/migrations` and `tests/security/test_database_rows.py`.
A specialist also sees the payments for items of their own.
"""
_SYSTEMS = """
## Other systems

A token with the role `machine` (its `sub` is a UUID, too) is admitted where the route names a scope that the token has
in `scope`, separated by spaces (RFC 8693). It reads all rows, in a transaction that can write nothing. Everywhere else
it is a 403 `person_required`; without the scope, a 403 `insufficient_scope`. Routes that ask nobody for a token do not
read it.

| service | route | scope |
| --- | --- | --- |
"""


def routes_of(app: FastAPI) -> dict[str, frozenset[str]]:
    """The roles that each documented route lets in, by method and path."""
    return {route: roles_of(dependant) for route, dependant in _routes(app)}


def scopes_by_route(app: FastAPI) -> dict[str, frozenset[str]]:
    """The scopes that admit another system, by method and path of the routes that have any."""
    found = {route: scopes_of(dependant) for route, dependant in _routes(app)}
    return {route: scopes for route, scopes in found.items() if scopes}


def _routes(app: FastAPI) -> Iterator[tuple[str, Dependant]]:
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute) and route.include_in_schema:
            for method in sorted(route.methods or ()):
                yield f"{method} {route.path}", route.dependant


def cell(service: str, route: str, role: str, allowed: frozenset[str]) -> str:
    """Raises KeyError for a route without an entry in ROWS."""
    if role not in allowed:
        return ""
    if allowed == {"admin"}:
        return "all"
    return _CELLS[ROWS[service, route]].get(role, "yes")


def role_table(apis: Mapping[str, FastAPI]) -> str:
    columns = (GUEST, *ROLES)
    lines = [f"| service | route | {' | '.join(columns)} |", f"| --- | --- {'| :---: ' * len(columns)}|"]
    systems = []
    for service, app in apis.items():
        for route, allowed in sorted(routes_of(app).items(), key=lambda item: item[0].split()[::-1]):
            cells = (cell(service, route, role, allowed) for role in columns)
            lines.append(f"| {service} | `{route}` | {' | '.join(cells)} |")
        for route, scopes in sorted(scopes_by_route(app).items()):
            systems.append(f"| {service} | `{route}` | {' '.join(f'`{scope}`' for scope in sorted(scopes))} |")
    return _HEAD + "\n" + "\n".join(lines) + "\n" + _SYSTEMS + "\n".join(systems) + "\n"
