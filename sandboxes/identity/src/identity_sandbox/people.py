"""Who can sign in: the people of the demo, and every student who types a name."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import NAMESPACE_URL, uuid5

ROLES = ("student", "case_manager", "specialist", "admin")


@dataclass(frozen=True)
class Person:
    role: str
    name: str
    email: str
    sub: str = ""
    """A UUID; empty: derived from the email address and the role, so that it is the same each time."""

    @property
    def subject(self) -> str:
        return self.sub or str(uuid5(NAMESPACE_URL, f"urn:identity-sandbox:{self.role}:{self.email.lower()}"))


STAFF = {
    "case_manager": Person("case_manager", "Casey Morgan", "casey.morgan@school.example.com"),
    "specialist": Person("specialist", "Sam Ortiz", "sam.ortiz@school.example.com"),
    "admin": Person("admin", "Alex Adams", "alex.adams@school.example.com"),
}
STUDENT = Person("student", "Jordan Rivera", "jordan.rivera@example.com")
