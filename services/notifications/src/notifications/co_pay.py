"""Co-pays: what the student pays of a sponsor's purchase. Pure."""

from __future__ import annotations

from contracts.people import Payer
from ledger.purchase import Purchase
from notifications.enrollment import Enrollment


def awaited_payer(enrollment: Enrollment, purchase: Purchase) -> Payer | None:
    """Who has paid nothing yet while the other has paid their whole share. None: nobody, or there is no co-pay."""
    created = enrollment.created_event(purchase)
    if created is None or created.co_pay is None:
        return None
    shares: dict[Payer, int] = {
        "sponsor": created.amount.amount - created.co_pay.amount,
        "student": created.co_pay.amount,
    }
    received: dict[Payer, int] = dict.fromkeys(shares, 0)
    for payment in purchase.settled_payments:
        received[enrollment.payer(purchase, payment)] += payment.value - payment.lost_amount
    complete = [payer for payer, share in shares.items() if received[payer] >= share]
    missing = [payer for payer in shares if not received[payer]]
    return missing[0] if complete and missing else None
