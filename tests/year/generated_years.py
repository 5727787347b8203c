"""Generated years of a school: which actions, how often, in which order."""

from __future__ import annotations

from hypothesis import strategies as st
from tests.year.actions import (
    AdvanceDays,
    Appeal,
    Buy,
    CancelEnrollment,
    ChangeInstallment,
    ChangeMembership,
    CloseDispute,
    Dispute,
    FailNextCharges,
    Method,
    Pay,
    PayElsewhere,
    PayInvoice,
    PayRemaining,
    RecordPayment,
    Refund,
    ReturnDebit,
    Settle,
    SettleDebits,
    Sponsor,
)

Action = (
    Buy
    | Sponsor
    | PayElsewhere
    | Settle
    | ReturnDebit
    | Appeal
    | Pay
    | PayInvoice
    | AdvanceDays
    | FailNextCharges
    | Refund
    | Dispute
    | CloseDispute
    | SettleDebits
    | RecordPayment
    | ChangeInstallment
    | CancelEnrollment
    | PayRemaining
    | ChangeMembership
)

_numbers = st.integers(0, 11)
_methods: st.SearchStrategy[Method] = st.sampled_from(
    ("card", "card", "card", "declined_card", "bank_debit", "failing_bank_debit")
)
_purchases: st.SearchStrategy[Action] = st.builds(
    Buy,
    student=_numbers,
    product=st.sampled_from(("program", "plan", "track", "course", "enroll", "enroll", "membership")),
    number=_numbers,
)
_payments: st.SearchStrategy[Action] = st.builds(Pay, number=_numbers, method=_methods)
_time_steps: st.SearchStrategy[Action] = st.builds(AdvanceDays, days=st.integers(1, 45))
_other_actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(Sponsor, student=_numbers, number=_numbers, route=st.sampled_from(("funding", "enroll"))),
    st.builds(
        PayElsewhere,
        student=_numbers,
        number=_numbers,
        spelling=st.sampled_from(("slug", "course", "track", "nobody")),
        short=st.booleans(),
    ),
    st.builds(Settle, number=_numbers, decision=st.sampled_from(("assign", "refund", "accept"))),
    st.builds(ReturnDebit, number=_numbers, reason=st.sampled_from(("insufficient_funds", "debit_not_authorized"))),
    st.builds(Appeal, number=_numbers, outcome=st.sampled_from(("won", "lost"))),
    st.builds(PayInvoice, number=_numbers),
    st.builds(FailNextCharges, student=_numbers, times=st.integers(1, 6)),
    st.builds(
        Refund,
        number=_numbers,
        percent=st.sampled_from((1, 33, 50, 100, 100)),
        by=st.sampled_from(("admin", "student", "stripe", "request")),
    ),
    st.builds(Dispute, number=_numbers, kind=st.sampled_from(("chargeback", "chargeback", "inquiry"))),
    st.builds(CloseDispute, number=_numbers, outcome=st.sampled_from(("won", "lost"))),
    st.builds(SettleDebits, settles=st.booleans()),
    st.builds(
        RecordPayment,
        number=_numbers,
        method=st.sampled_from(("cash", "check", "bank_transfer", "waiver")),
        twice=st.booleans(),
    ),
    st.builds(
        ChangeInstallment,
        number=_numbers,
        change=st.sampled_from(("pause", "resume", "postpone")),
        days=st.integers(1, 60),
    ),
    st.builds(CancelEnrollment, number=_numbers),
    st.builds(PayRemaining, number=_numbers),
    st.builds(
        ChangeMembership,
        number=_numbers,
        change=st.sampled_from(("cancel_now", "cancel_later", "pause", "resume", "upgrade", "downgrade", "yearly")),
    ),
)


def years(*, min_size: int, max_size: int) -> st.SearchStrategy[list[Action]]:
    """Purchases, most of them paid, followed by any actions over time."""
    sale = st.tuples(_purchases, _payments)
    other_steps = (_payments, *[_time_steps] * 3, *[_other_actions] * 4)
    later = st.one_of(sale, *(st.tuples(step) for step in other_steps))
    year = st.tuples(st.lists(sale, min_size=3, max_size=6), st.lists(later, min_size=min_size, max_size=max_size))
    return year.map(lambda parts: [action for part in parts for actions in part for action in actions])
