"""Faults to inject into webhook deliveries and API responses."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Faults(BaseModel):
    """The faults in force, all off by default. Times are in seconds and divided by TIME_FACTOR."""

    model_config = ConfigDict(extra="forbid")

    duplicate: int = Field(default=0, ge=0, le=20)
    """Number of duplicates of each first attempt."""
    delay_seconds: float = Field(default=0.0, ge=0)
    """Delay of each first attempt."""
    reorder_window: int = Field(default=0, ge=0, le=1000)
    """Hold this many deliveries, then send them in random order; 0 is off."""
    reorder_hold_seconds: float = Field(default=5.0, ge=0)
    """Send an incomplete window after this time."""
    reorder_seed: int | None = None
    """Seed of the random order."""
    before_answer: bool = False
    """Deliver webhooks before the response to the request that caused them."""
    drop: list[str] = Field(default_factory=list)
    """Event types (`*` for all) not to deliver; their events are listed as undelivered."""
    api_delay_seconds: float = Field(default=0.0, ge=0)
    """Delay between execution of an API request and its response. New faults end it."""
    lose_answers: int = Field(default=0, ge=0)
    """Execute the next n POST requests to the API, but close the connection without a response."""
    fail_requests: int = Field(default=0, ge=0)
    """Answer the next n API requests with 500 and no effect."""
    limit_requests: int = Field(default=0, ge=0)
    """Answer the next n API requests with 429 and no effect, as Stripe does beyond its rate limits."""
    pending_refunds: bool = False
    """Refunds created through the API are pending until the operator completes them."""
