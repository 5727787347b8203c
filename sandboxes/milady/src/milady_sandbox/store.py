"""Enrollments and responses by Idempotency-Key, in memory."""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal


@dataclass
class Enrollment:
    id: str
    student_ref: str
    program: str
    name: str | None
    email: str | None
    courses: list[tuple[str, str]]
    created_at: datetime
    status: Literal["active", "withdrawn"] = "active"
    withdrawn_at: datetime | None = None


@dataclass
class SavedResponse:
    """The response saved under a key. `status` is None while the request is in progress."""

    request_hash: str
    status: int | None = None
    body: dict[str, Any] = field(default_factory=dict)


@dataclass
class Store:
    enrollments: dict[str, Enrollment] = field(default_factory=dict)
    responses: dict[str, SavedResponse] = field(default_factory=dict)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=2000))

    def enroll(
        self, *, student_ref: str, program: str, name: str | None, email: str | None, courses: list[tuple[str, str]]
    ) -> Enrollment:
        enrollment = Enrollment(
            id=f"men_{secrets.token_hex(8)}",
            student_ref=student_ref,
            program=program,
            name=name,
            email=email,
            courses=courses,
            created_at=datetime.now(UTC),
        )
        self.enrollments[enrollment.id] = enrollment
        return enrollment

    def withdraw(self, enrollment: Enrollment) -> None:
        """Idempotent."""
        if enrollment.status == "active":
            enrollment.status = "withdrawn"
            enrollment.withdrawn_at = datetime.now(UTC)

    def reset(self) -> None:
        self.enrollments.clear()
        self.responses.clear()
        self.requests.clear()


def hash_of(path: str, body: bytes) -> str:
    return hashlib.sha256(path.encode() + b"\n" + body).hexdigest()
