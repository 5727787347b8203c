"""What the routes of installments ask FastAPI for."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from checkout.cancellation_policy import cancellation_policy
from checkout.installments.cancellation_service import CancellationService
from checkout.installments.clock import Clock
from checkout.installments.enrollment_service import EnrollmentService
from checkout.installments.manual_payment_service import ManualPaymentService
from checkout.installments.payment_service import InstallmentPaymentService
from checkout.problems import NOT_FOUND
from checkout.purchases.context import Buyer
from checkout.purchases.dependencies import (
    CurrentBuyer,
    CurrentContext,
    CurrentCustomers,
    CurrentPurchases,
    CurrentSettings,
    buyer_of,
)
from kit.http.auth import Admin, Caller


def _clock(request: Request) -> Clock:
    return cast(Clock, request.app.state.clock)


CurrentClock = Annotated[Clock, Depends(_clock)]


def _test_clock(clock: CurrentClock) -> Clock:
    if not clock.enabled:
        raise NOT_FOUND()
    return clock


TestClock = Annotated[Clock, Depends(_test_clock)]
"""404 unless the settings enable it."""


def _enrollments(request: Request) -> EnrollmentService:
    return cast(EnrollmentService, request.app.state.enrollment_service)


Enrollments = Annotated[EnrollmentService, Depends(_enrollments)]


def staff_buyer(caller: Caller) -> Buyer:
    """For staff who act for a student: their own email address must not become the student's."""
    return buyer_of(Caller(id=caller.id, role=caller.role))


def _admin_buyer(caller: Admin) -> Buyer:
    return staff_buyer(caller)


AdminBuyer = Annotated[Buyer, Depends(_admin_buyer)]


def _payments(
    context: CurrentContext, customers: CurrentCustomers, clock: CurrentClock, buyer: CurrentBuyer
) -> InstallmentPaymentService:
    return InstallmentPaymentService(context, customers, clock, buyer)


InstallmentPayments = Annotated[InstallmentPaymentService, Depends(_payments)]


def _manual_payments(context: CurrentContext, clock: CurrentClock, buyer: AdminBuyer) -> ManualPaymentService:
    return ManualPaymentService(context, clock, buyer)


ManualPayments = Annotated[ManualPaymentService, Depends(_manual_payments)]


def _cancellations(
    context: CurrentContext,
    purchases: CurrentPurchases,
    clock: CurrentClock,
    settings: CurrentSettings,
    buyer: AdminBuyer,
) -> CancellationService:
    return CancellationService(context, purchases, clock, cancellation_policy(settings.cancel_refund), buyer)


Cancellations = Annotated[CancellationService, Depends(_cancellations)]
