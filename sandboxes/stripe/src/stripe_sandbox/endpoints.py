"""Who hears of which event, and the secrets to sign with."""

import time

from stripe_sandbox.store import Obj, Store


class Endpoints:
    """The webhook endpoints in the store, plus what their objects do not show: the secrets."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._secrets: dict[str, list[tuple[str, float | None]]] = {}

    def set_secret(self, endpoint: str, secret: str, *, old_expires_in: float = 0.0) -> None:
        """Sign with `secret` from now on, and with the earlier ones for so many more (real) seconds."""
        until = time.time() + old_expires_in
        kept = [(old, until if expires is None else min(expires, until)) for old, expires in self._all(endpoint)]
        self._secrets[endpoint] = [(secret, None), *kept]

    def secrets(self, endpoint: str) -> list[str]:
        """The secrets that are valid now, newest first; none when the endpoint is gone."""
        if self._store.find(endpoint) is None:
            return []
        now = time.time()
        return [secret for secret, expires in self._all(endpoint) if expires is None or expires > now]

    def wanting(self, event_type: str) -> list[Obj]:
        """Enabled endpoints that subscribed to the type, or to all of them."""
        return [
            endpoint
            for endpoint in self._store.where("webhook_endpoint", status="enabled")
            if "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]
        ]

    def delivered(self, event: str) -> None:
        """One endpoint less to wait for."""
        found = self._store.find(event)
        if found is not None:
            found["pending_webhooks"] = max(0, found["pending_webhooks"] - 1)

    def _all(self, endpoint: str) -> list[tuple[str, float | None]]:
        return self._secrets.get(endpoint, [])
