"""Composition root of checkout: settings in, processes out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fastapi import FastAPI

import checkout
from checkout import consumers
from checkout.catalog import admin_api as catalog_admin_api
from checkout.catalog import consumers as catalog_consumers
from checkout.catalog import items_api, loader, promotion_api, public_api
from checkout.erasures import api as erasures_api
from checkout.erasures.event_handlers import erasure_events
from checkout.erasures.measurement import ErasureMeasurement
from checkout.erasures.personal_data import PERSONAL
from checkout.installments import admin_api as installments_admin_api
from checkout.installments import api as installments_api
from checkout.installments import (
    caseload_funding_api,
    pay_api,
    price_api,
    receivables_api,
    session_api,
    sponsor_api,
    sponsor_statement_api,
)
from checkout.installments.clock import Clock
from checkout.installments.collection import CollectionJob
from checkout.installments.enrollment_service import EnrollmentService
from checkout.installments.jobs import DEBIT_RESULT, CloseJob, DebitResultJob, EnrollmentExpiryJob
from checkout.installments.open_invoices import open_installments
from checkout.installments.page_flow import PageFlow
from checkout.installments.pay_link_service import PayLinkService
from checkout.installments.plan_flow import PlanFlow
from checkout.installments.timer import COLLECTION, ENROLLMENT_EXPIRY, Timer
from checkout.installments.transitions import CLOSE
from checkout.installments.verification import InstallmentComparison
from checkout.memberships import api as memberships_api
from checkout.memberships.event_handlers import CREDIT, SYNC
from checkout.memberships.jobs import CreditReturn, MembershipSync
from checkout.memberships.membership_flow import MembershipFlow
from checkout.memberships.repository import member_tier
from checkout.memberships.service import MembershipService
from checkout.memberships.verification import MembershipComparison
from checkout.money_fields import describe
from checkout.payments import admin_api as payments_admin_api
from checkout.payments import api as payments_api
from checkout.payments import intent_api, methods_api, refund_request_api, refund_service, statistics_api
from checkout.payments.free_payments import FREE_PAYMENT, FreePaymentJob
from checkout.payments.intent_flow import IntentFlow
from checkout.payments.jobs import StripeRefundJob
from checkout.payments.refold import payment_rows
from checkout.payments.verification import PaymentComparison
from checkout.purchases import (
    acceptance_api,
    caseload,
    caseload_api,
    contact_api,
    course_api,
    off_sale,
    unmatched,
    unmatched_api,
)
from checkout.purchases import api as purchases_api
from checkout.purchases.context import CheckoutContext
from checkout.purchases.customer_events import (
    DELETION,
    DETACHMENT,
    REPLACEMENT,
    CustomerDeletion,
    CustomerReplacement,
    MethodDetachment,
    customer_events,
)
from checkout.purchases.customers import Customers
from checkout.purchases.domain import PaymentFlowName
from checkout.purchases.jobs import INTENT_EXPIRY, PAGE_EXPIRY, IntentExpiry, PageExpiry
from checkout.purchases.lost_events import OLD_CHECKS, LostEvents, open_purchases
from checkout.purchases.recorder import FACT_RULES
from checkout.purchases.repository import SUBSCRIPTION_CANCEL
from checkout.purchases.service import PaymentFlow, PurchaseService
from checkout.purchases.subscriptions import SubscriptionCancel
from checkout.purchases.unmatched import UnmatchedAnnouncement, UnmatchedRefund
from checkout.receipts import api as receipts_api
from checkout.receipts.jobs import PUBLICATION, PublicationJob
from checkout.receipts.repository import move_documents
from checkout.receipts.settings import IssuerSettings
from checkout.receipts.verification import DocumentComparison
from checkout.reminder_days import REMINDER_DAYS, reminder_days
from checkout.settings import ApiSettings, RelaySettings, WorkerSettings
from checkout.stripe_client import Stripe
from checkout.topology import PAYMENTS, PUBLISHES, QUEUES, REQUESTS, SERVICE
from contracts.payments import PaymentFailed
from kit.db.database import Database
from kit.db.unit_of_work import UnitOfWork, utc_now
from kit.http import verification as verification_api
from kit.http.export import export_router
from kit.http.limits import LIMIT_MONEY
from kit.jobs.jobs import JobHandler
from kit.messaging.event_requests import event_requests
from kit.messaging.fact_verification import FactComparison
from kit.messaging.refold import Apply, refold_command
from kit.messaging.verification import Comparison
from kit.messaging.verification_runs import Verifier, verify_command
from kit.runtime.process import Command, Process, Role
from kit.runtime.service import api_process, consumers_process, create_api, database_of, migrate_service, relay_process
from ledger.facts import enrollment_pattern
from ledger.policy import Policy

ROUTERS = (
    purchases_api.router,
    intent_api.router,
    course_api.router,
    contact_api.router,
    caseload_api.router,
    caseload_funding_api.router,
    unmatched_api.router,
    acceptance_api.router,
    catalog_admin_api.router,
    payments_api.router,
    refund_request_api.router,
    refund_request_api.admin_router,
    methods_api.router,
    statistics_api.router,
    payments_admin_api.router,
    items_api.router,
    promotion_api.router,
    public_api.router,
    receipts_api.router,
    memberships_api.router,
    installments_api.router,
    sponsor_api.router,
    sponsor_statement_api.router,
    sponsor_statement_api.admin_router,
    pay_api.router,
    price_api.router,
    session_api.router,
    installments_admin_api.router,
    receivables_api.router,
    verification_api.router,
    erasures_api.router,
    export_router(PERSONAL),
)
TAGS = {
    "catalog": "What is sold, and at which price.",
    "checkout": "Pages where a student or a sponsor pays.",
    "courses": "Pages where a course is paid.",
    "enrollments": "What a student has bought or been given, and what is left to pay.",
    "installments": "What is due and overdue.",
    "memberships": "Buying, changing, pausing and canceling a membership.",
    "pay": "Links in messages to what is left to pay.",
    "payment methods": "A student's saved cards and bank accounts.",
    "payments": "Payments by a front end's own form, their history, and refunds.",
    "promotions": "Promotion codes and referral codes.",
    "receipts": "Receipts and invoices.",
}


class ConsumerSettings(WorkerSettings, IssuerSettings):
    """The consumers issue the receipts."""


def app(settings: ApiSettings) -> FastAPI:
    made = create_api(
        SERVICE,
        description=checkout.__doc__,
        routers=ROUTERS,
        consumers=[
            consumers.payment_events(),
            consumers.enrollment_events(),
            catalog_consumers.registrations(),
            customer_events(),
            erasure_events(),
            event_requests(REQUESTS),
        ],
        publishes=PUBLISHES,
        settings=settings,
        dependencies=[LIMIT_MONEY],
        tags=TAGS,
    )
    document = made.openapi
    made.openapi = lambda: describe(document())  # type: ignore[method-assign]  # as FastAPI's documentation does it
    made.state.stripe = Stripe(settings)
    made.state.context = context = CheckoutContext(made.state.database, made.state.stripe, settings)
    made.state.customers = customers = Customers(context)
    made.state.clock = clock = Clock(made.state.database, enabled=settings.test_clock)
    session_flow = PageFlow(context, customers, clock)
    intent_flow = IntentFlow(context, customers)
    plan_flow = PlanFlow(context, customers, clock)
    membership_flow = MembershipFlow(context, customers)
    flows: dict[PaymentFlowName, PaymentFlow[object]] = {
        "page": session_flow,
        "intent": intent_flow,
        "installments": plan_flow,
        "membership": membership_flow,
    }
    made.state.session_flow = session_flow
    made.state.intent_flow = intent_flow
    made.state.membership_flow = membership_flow
    made.state.purchase_service = purchase_service = PurchaseService(context, flows)
    made.state.enrollment_service = EnrollmentService(
        context, purchase_service, plan_flow, intent_flow, clock, member_tier
    )
    made.state.pay_link_service = PayLinkService(
        context, purchase_service, customers, {"page": session_flow, "membership": membership_flow}
    )
    made.state.membership_service = MembershipService(context)
    return made


def jobs(
    database: Database, stripe: Stripe, *, test_clock: bool = False, reminders: tuple[int, ...] = REMINDER_DAYS
) -> dict[str, JobHandler[Any]]:
    """The handler of every kind of job."""
    clock = Clock(database, enabled=test_clock)
    return {
        SUBSCRIPTION_CANCEL: SubscriptionCancel(stripe),
        REPLACEMENT: CustomerReplacement(database, stripe),
        DETACHMENT: MethodDetachment(stripe),
        DELETION: CustomerDeletion(stripe),
        **off_sale.handlers(database, stripe),
        INTENT_EXPIRY: IntentExpiry(database, stripe),
        PAGE_EXPIRY: PageExpiry(database),
        SYNC: MembershipSync(database, stripe),
        CREDIT: CreditReturn(stripe),
        FREE_PAYMENT: FreePaymentJob(),
        PUBLICATION: PublicationJob(database),
        refund_service.REFUND: StripeRefundJob(database, stripe, move_documents),
        COLLECTION: CollectionJob(database, stripe, clock, reminders=reminders),
        CLOSE: CloseJob(stripe),
        DEBIT_RESULT: DebitResultJob(stripe, clock),
        ENROLLMENT_EXPIRY: EnrollmentExpiryJob(database, stripe, clock),
        unmatched.ANNOUNCEMENT: UnmatchedAnnouncement(),
        unmatched.REFUND: UnmatchedRefund(stripe),
    }


def serve() -> Process:
    settings = ApiSettings()
    made = app(settings)
    return api_process(made, settings, close=[made.state.stripe.close])


def consume() -> Process:
    settings = ConsumerSettings()
    return consumers_process(
        SERVICE,
        settings,
        [
            consumers.payment_events(
                settings.policy,
                late_payments=settings.late_payments,
                issuer=settings.issuer,
                unmatched_delay=timedelta(minutes=settings.unmatched_minutes),
            ),
            consumers.enrollment_events(),
            catalog_consumers.registrations(),
            customer_events(),
            erasure_events(),
            event_requests(REQUESTS),
        ],
        QUEUES,
    )


def relay() -> Process:
    settings = RelaySettings()
    stripe = Stripe(settings)
    database = database_of(settings)
    ahead = timedelta(days=settings.announce_days)
    timer = Timer(database, Clock(database, enabled=settings.test_clock), announced_ahead=ahead)
    lost_events = LostEvents(
        database,
        stripe,
        [open_purchases(), open_installments()],
        open_too_long=timedelta(minutes=settings.missing_event_minutes),
    )
    seconds = settings.verify_every_seconds
    verifier = Verifier(database, comparisons(settings.policy), service=SERVICE, every_seconds=seconds)
    return relay_process(
        SERVICE,
        settings,
        jobs(
            database,
            stripe,
            test_clock=settings.test_clock,
            reminders=reminder_days(settings.sponsor_reminder_days),
        ),
        background=[timer.run, lost_events.run, verifier.run, ErasureMeasurement(database).run],
        expiries=[OLD_CHECKS],
        personal=PERSONAL,
        own_queues=QUEUES,
        dependencies={"stripe": stripe.check},
        close=[stripe.close, database.close],
    )


def migrate() -> None:
    settings = WorkerSettings()
    migrate_service(settings, checkout.__file__, QUEUES)
    asyncio.run(_load(settings))


async def _load(settings: WorkerSettings) -> None:
    database = database_of(settings)
    try:
        await loader.load(database, loader.checked_in())
        async with database.transaction() as db:
            await caseload.publish_new(UnitOfWork(db=db, source=SERVICE, now=utc_now()))
    finally:
        await database.close()


def refold(arguments: Sequence[str]) -> int:
    """Brings the rows of payments, refunds and disputes in line with the payment events again."""

    def build() -> tuple[Database, Apply]:
        return database_of(WorkerSettings()), payment_rows(move_documents)

    return refold_command(SERVICE, arguments, build, pattern=enrollment_pattern)


def comparisons(policy: Policy) -> Sequence[Comparison]:
    """What `verify` compares."""
    superseded = frozenset({PaymentFailed.type})
    return (
        FactComparison(service=SERVICE, queues=[PAYMENTS], rules=FACT_RULES, superseded=superseded),
        PaymentComparison(policy=policy, on_merged=move_documents),
        InstallmentComparison(policy=policy),
        MembershipComparison(),
        DocumentComparison(),
    )


def verify(arguments: Sequence[str]) -> int:
    """Compares the rows with the payment events."""

    def build() -> tuple[Database, Sequence[Comparison]]:
        settings = WorkerSettings()
        return database_of(settings), comparisons(settings.policy)

    return verify_command(SERVICE, arguments, build)


ROLES: dict[str, Role] = {"api": serve, "consumers": consume, "relay": relay, "migrate": migrate}
COMMANDS: dict[str, Command] = {"refold": refold, "verify": verify}
