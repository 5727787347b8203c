"""The secrets of a local stack, generated once and kept in `.local/secrets.json`, and tokens signed with them."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import jwt

TOKEN_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Identity:
    """Protects nothing but local sandboxes. Services get these values from their environment only."""

    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    jwt_issuer: str = "https://auth.bursar.local"
    jwt_audience: str = "bursar"
    stripe_api_key: str = field(default_factory=lambda: f"sk_test_{secrets.token_hex(12)}")
    stripe_publishable_key: str = field(default_factory=lambda: f"pk_test_{secrets.token_hex(12)}")
    stripe_webhook_secret: str = field(default_factory=lambda: f"whsec_{secrets.token_hex(24)}")
    sandbox_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    milady_api_key: str = field(default_factory=lambda: f"milady_{secrets.token_hex(16)}")
    pay_link_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @classmethod
    def kept_in(cls, file: Path) -> Identity:
        """Reads the file; generates a new identity if it does not exist or has other fields."""
        if file.exists():
            try:
                kept = json.loads(file.read_text())
                if kept.keys() == asdict(identity := cls(**kept)).keys():
                    return identity
            except (ValueError, TypeError, AttributeError):
                pass
        identity = cls()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(identity), indent=2) + "\n")
        return identity

    def token(self, person: Person) -> str:
        """A bearer token, valid for 30 days."""
        now = int(time.time())
        claims = {
            "sub": str(person.id),
            "role": person.role,
            "email": person.email,
            "name": person.name,
            "iss": self.jwt_issuer,
            "aud": self.jwt_audience,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
        }
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")


@dataclass(frozen=True)
class Person:
    """A caller of the APIs."""

    role: str
    name: str
    id: UUID = field(default_factory=uuid4)

    @property
    def email(self) -> str:
        first = "".join(letter for letter in self.name.split()[0].lower() if letter.isascii())
        return f"{first}.{self.id.hex[:8]}@example.com"


def new_people() -> dict[str, Person]:
    """A student (new in each run, as the database keeps earlier enrollments), a case manager and an admin."""
    return {
        "student": Person("student", "Jordan Rivera"),
        "case_manager": Person("case_manager", "Casey Morgan"),
        "admin": Person("admin", "Alex Adams"),
    }
