"""What a purchase looks like to the person who has just paid. Pure: the services' answers in, texts out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Phase = Literal["waiting", "processing", "done", "failed", "over"]


@dataclass(frozen=True, kw_only=True)
class Status:
    """`settled`: nothing will change by itself, so the page need not ask again. `unfinished`: the payer has to act."""

    phase: Phase
    title: str
    text: str
    unfinished: bool = False

    @property
    def settled(self) -> bool:
        return self.unfinished or self.phase in ("done", "failed", "over")


_AT_THE_BANK: tuple[Phase, str, str] = (
    "processing",
    "Your payment is being processed",
    "Your bank needs up to four working days. Your enrollment opens by itself then, and we send you an email.",
)
_BY_STATUS: Mapping[str, tuple[Phase, str, str]] = {
    "awaiting_payment": (
        "waiting",
        "Waiting for your payment",
        "As soon as the payment is confirmed, you see it here.",
    ),
    "paid": ("waiting", "Payment received", "Your payment was received. Your enrollment is being opened."),
    "active": ("done", "You are enrolled", "Your payment is confirmed and your enrollment is active."),
    "completed": ("done", "You are enrolled", "Your enrollment is completed."),
    "paused": ("over", "Your enrollment is paused", "A payment is overdue. Your enrollment resumes when it is paid."),
    "withdrawn": ("over", "Your enrollment has ended", "The payment was refunded or withdrawn."),
    "failed": ("failed", "Your payment did not go through", "No money was taken. You can try another payment method."),
    "expired": ("failed", "The payment page has expired", "No money was taken. You can start again."),
    "canceled": ("over", "This purchase was canceled", "Nothing is owed for it."),
}
_UNCONFIRMED = "No money was taken yet. Go back to the payment, and confirm it with your bank."
_WITHOUT_ENROLLMENT = ("merchandise",)


def status_of(purchase: Mapping[str, Any] | None) -> Status:
    """None: the services have not received anything about it yet."""
    if purchase is None:
        text = "We are waiting for the confirmation of your payment. This takes a few seconds."
        return Status(phase="waiting", title="Waiting for the confirmation", text=text)
    status = str(purchase["status"])
    if status == "paid" and purchase["kind"] in _WITHOUT_ENROLLMENT:
        return Status(phase="done", title="Payment received", text="Your payment is confirmed.")
    if status in ("processing", "pending"):
        at_the_bank = purchase["paid"] == 0 < purchase["amount"]  # a bank debit that has not settled
        phase, title, text = _AT_THE_BANK if at_the_bank else _BY_STATUS["paid"]
        return Status(phase=phase, title=title, text=text)
    phase, title, text = _BY_STATUS.get(status, ("waiting", "Waiting for the confirmation", ""))
    return Status(phase=phase, title=title, text=text)


def attempt_of(stripe_status: str | None) -> Status | None:
    """Of an intent that is still open by what the services have received; None: its status says nothing else."""
    if stripe_status in ("requires_payment_method", "canceled"):
        phase, title, text = _BY_STATUS["failed"]
        return Status(phase=phase, title=title, text=text)
    if stripe_status in ("requires_action", "requires_confirmation"):
        return Status(phase="waiting", title="Your bank has to confirm the payment", text=_UNCONFIRMED, unfinished=True)
    return None
