"""Posts an alert to a Slack-style incoming webhook: `{"text": …}`.

Source: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks (there is no idempotency key).
"""

from __future__ import annotations

from datetime import timedelta

import httpx

from notifications.delivery_errors import HandOver, OutcomeUnknown, Rejected, Unreachable

_TIMEOUT = timedelta(seconds=10).total_seconds()


class Webhook:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False)

    async def send(self, text: str, *, key: str, hand_over: HandOver) -> None:
        """Returns when the server has accepted the post. `key` is sent as the Idempotency-Key.

        Raises Unreachable or Rejected if it has not, OutcomeUnknown if it did not answer.
        """
        await hand_over()
        try:
            answer = await self._client.post(self._url, json={"text": text}, headers={"Idempotency-Key": key})
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unreachable(f"webhook connection failed: {type(error).__name__}") from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown from error
        if answer.status_code == 429 or answer.status_code >= 500:
            raise Unreachable(f"webhook answered {answer.status_code}")
        if not answer.is_success:
            raise Rejected(f"webhook_{answer.status_code}")

    async def close(self) -> None:
        await self._client.aclose()


def escaped(text: str) -> str:
    """&, < and > are the only characters with a meaning for Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
