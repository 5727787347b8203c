"""Which endpoints receive which events, and their signing secrets."""

from __future__ import annotations

import time

from stripe_sandbox.store import Obj, Store


class Endpoints:
    """The webhook endpoints in the store, with the signing secrets that their objects do not contain."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._secrets: dict[str, list[tuple[str, float | None]]] = {}

    def set_secret(self, endpoint: str, secret: str, *, old_expires_in: float = 0.0) -> None:
        """Signs with `secret` from now on, and with the previous secrets for `old_expires_in` real seconds."""
        until = time.time() + old_expires_in
        kept = [(old, until if expires is None else min(expires, until)) for old, expires in self._all(endpoint)]
        self._secrets[endpoint] = [(secret, None), *kept]

    def secrets(self, endpoint: str) -> list[str]:
        """The valid secrets, newest first; empty if the endpoint was deleted."""
        if self._store.find(endpoint) is None:
            return []
        now = time.time()
        return [secret for secret, expires in self._all(endpoint) if expires is None or expires > now]

    def all_secrets(self) -> dict[str, list[tuple[str, float | None]]]:
        """Endpoint -> (secret, when it expires), newest first."""
        return self._secrets

    def restore(self, secrets: dict[str, list[tuple[str, float | None]]]) -> None:
        self._secrets = secrets

    def url(self, endpoint: str) -> str | None:
        """Where to send webhooks now; None if the endpoint was deleted."""
        found = self._store.find(endpoint)
        return str(found["url"]) if found is not None else None

    def subscribed_to(self, event_type: str) -> list[Obj]:
        """Enabled endpoints for this event type or for `*`."""
        return [
            endpoint
            for endpoint in self._store.where("webhook_endpoint", status="enabled")
            if "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]
        ]

    def count_delivered(self, event: str) -> None:
        """Decrements `pending_webhooks` of an event."""
        found = self._store.find(event)
        if found is not None:
            found["pending_webhooks"] = max(0, found["pending_webhooks"] - 1)

    def _all(self, endpoint: str) -> list[tuple[str, float | None]]:
        return self._secrets.get(endpoint, [])
