"""A purchase's events in any order, and repeated: the same messages, each once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.payment_histories import bank_debit, declined, disputed, paid_by_card, plan, refunded
from tests.notifications import test_returned_payments as returned_payments
from tests.notifications.harness import (
    ANN,
    BARBER,
    CONTACT,
    LINKS,
    UNAVAILABLE,
    Harness,
    assigned,
    envelope_of,
    files,
    issued,
    paid,
    step,
)
from tests.notifications.test_alerts import dispute
from tests.notifications.test_ends import FAILED as FAILED_REFUND
from tests.notifications.test_ends import ended
from tests.notifications.test_installments import of_checkout, of_gateway, received
from tests.notifications.test_item_kinds import BUNDLE, CANCELED, CREATED, FADES, SHAVES, TOOLS, bought, of, teaches
from tests.notifications.test_payment_alerts import STOPPED
from tests.notifications.test_returned_payments import OWED_AGAIN, lost
from tests.notifications.test_unpaid_installments import announced
from tests.waiting import until

from contracts.checkout import RefundDecided, RefundRequested, StudentUpdated
from contracts.enrollment import (
    EnrollmentActivated,
    EnrollmentEvent,
    EnrollmentPaused,
    EnrollmentResumed,
    EnrollmentWithdrawn,
)
from contracts.envelope import Envelope, Event
from contracts.instructor_assignment import InstructorAssigned
from contracts.milady_integration import MiladyEnrolled
from contracts.money import usd
from contracts.payments import PaymentEvent, PaymentRefs
from contracts.people import Contact, Program
from kit.db.database import Database
from kit.jobs.worker import CONCURRENCY, JobWorker
from ledger.facts import fold
from notifications import db

_SETTINGS = settings(
    max_examples=settings().max_examples // 4,  # each sends all mails of a history, twice
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

INSTALLMENTS: list[PaymentEvent] = [
    received(1),
    of_gateway(1),
    of_checkout(1),
    of_gateway(2),
    of_checkout(2, "insufficient_funds"),
    of_checkout(3, final=True),
]
DISPUTE: list[PaymentEvent] = [
    dispute("warning_needs_response"),
    dispute("needs_response", funds="withdrawn"),
    dispute("needs_response", funds="reinstated"),
    dispute("won", closed=True),
]
NEWS: list[Event] = [announced(), FAILED_REFUND, STOPPED]
ASKED = RefundRequested(refund_request_id=UUID(int=5), purchase_id=UUID(int=1), student_id=ANN, reason="moving")
DECIDED = RefundDecided(
    refund_request_id=UUID(int=5), purchase_id=UUID(int=1), student_id=ANN, decision="approved", amount=usd(100)
)

LATE_LINK: list[PaymentEvent] = [
    paid(payment_intent="pi_1", charge="ch_1"),
    paid(invoice="in_1"),
    paid(checkout_session="cs_1", payment_intent="pi_1", invoice="in_1"),
]
UNDERPAID: list[PaymentEvent] = [
    paid(1_000, payment_intent="pi_1", charge="ch_1").model_copy(update={"price": usd(99_900)}),
    paid(1_000, payment_intent="pi_1", checkout_session="cs_1"),
]
SUPERSEDED: list[PaymentEvent] = [
    paid(payment_intent="pi_1", charge="ch_1").model_copy(
        update={"program": Program(slug=BARBER.id, id=BARBER.id, id_only=True)}
    ),
    paid(payment_intent="pi_1", checkout_session="cs_1"),
]


@st.composite
def stories(draw: st.DrawFn) -> list[Event]:
    """All events about one student's enrollment, in the order in which they occur."""
    events: list[Event] = [CONTACT, StudentUpdated(student_id=ANN, contact=Contact(email="moved@student.example.com"))]
    events += draw(
        st.sampled_from(
            [
                paid_by_card(1),
                LATE_LINK,
                INSTALLMENTS,
                [*INSTALLMENTS, received(2, attempt=9)],
                [paid(payment_intent="pi_1", charge="ch_1"), CANCELED],
                [paid(payment_intent="pi_1", charge="ch_1"), *DISPUTE],
                declined(1) + paid_by_card(1),
                declined(1),
                bank_debit(1, settles=True),
                bank_debit(1, settles=False),
                plan(1, 2, missed=True),
                plan(1, 3, missed=True, caught_up=True),
                paid_by_card(1) + refunded(1, 10_000, 20_000, 489_000),
                paid_by_card(1) + disputed(1, "won"),
                paid_by_card(1) + paid_by_card(2),
                UNDERPAID,
                [*UNDERPAID, paid(98_900, payment_intent="pi_2").model_copy(update={"purchase_id": UUID(int=1)})],
                SUPERSEDED,
                [returned_payments.received(1), returned_payments.received(2), lost(), OWED_AGAIN],
                [paid(payment_intent="pi_1", charge="ch_1"), ended("student"), *refunded(1, 489_000)],
                [paid(payment_intent="pi_1", charge="ch_1"), ended("school"), *refunded(1, 10_000, 489_000)],
            ]
        )
    )
    steps = draw(st.sampled_from([(), (0,), (0, 1), (0, 1, 2), (0, 3), (0, 3, 0)]))
    kinds = (EnrollmentActivated, EnrollmentPaused, EnrollmentResumed, EnrollmentWithdrawn)
    events += [step(kinds[kind], revision) for revision, kind in enumerate(steps, 1)]
    events += draw(st.lists(st.sampled_from([UNAVAILABLE, assigned(), assigned("Grace Razor", n=2)]), max_size=2))
    events += draw(st.sampled_from([[], [LINKS]]))
    events += draw(st.sampled_from([[], [issued()], [issued(invoice="in_1")]]))
    events += draw(st.sampled_from([[], [ASKED], [ASKED, DECIDED]]))
    events += draw(st.lists(st.sampled_from(NEWS), max_size=2))
    return events


@st.composite
def stories_of_bundles(draw: st.DrawFn) -> list[Event]:
    """A bundle of three, whose enrollments open (or open and end) one by one."""
    events: list[Event] = [CONTACT, bought(BUNDLE), CREATED, issued(5_000)]
    events += draw(st.sampled_from([[], [teaches(FADES)], [teaches(FADES), teaches(SHAVES)]]))
    for each in (FADES, SHAVES, TOOLS):
        kinds = draw(st.sampled_from([(), (EnrollmentActivated,), (EnrollmentActivated, EnrollmentWithdrawn)]))
        events += [of(each, kind, revision) for revision, kind in enumerate(kinds, 1)]
    return events


async def outcome(
    harness: Harness, arrivals: list[Envelope[Event]], *, deliver_after: frozenset[int] = frozenset(), batch: int = 1
) -> list[tuple[Any, ...]]:
    """Every mail sent: message id, recipient, subject and attachments. `batch`: how many events arrive together."""
    await harness.reset()
    for start in range(0, len(arrivals), batch):
        await harness.receive_together(arrivals[start : start + batch])
        if start in deliver_after:
            await harness.deliver_due()
    mails = await harness.deliver_due()
    ids = Counter(str(mail["Message-ID"]) for mail in mails)
    assert set(ids.values()) <= {1}, "a message was sent twice"
    assert len(mails) == len(await harness.sent())
    return sorted(
        (str(mail["Message-ID"]), str(mail["X-Envelope-To"]), str(mail["Subject"]), tuple(files(mail)))
        for mail in mails
    )


@_SETTINGS
@given(story=stories() | stories_of_bundles(), data=st.data())
async def test_any_order_duplication_and_batch_gives_the_same_messages(
    harness: Harness, story: list[Event], data: st.DataObject
) -> None:
    in_order = [envelope_of(number, event) for number, event in enumerate(story)]
    repeats = data.draw(st.lists(st.sampled_from(in_order), max_size=6))
    shuffled = data.draw(st.permutations(in_order + repeats))
    assert await outcome(harness, shuffled, batch=data.draw(st.integers(1, 20))) == await outcome(harness, in_order)


@_SETTINGS
@given(story=stories(), seed=st.integers(0, 2**16))
async def test_whenever_mails_go_out_there_is_one_receipt_for_each_payment_and_one_welcome(
    harness: Harness, story: list[Event], seed: int
) -> None:
    """Even when messages have gone out long before the facts that belong to them arrive."""
    chooser = random.Random(seed)
    arrivals = [envelope_of(number, event) for number, event in enumerate(story)]
    arrivals += chooser.choices(arrivals, k=4)
    chooser.shuffle(arrivals)
    stops = frozenset(chooser.sample(range(len(arrivals)), k=min(2, len(arrivals))))
    subjects = [subject for _, _, subject, _ in await outcome(harness, arrivals, deliver_after=stops)]
    facts = {envelope.id: envelope.data for envelope in arrivals if isinstance(envelope.data, PaymentEvent)}
    payments = sum(len(purchase.settled_payments) for purchase in fold(facts) if purchase.id)
    assert sum(subject.startswith("Receipt") for subject in subjects) == payments
    assert sum(subject.startswith("Welcome") for subject in subjects) <= 1


async def test_concurrent_events_and_deliveries_do_not_deadlock(harness: Harness) -> None:
    """Thirty students, all queues at the same time, the relay beside them: no deadlock, and everything once."""
    # a connection for each of what runs at once: none waits for one while it holds a lock
    busy = Harness(Database(harness.database.url, pool_size=20 + 2 * CONCURRENCY), harness.mail)
    stop = asyncio.Event()
    worker = JobWorker(busy.database, "notifications", {db.JOB_KIND: busy.delivery})
    workers = [asyncio.create_task(worker.run(stop)) for _ in range(2)]
    of_one: list[Event] = [*LATE_LINK, CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS, UNAVAILABLE]
    events = [_as(student, event) for student in range(1, 31) for event in of_one]
    arrivals = [busy.envelope(event) for event in events] * 2
    random.Random(7).shuffle(arrivals)
    at_once = asyncio.Semaphore(20)

    async def receive(envelope: Envelope[Event]) -> None:
        async with at_once:
            await busy.receive(envelope)

    try:
        await asyncio.gather(*(receive(envelope) for envelope in arrivals))
        await until(busy.nothing_due, seconds=30, what="nothing left to send")
    finally:
        stop.set()
        await asyncio.gather(*workers)
    mails = [mail for mail in harness.mail.messages() if "@student" in str(mail["X-Envelope-To"])]
    counted = Counter((str(mail["X-Envelope-To"]), str(mail["Subject"]).split(" ")[0]) for mail in mails)
    for student in range(1, 31):
        assert counted[f"s{student}@student.example.com", "Receipt:"] == 1
        assert counted[f"s{student}@student.example.com", "Welcome"] == 1
    assert await busy.value("SELECT count(*) FROM jobs WHERE last_error LIKE '%40P01%'") == 0, "a deadlock"
    await busy.database.close()


async def test_messages_of_one_enrollment_do_not_wait_for_each_other(harness: Harness) -> None:
    events = [CONTACT, step(EnrollmentActivated, 1), assigned(), LINKS]
    await harness.receive(*events, *(paid(manual=f"man_{n}") for n in range(6)))
    assert len(await harness.deliver_due()) == 7
    assert await harness.value("SELECT count(*) FROM jobs WHERE attempts > 1") == 0, "a deadlock"


def _as(student: int, event: Event) -> Event:
    """The same event of another student."""
    own: dict[str, object] = {"student_id": UUID(int=student)}
    if isinstance(event, PaymentEvent):
        refs = {name: f"{ref}_{student}" for name, ref in event.refs.model_dump(exclude_none=True).items()}
        own |= {"purchase_id": UUID(int=student), "refs": PaymentRefs(**refs)}
    if isinstance(event, EnrollmentEvent):
        own["enrollment_id"] = UUID(int=student)
    if isinstance(event, InstructorAssigned):
        own["assignment_id"] = UUID(int=student)
    if isinstance(event, MiladyEnrolled):
        own["milady_enrollment_id"] = f"mil_{student}"
    if isinstance(event, StudentUpdated):
        own["contact"] = Contact(email=f"s{student}@student.example.com")
    return event.model_copy(update=own)
