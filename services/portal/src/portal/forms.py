"""Forms: what a browser has posted, after the check that a page of ours has sent it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl
from uuid import uuid4

from fastapi import Depends, Request

from kit.http.problems import INVALID_REQUEST
from portal.problems import FORM_EXPIRED
from portal.sessions import Session

TOKEN_FIELD = "form_token"  # noqa: S105  the name of the field
_MOST_FIELDS = 200
_MOST_PATH = 2000


async def _posted(request: Request) -> Mapping[str, str]:
    """Raises Problem 403 unless the form has the session's token and, where the browser says so, comes from here."""
    try:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise INVALID_REQUEST("The form cannot be read.") from None
    form = dict(pairs)
    session: Session = request.state.session
    sent = form.pop(TOKEN_FIELD, "")
    if not session.csrf or not secrets.compare_digest(sent.encode(), session.csrf.encode()) or _is_foreign(request):
        raise FORM_EXPIRED()
    return form


def _is_foreign(request: Request) -> bool:
    """Whether the browser says that another site has sent this (Fetch Metadata, or Origin)."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("origin")
    return origin is not None and origin != request.app.state.settings.portal_url


PostedForm = Annotated[Mapping[str, str], Depends(_posted)]
"""For every route that changes something."""


def idempotency_key(form: Mapping[str, str]) -> str:
    """`key` of the form, so that a second click finds the same purchase."""
    key = form.get("key", "")
    return key if 20 <= len(key) <= 100 and key.isascii() and key.isprintable() else str(uuid4())


def return_path(value: str | None) -> str:
    """A path of the portal to go back to; `/` for anything that could lead elsewhere."""
    if not value or not value.startswith("/") or value.startswith(("//", "/\\")) or len(value) > _MOST_PATH:
        return "/"
    if "\\" in value or not value.isascii() or not value.isprintable() or value.startswith("/api/"):
        return "/"
    return value
