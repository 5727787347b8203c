"""Stripe's errors: an HTTP status and a body `{"error": {type, code, param, message, ...}}`."""

from __future__ import annotations

from typing import Any


class StripeError(Exception):
    """An error response. `extra` is copied into the error body (decline_code, payment_intent ...)."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.extra = extra

    def body(self, request_log_url: str) -> dict[str, Any]:
        """The JSON body. Keys without a value are omitted, as Stripe does."""
        error: dict[str, Any] = {"message": self.message, "type": self.type, "request_log_url": request_log_url}
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        if self.param is not None:
            error["param"] = self.param
        return {"error": {**error, **self.extra}}


def missing_param(param: str) -> StripeError:
    return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def unknown_param(param: str) -> StripeError:
    return StripeError(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)


def no_such(object_type: str, id: str, *, param: str = "id", status: int = 404) -> StripeError:
    """404 for an id in the path; for an id in a parameter, pass its name and status 400."""
    return StripeError(f"No such {object_type}: '{id}'", status=status, code="resource_missing", param=param)


def card_error(message: str, *, code: str, decline_code: str | None = None, **extra: Any) -> StripeError:
    if decline_code:
        extra["decline_code"] = decline_code
    return StripeError(message, status=402, type="card_error", code=code, **extra)
