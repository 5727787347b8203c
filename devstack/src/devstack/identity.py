"""The secrets of a local stack, generated once and kept in `.local/secrets.json`, and tokens signed with them."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from jwt.algorithms import RSAAlgorithm

TOKEN_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Identity:
    """Protects nothing but local sandboxes. Services get these values from their environment only."""

    jwt_private_key: str = field(default_factory=lambda: _new_private_key())
    """PEM. The identity sandbox publishes its public half."""
    jwt_issuer: str = ""
    """The address of the identity sandbox in this run."""
    jwt_audience: str = "bursar"
    stripe_api_key: str = field(default_factory=lambda: f"sk_test_{secrets.token_hex(12)}")
    stripe_publishable_key: str = field(default_factory=lambda: f"pk_test_{secrets.token_hex(12)}")
    stripe_webhook_secret: str = field(default_factory=lambda: f"whsec_{secrets.token_hex(24)}")
    sandbox_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    milady_api_key: str = field(default_factory=lambda: f"milady_{secrets.token_hex(16)}")
    pay_link_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    oidc_client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    session_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))

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
        key = self.jwt_private_key
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": key_id(key)})


def _new_private_key() -> str:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def key_id(private_key: str) -> str:
    """`kid`, as in the identity sandbox's key set: the key's thumbprint (RFC 7638)."""
    key = load_pem_private_key(private_key.encode(), password=None)
    assert isinstance(key, RSAPrivateKey)  # noqa: S101  of _new_private_key
    public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    members = json.dumps({name: public[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest()).rstrip(b"=").decode()


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
