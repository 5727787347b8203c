"""Rows of one student in each service's database. Every id is the student's, except the provider's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from uuid import UUID

from contracts.people import enrollment_uuid

_CHECKOUT = (
    """
    INSERT INTO purchases (id, student_id, program_id, program_slug, program_name, covers, amount, currency, payer,
        payment_type, state, client_secret, payment_flow, list_price)
    VALUES ('{id}', '{id}', 'p', 'p', 'P', '{p}', 100, 'usd', 'student', 'full', 'processing', 'secret',
        'installments', 100)
    """,
    """
    INSERT INTO authorizations (student_id, funding_source, authorization_number, cap, currency)
    VALUES ('{id}', 'WIOA', 'A-1', 500000, 'usd')
    """,
    "INSERT INTO contacts (student_id, email, revision) VALUES ('{id}', 'ada@example.org', 1)",
    "INSERT INTO customers (student_id, stripe_customer_id) VALUES ('{id}', 'cus_{hex}')",
    """
    INSERT INTO payments (id, purchase_id, student_id, item_slug, item_name, item_kind, payer, amount, currency, status,
        refs, stripe_payment_intent_id)
    VALUES ('{id}', '{id}', '{id}', 'p', 'P', 'program', 'student', 100, 'usd', 'succeeded', ARRAY['pi_{hex}'],
        'pi_{hex}')
    """,
    """
    INSERT INTO refund_requests (id, payment_id, purchase_id, student_id, reason, status, decided_at, decided_by)
    VALUES ('{id}', '{id}', '{id}', '{id}', 'r', 'rejected', now(), 'admin')
    """,
    """
    INSERT INTO installments (id, purchase_id, student_id, position, kind, amount, currency, due_at, status)
    VALUES ('{id}', '{id}', '{id}', 1, 'full', 100, 'usd', now(), 'open')
    """,
    """
    INSERT INTO memberships (id, student_id, item_id, tier, interval, status, stripe_subscription_id, as_of)
    SELECT '{id}', '{id}', id, 'student', 'month', 'active', 'sub_{hex}', now() FROM items
    WHERE kind = 'membership' ORDER BY slug LIMIT 1
    """,
    """
    INSERT INTO documents (id, kind, series, serial, number, payment_id, refs, purchase_id, student_id, content,
        issued_at)
    SELECT '{id}', 'receipt', 'R', 1 + coalesce(max(serial), 0), 'R-{hex}', '{id}', ARRAY['pi_{hex}'], '{id}',
        '{id}', '{content}', now() FROM documents
    """,
    "INSERT INTO promotion_codes (code, percent_off, referrer_id) VALUES ('{referral}', 10, '{id}')",
)
_ENROLLMENT = (
    """
    INSERT INTO enrollments (id, student_id, program_slug, program_id, program_name, kind, status, payment_status,
        source, revision)
    VALUES ('{id}', '{id}', 'p', 'p', 'P', 'track', 'active', 'paid', 'self_enroll', 1)
    """,
    """
    INSERT INTO project_progress (id, enrollment_id, student_id, position, title, status)
    VALUES ('{id}', '{id}', '{id}', 1, 'A', 'unlocked')
    """,
    "INSERT INTO step_progress (id, project_id, student_id, position, title) VALUES ('{id}', '{id}', '{id}', 1, 'A')",
)
_INSTRUCTOR_ASSIGNMENT = (
    """
    INSERT INTO ai_instructor_assignments (id, student_id, program_slug, program_id, desired_status, status)
    VALUES ('{id}', '{id}', 'p', 'p', 'assigned', 'waiting')
    """,
    """
    INSERT INTO chat_messages (id, assignment_id, student_id, role, text, state)
    VALUES ('{id}', '{id}', '{id}', 'student', 'What is a fade?', 'complete')
    """,
)
_MILADY_INTEGRATION = (
    """
    INSERT INTO enrollments (id, student_id, program_slug, program_id, standing, desired_state)
    VALUES ('{enrollment}', '{id}', 'barber-apprenticeship', 'p', 'active', 'enrolled')
    """,
    """
    INSERT INTO provider_enrollments (id, student_id, program_slug, status, desired_state, generation, announced,
        revision, links)
    VALUES ('{enrollment}', '{id}', 'barber-apprenticeship', 'enrolled', 'enrolled', 1, true, 1, '[]')
    """,
)
_NOTIFICATIONS = (
    """
    INSERT INTO notifications (id, key, template, channel, recipient, student_id, about_student_id, context, status)
    VALUES ('{id}', '{id}', 'welcome', 'email', 'student', '{id}', '{id}', '{}', 'sent')
    """,
)
_INSERTS: Mapping[str, tuple[str, ...]] = {
    "checkout": _CHECKOUT,
    "enrollment": _ENROLLMENT,
    "instructor_assignment": _INSTRUCTOR_ASSIGNMENT,
    "milady_integration": _MILADY_INTEGRATION,
    "notifications": _NOTIFICATIONS,
}
"""By service; {…} are replaced."""


def inserts_of(package: str, student: UUID) -> Iterator[str]:
    price = {"amount": 100, "currency": "usd"}
    at = "2026-11-01T00:00:00Z"
    content = {
        **{
            "number": "R-1",
            "kind": "receipt",
            "issued_at": at,
            "paid_at": at,
            "seller": {"name": "School"},
            "buyer": {},
        },
        **{"purchase_id": str(student), "student_id": str(student), "program": "P", "lines": []},
        **{"list_price": price, "total": price, "paid": price},
    }
    named = {
        "{id}": str(student),
        "{hex}": student.hex,
        "{content}": json.dumps(content),
        "{enrollment}": str(enrollment_uuid(student, "barber-apprenticeship")),
        "{referral}": f"R{student.hex[:8].upper()}",
    }
    for sql in _INSERTS[package]:
        for name, value in named.items():
            sql = sql.replace(name, value)
        yield sql
