"""The signing key, and the tokens that are signed with it."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import RSAAlgorithm

from identity_sandbox.people import Person
from identity_sandbox.settings import Settings

_KEY_BITS = 2048


class TokenIssuer:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        pem = settings.private_key.get_secret_value() if settings.private_key else ""
        self._key = _read(pem) if pem else generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        public = json.loads(RSAAlgorithm.to_jwk(self._key.public_key()))
        self.kid = thumbprint(public)
        self.keys = {"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]}
        """The JWKS document: public keys only."""

    def access_token(self, person: Person) -> str:
        return self._sign(person, {"aud": self._settings.audience, "role": person.role}, type="at+jwt")

    def id_token(self, person: Person, *, nonce: str | None, access_token: str) -> str:
        half = hashlib.sha256(access_token.encode()).digest()[:16]
        claims = {"aud": self._settings.client_id, "at_hash": encoded(half)}
        return self._sign(person, claims | ({"nonce": nonce} if nonce else {}), type="JWT")

    def _sign(self, person: Person, claims: dict[str, Any], *, type: str) -> str:
        now = int(time.time())
        common = {
            "iss": self._settings.issuer,
            "sub": person.subject,
            "name": person.name,
            "email": person.email,
            "iat": now,
            "exp": now + self._settings.token_seconds,
        }
        return jwt.encode(common | claims, self._key, algorithm="RS256", headers={"kid": self.kid, "typ": type})


def _read(pem: str) -> RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("IDENTITY_SANDBOX_PRIVATE_KEY is no RSA key")
    return key


def thumbprint(public: dict[str, Any]) -> str:
    """RFC 7638."""
    members = json.dumps({name: public[name] for name in ("e", "kty", "n")}, separators=(",", ":"), sort_keys=True)
    return encoded(hashlib.sha256(members.encode()).digest())


def encoded(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
