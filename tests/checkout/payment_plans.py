"""Generated payment plans."""

from __future__ import annotations

from hypothesis import strategies as st

from checkout.catalog.item import PaymentPlan
from checkout.installments.domain import FULL


def payment_plans(*, most_installments: int, most_days: int) -> st.SearchStrategy[PaymentPlan]:
    """In full, in installments, or a deposit with installments; monthly, or so many days apart."""
    intervals = st.none() | st.integers(1, most_days)
    return st.one_of(
        st.just(FULL),
        st.builds(
            PaymentPlan,
            type=st.just("installments"),
            installments=st.integers(2, most_installments),
            interval_days=intervals,
        ),
        st.builds(
            PaymentPlan,
            type=st.just("deposit_installments"),
            installments=st.integers(1, most_installments),
            deposit_percent=st.integers(1, 99),
            interval_days=intervals,
        ),
    )
