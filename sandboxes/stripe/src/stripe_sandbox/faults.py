"""How webhook deliveries and API answers are made to go wrong, to order."""

from pydantic import BaseModel, ConfigDict, Field


class Faults(BaseModel):
    """The faults in force. All off by default; times are seconds and are divided by TIME_FACTOR."""

    model_config = ConfigDict(extra="forbid")

    duplicate: int = Field(default=0, ge=0, le=20)
    """Extra copies of each first attempt."""
    delay_seconds: float = Field(default=0.0, ge=0)
    """Wait before each first attempt."""
    reorder_window: int = Field(default=0, ge=0, le=1000)
    """Hold this many events and let them go shuffled; 0 is off."""
    reorder_hold_seconds: float = Field(default=5.0, ge=0)
    """Let a window go after this time even when it is not full."""
    reorder_seed: int | None = None
    """Makes the shuffle repeatable."""
    before_answer: bool = False
    """Attempt the deliveries before the API call (or page) that caused them is answered."""
    drop: list[str] = Field(default_factory=list)
    """Event types (`*` for all) that never reach a receiver; they stay listed as not delivered."""
    api_delay_seconds: float = Field(default=0.0, ge=0)
    """Wait between doing what an API call asks for and answering it."""
    lose_answers: int = Field(default=0, ge=0)
    """So many of the next POSTs to the API are carried out, and then the connection is closed without an answer."""
    fail_requests: int = Field(default=0, ge=0)
    """So many of the next requests to the API are answered with 500 and have no effect."""
    pending_refunds: bool = False
    """Refunds through the API start as pending and wait for the operator."""
