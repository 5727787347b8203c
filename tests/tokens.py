"""Bearer tokens as the identity provider would issue them."""

from __future__ import annotations

import time
from uuid import UUID

import jwt
from tests.processes import JWT


def bearer(
    sub: UUID,
    role: str = "student",
    *,
    email: str | None = None,
    name: str | None = None,
    scope: str | None = None,
) -> dict[str, str]:
    now = int(time.time())
    claims = {
        "sub": str(sub),
        "role": role,
        "iss": JWT["JWT_ISSUER"],
        "aud": JWT["JWT_AUDIENCE"],
        "iat": now,
        "exp": now + 3600,
    }
    claims |= {key: value for key, value in (("email", email), ("name", name), ("scope", scope)) if value}
    return {"Authorization": "Bearer " + jwt.encode(claims, JWT["JWT_SECRET"], algorithm="HS256")}
